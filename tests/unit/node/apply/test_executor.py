"""Orders, over a machine in memory."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest
from holdfast.errors import KernelRefused
from holdfast.node.apply.action import How, Unset
from holdfast.node.journal.rows import FileRow
from holdfast.node.model.decision import Reason

from tests.fakes.kernel import TREE, Tree
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


@pytest.mark.parametrize(("has_process", "text"), [(False, ""), (True, "0-3")])
def test_a_set_that_was_empty_is_that_of_the_group_above_while_a_process_is_in_it(node, has_process, text):
    """The kernel refuses to empty it then; an empty one means the same."""
    kernel = node.kernel
    kernel.files["/src1", "cpuset.cpus"], kernel.files["/", "cpuset.cpus.effective"] = "0-1", "0-3"
    if has_process:
        kernel.move(kernel.start("none"), "/src1")
    cleared = node.executor.clear(Unset(FileRow(TREE, "/src1", "cpuset.cpus", "", "rule", written="0-1")))
    assert (cleared.how, kernel.files["/src1", "cpuset.cpus"]) == (How.DONE, text)


def test_a_set_that_was_not_empty_is_refused_as_the_kernel_says(node, monkeypatch):
    kernel = node.kernel
    kernel.files["/src1", "cpuset.cpus"] = "0-1"
    monkeypatch.setattr(Tree, "write", no_space)
    cleared = node.executor.clear(Unset(FileRow(TREE, "/src1", "cpuset.cpus", "0", "rule", written="0-1")))
    assert (cleared.how, kernel.files["/src1", "cpuset.cpus"]) == (How.REFUSED, "0-1")


def no_space(tree, path, file, value):
    raise KernelRefused("write", file, errno.ENOSPC)


def test_a_process_that_took_the_number_during_a_move_goes_back_to_where_it_was_born(node, monkeypatch):
    kernel, join, strangers = node.kernel, Tree.join, []
    program = node.forked(kernel.processes[1])
    kernel.move(program, "/src1")
    node.executed(program, "a")

    def ends_first(tree, path, pid, still=None):
        if pid == program.pid and not strangers:
            kernel.exit(program)
            strangers.append(kernel.start("other", pid))
        return join(tree, path, pid, still if pid != program.pid else None)

    monkeypatch.setattr(Tree, "join", ends_first)
    node.settle()
    (stranger,) = strangers
    assert (stranger.group, list(node.journal.table.rows())) == ("/", [])
    assert node.examiner.context.metrics.strangers.labels().value == 1
