"""Which rule a process was under that the OOM killer took, over a machine in memory."""

from __future__ import annotations

import pytest
from holdfast.node.engine.attribution import attribution
from holdfast.node.model.memory_domain import Kill

from tests.fakes.node import Node
from tests.fakes.placement import rules

VALUE = {"name": "value", "match": {"comm": "a"}, "oom_score_adj": 500}
THERE = {"name": "there", "match": {"comm": "a", "cgroup": "/src1"}, "oom_score_adj": 500}


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path)
    yield made
    made.stop()


def under(node, *given):
    node.set_rules(rules(*given))
    node.settle()


def known_of(node, program):
    """Return what is known of a process that is killed now, by what the kernel log has."""
    kill = Kill(0, program.pid, program.comm, 0, "/", "/", 1, program.adj)
    return attribution(node.examiner, kill, None)


def test_a_process_that_was_looked_at_has_its_placements_rule(node):
    under(node, VALUE)
    known = known_of(node, node.started("a"))
    assert (known.placement.rule, known.inherited, known.known) == ("value", None, True)


def test_one_that_was_forked_a_moment_ago_inherited_from_its_parent(node):
    under(node, VALUE)
    child = node.forked(node.started("a"))
    known = known_of(node, child)
    assert (known.placement, known.inherited, known.known) == (None, "value", True)


def test_one_that_is_gone_already_inherited_from_who_was_told_to_have_forked_it(node):
    under(node, VALUE)
    child = node.forked(node.started("a"))
    node.kernel.exit(child)
    node.examiner.take_forks()
    assert known_of(node, child).inherited == "value"


def test_of_one_that_is_gone_and_whose_fork_nobody_told_nothing_is_known(node):
    under(node, VALUE)
    child = node.forked(node.started("a"))
    node.kernel.exit(child)
    node.forks.clear()
    known = known_of(node, child)
    assert (known.placement, known.inherited, known.known) == (None, None, False)


def test_a_child_with_another_value_than_the_rules_did_not_inherit_it(node):
    under(node, VALUE)
    child = node.forked(node.started("a"))
    node.kernel.write_adj(child, 0)
    assert known_of(node, child).inherited is None


def test_the_number_of_a_process_under_a_rule_may_be_anothers(node):
    under(node, VALUE)
    ended = node.started("a")
    node.kernel.exit(ended)
    other = node.kernel.start("b", ended.pid)
    known = known_of(node, other)
    assert (known.placement, known.inherited, known.known) == (None, None, True)


def test_no_rule_is_said_of_a_name_that_no_rule_can_hold_for(node):
    under(node, VALUE)
    assert known_of(node, node.started("b")).known
    assert known_of(node, node.kernel.start("c")).known


def test_no_rule_is_said_of_one_that_a_whole_sweep_looked_at_and_not_of_one_that_started_since(node):
    under(node, THERE)
    seen = node.kernel.start("a")
    assert not known_of(node, seen).known
    node.kernel.ticks += 1
    node.settle()
    assert known_of(node, seen).known
    assert not known_of(node, node.kernel.start("a")).known
    node.set_rules(rules(VALUE))
    assert not known_of(node, seen).known, "not under these rules"


def test_a_process_that_cannot_be_read_is_no_mistake(node):
    under(node, VALUE)
    assert attribution(node.examiner, Kill(0, 999, "a", 0, "/", "", 1, 0), None).known is False
