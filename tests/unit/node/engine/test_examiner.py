"""What is examined, and what becomes of it if that fails, over a machine in memory."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest
from holdfast.errors import KernelRefused
from holdfast.node.engine import examiner as ours
from holdfast.node.engine.recent_rows import FORK_TICKS

from tests.fakes.kernel import TREE, Proc, Reader, Tree
from tests.fakes.node import Node
from tests.fakes.placement import rules

BOTH = {
    "name": "both", "match": {"comm": "a"}, "oom_score_adj": 500, "leave_limits": True,
    "cgroup": {"path": "/src3", "controllers": [TREE]},
}  # fmt: skip


@pytest.fixture
def node():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        made = Node(Path(folder))
        made.set_rules(rules(BOTH))
        made.settle()
        yield made
        made.stop()


def is_undone(node):
    """Whether everything is as if we had never been there."""
    programs = node.kernel.processes.values()
    as_before = all((one.adj, one.group) == (one.own_adj, one.own_group) for one in programs)
    return as_before and list(node.journal.table.rows()) == []


def cannot_open(proc, pid):
    raise KernelRefused("open", str(pid), errno.EMFILE)


def cannot_list(reader, pid):
    raise KernelRefused("read", str(pid), errno.EMFILE)


class TestWithoutADescriptor:
    """An order that could not be handed over is not under way: it was waited for until the process ended."""

    def test_it_is_restored_as_soon_as_there_is_one(self, node, monkeypatch):
        program = node.started("a")
        node.settle()
        node.set_rules(rules())
        monkeypatch.setattr(Proc, "open", cannot_open)
        node.settle()
        monkeypatch.undo()
        assert program.group == "/src3"
        node.settle()
        assert is_undone(node)

    def test_so_it_is_where_its_children_could_not_be_listed(self, node, monkeypatch):
        """Another program wrote another value and chose a group: the heirs come first."""
        program = node.started("a")
        node.settle()
        node.kernel.write_adj(program, 7)
        node.kernel.move(program, "/src1")
        monkeypatch.setattr(Reader, "children_of", cannot_list)
        node.settle()
        monkeypatch.undo()
        node.settle()
        assert program.group == "/src3"
        node.examiner.restore()
        assert is_undone(node)

    @pytest.mark.parametrize("how", ["rules", "restore"])
    @pytest.mark.parametrize("what", ["the list", "the child"])
    def test_children_that_could_not_be_listed_or_read_are_restored_as_soon_as_they_can(
        self, node, monkeypatch, what, how
    ):
        parent = node.started("a")
        node.settle()
        child = node.forked(parent)
        child.comm = "none"
        node.forks.clear()  # the kernel dropped the event
        stat = Reader.stat

        def cannot_read(reader, pid):
            if pid == child.pid:
                raise KernelRefused("read", str(pid), errno.EMFILE)
            return stat(reader, pid)

        monkeypatch.setattr(Reader, "stat", cannot_read)
        if what == "the list":
            monkeypatch.setattr(Reader, "children_of", cannot_list)
        node.set_rules(rules())
        while node.sweeps.pending:
            node.sweep_step()
        if how == "restore":
            node.examiner.restore()
        node.kernel.ticks += 2 * FORK_TICKS
        monkeypatch.undo()
        node.settle()
        assert is_undone(node)

    def test_a_start_goes_on(self, node, monkeypatch):
        node.started("a")
        node.settle()
        monkeypatch.setattr(Reader, "children_of", cannot_list)
        node.restart()
        monkeypatch.undo()
        node.examiner.restore()
        assert is_undone(node)

    def test_an_order_that_was_handed_over_is_not_withdrawn(self, node):
        program = node.started("a")
        ((order, _),) = node.queue.orders
        node.examiner.performer.withdraw([order])
        assert node.reconciler.entries.is_moving(program.pid)

    def test_restore_says_which_processes_it_could_not_try(self, node, monkeypatch):
        program = node.started("a")
        node.settle()
        monkeypatch.setattr(Proc, "open", cannot_open)
        found = node.examiner.restore()
        monkeypatch.undo()
        assert (found.given_back, [text.split(":")[0] for text in found.failed]) == (0, [f"process {program.pid}"])
        node.settle()
        assert is_undone(node)
        assert node.examiner.restore().failed == ()


class TestRestore:
    """Nothing is done after it: so it is when the engine stops."""

    def test_a_move_to_a_former_target_that_is_under_way_is_restored_at_once(self, node):
        program = node.started("a")
        node.set_rules(rules({**BOTH, "cgroup": {"path": "/src2", "controllers": [TREE]}}))
        while node.sweeps.pending:
            node.sweep_step()
        assert len(node.queue.orders) == 1
        node.examiner.restore()
        assert (program.group, len(node.queue.orders)) == ("/", 0)
        assert is_undone(node)

    def test_so_it_is_where_its_result_was_not_fetched(self, node):
        program = node.started("a")
        node.move_step()
        node.executed(program, "none")
        node.executed(program, "a")
        node.examiner.restore()
        assert is_undone(node)

    def test_files_are_restored_in_reverse_order_and_refused_ones_again_after_the_others(self, node, monkeypatch):
        """As ``memory.limit_in_bytes`` of v1: it cannot be above ``memory.memsw.limit_in_bytes``."""
        node.set_rules(rules({"name": "set", "match": {"comm": "c"}, "in_place": {"pids.max": 50}}))
        groups = ("/src1", "/src2", "/src3")
        for group in groups:
            program = node.forked(node.kernel.processes[1])
            node.kernel.move(program, group)
            node.executed(program, "c")
            node.settle()
        write, tried = Tree.write, []

        def waits_for_first(tree, path, file, value):
            tried.append(path)
            if path == "/src3" and node.kernel.files["/src1", file] == "50":
                raise KernelRefused("write", path, errno.EBUSY)
            return write(tree, path, file, value)

        monkeypatch.setattr(Tree, "write", waits_for_first)
        found = node.examiner.restore()
        assert (tried, found.given_back, found.failed) == (["/src3", "/src2", "/src1", "/src3"], 3, ())
        assert node.kernel.files == node.kernel.own_files


class TestEnded:
    def test_who_gets_its_number_and_is_examined_before_it_is_forgotten_is_not_forgotten(self, node):
        parent, old = node.started("a"), node.started("a")
        node.settle()
        node.kernel.exit(old)
        new = node.forked(parent, old.pid)
        new.comm = "none"
        node.examiner.gone([old.pid])
        assert node.journal.table.held(new.pid, new.start_ticks) is not None
        node.examiner.restore()
        assert is_undone(node)

    def test_its_own_rows_are_forgotten_although_another_process_has_its_number(self, node):
        old = node.started("a")
        node.settle()
        node.kernel.exit(old)
        node.kernel.start("none", old.pid)
        node.examiner.gone([old.pid])
        assert list(node.journal.table.rows()) == []


class Storm(Node):
    """Each time that the forks are read, a descendant has forked another one, and ended."""

    forker = 0
    children = 0

    def _told(self):
        if self.forker:
            self.children += 1
            child = 10_000 + self.children
            self.forks.append((self.forker, child))
            self.forker = child
        return super()._told()


class TestHeirsThatForkWithoutEnd:
    """The engine was in one turn for as long as they went on."""

    @pytest.fixture
    def storm(self):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            made = Storm(Path(folder))
            made.set_rules(rules(BOTH))
            made.settle()
            yield made
            made.stop()

    def test_a_turn_ends_and_the_next_ones_examine_the_rest(self, storm):
        parent = storm.started("a")
        storm.settle()
        storm.forker = parent.pid
        storm.examiner.limit_turn(0.05)
        storm.examiner.take_forks()
        assert storm.examiner.is_behind
        assert storm.children > 1
        storm.forker = 0
        storm.examiner.limit_turn(0)
        storm.examiner.take_forks()
        assert not storm.examiner.is_behind
        storm.examiner.restore()
        assert is_undone(storm)

    def test_what_waits_for_the_next_turn_has_a_bound(self, storm, monkeypatch):
        monkeypatch.setattr(ours, "MOST_LEFT", 10)
        parent = storm.started("a")
        storm.settle()
        storm.forker = parent.pid
        for _ in range(20):
            storm.examiner.limit_turn(0.01)
            storm.examiner.take_forks()
        assert len(storm.examiner._ended) <= 11
        assert len(storm.examiner.performer.pending) <= 11
        storm.forker = 0
        storm.examiner.limit_turn(0)
        storm.examiner.restore()
        assert is_undone(storm)
