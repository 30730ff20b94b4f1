"""What goes wrong about one process, or in one group, is that one's trouble."""

import pytest
from holdfast.cgroups import UNIFIED
from holdfast.node.engine.loop import MOST_FAILURES
from holdfast.node.proc.host import members_below

from tests.integration.node_kit import NAME, adj_of, counter

RAISE = {"match": {"comm": NAME}, "oom_score_adj": 300}
pytestmark = pytest.mark.root


def test_a_mistake_about_one_process_leaves_it_out_and_the_rest_goes_on(run, program, sleeper, monkeypatch):
    engine = run()
    keeper = engine.engine._loop.keeper
    decide, cursed = keeper.decide, []

    def broken(glance, opened=None):
        if glance.pid in cursed:
            raise IndexError("a mistake")
        return decide(glance, opened)

    monkeypatch.setattr(keeper, "decide", broken)
    before, cursed_one = sleeper(program, "600"), sleeper(program, "600")
    cursed.append(cursed_one.pid)
    engine.set_rules(RAISE)
    for _ in range(2 * MOST_FAILURES):
        engine.engine._loop.calls.tell(lambda: keeper.look_at(cursed_one.pid))
        engine.settle()
    engine.sweep()
    after = sleeper(program, "600")
    engine.sweep()
    assert [adj_of(process.pid) for process in (before, cursed_one, after)] == [300, adj_of("self"), 300]
    assert engine.engine.trouble == ""
    assert counter(engine.engine.tally.process_errors) >= 2 * MOST_FAILURES


def test_a_call_that_fails_does_not_take_the_others_with_it(run):
    engine = run()

    def broken():
        raise IndexError("a mistake")

    for _ in range(2 * MOST_FAILURES):
        engine.engine._loop.calls.tell(broken)
    engine.settle()
    assert engine.engine.trouble == ""


def test_a_group_whose_members_cannot_be_told_hides_nobody_else(hierarchy, group, sleeper):
    tree = hierarchy.trees[UNIFIED]
    tree.create(f"{group}/delegated/threaded")
    tree.create(f"{group}/usual")
    tree.write(f"{group}/delegated/threaded", "cgroup.type", "threaded")
    process = sleeper()
    tree.join(f"{group}/usual", process.pid)
    assert members_below(hierarchy, [group]) == {process.pid}
