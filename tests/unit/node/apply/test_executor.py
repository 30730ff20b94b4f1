"""Orders, over a machine in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from holdfast.node.model.decision import Reason

from tests.fakes.kernel import TREE
from tests.fakes.node import Node
from tests.fakes.placement import rules

MOVE = {
    "name": "move", "match": {"comm": "a"}, "leave_limits": True, "cgroup": {"path": "/src3", "controllers": [TREE]},
}  # fmt: skip


@pytest.fixture
def node():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        made = Node(Path(folder))
        made.set_rules(rules(MOVE))
        made.settle()
        yield made
        made.stop()


def test_without_a_mounted_hierarchy_an_order_is_refused_and_no_mistake_of_ours(node):
    """After a move that was long ago: only then the executor looks for a group of its own."""
    program = node.started("a")
    node.settle()
    trees = node.executor._hierarchy.trees
    tree = trees.pop(TREE)
    node.executor._warm_until, node.executor._at_home = 0.0, None
    found = node.examiner.restore()
    mistakes = node.examiner.context.metrics.process_errors.labels().value
    assert (found.given_back, len(found.failed), mistakes) == (0, 1, 0)
    trees[TREE] = tree
    node.settle()
    assert (program.group, list(node.journal.table.rows())) == ("/", [])


def test_a_process_whose_threads_are_in_different_groups_is_not_moved(node):
    """A move takes all threads, and their groups could not be restored."""
    program = node.forked(node.kernel.processes[1])
    program.threads = ("/", "/src1")
    node.executed(program, "a")
    node.settle()
    (refusal,) = node.reconciler.placement(program.pid).refusals
    assert (program.group, refusal.reason, list(node.journal.table.rows())) == ("/", Reason.THREADED, [])
    program.threads = ("/", "/")
    node.settle()
    assert (program.group, node.reconciler.placement(program.pid).refusals) == ("/src3", ())
