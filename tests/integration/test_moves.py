"""The executor's moves over the real kernel, where another program moves the same process at the same moment."""

import pytest
from holdfast.cgroups import UNIFIED
from holdfast.node.apply.action import How, Move, Order, Return, Terms
from holdfast.node.apply.executor import AGAIN, Executor
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.rows import MoveRow
from holdfast.node.model.decision import MoveChange
from holdfast.process import ProcRoot, read_boot_id

from tests.integration.node_kit import group_of

pytestmark = pytest.mark.root


@pytest.fixture
def trees(hierarchy):
    """Two hierarchies, in the order in which a process is moved."""
    if hierarchy.names == (UNIFIED,):
        pytest.skip("a process is in one hierarchy alone here")
    return [hierarchy.tree(hierarchy.name_of(controller)) for controller in ("pids", "cpu")]


@pytest.fixture
def process(sleeper, trees, group):
    """A process in ``src1`` of both hierarchies; there is a ``src2``, and ``ours``."""
    started = sleeper()
    for tree in trees:
        for name in ("src1", "src2", "ours"):
            tree.create(f"{group}/{name}")
        tree.join(f"{group}/src1", started.pid)
    with ProcRoot("/proc") as proc, proc.open(started.pid) as opened:
        yield opened


@pytest.fixture
def executor(hierarchy, tmp_path):
    journal = Journal(tmp_path / "journal", read_boot_id("/proc"))
    with ProcRoot("/proc") as proc:
        yield Executor(proc, hierarchy, journal)
    journal.close()


@pytest.fixture
def another(trees, process, monkeypatch, group):
    """Another program that moves the process in the second hierarchy, when we begin to move it in the first or second.

    After that begin the last look, and the write.
    """

    def moves(when, times):
        left = [times]
        real = [tree.join for tree in trees]

        def join(which, path, pid, still=None):
            if pid and left[0] and which == when:
                left[0] -= 1
                real[1](f"{group}/src{2 - left[0] % 2}", pid)
            return real[which](path, pid, still)

        for which, tree in enumerate(trees):
            monkeypatch.setattr(tree, "join", lambda *given, which=which: join(which, *given))

    return moves


def order_of(process, steps):
    return Order(1, process.pid, process.start_ticks(), tuple(steps))


def move(tree, group):
    return Move(MoveChange(f"{group}/src1", f"{group}/ours", tree.name), Terms("rule"))


def test_where_another_program_puts_it_between_two_moves_of_ours_is_before(executor, process, trees, group, another):
    another(when=0, times=1)
    carried = executor.carry_out(order_of(process, [move(tree, group) for tree in trees]), process)
    assert [came.how for came in carried.came] == [How.DONE, How.DONE]
    befores = [executor.journal.table.get(came.row).before for came in carried.came]
    assert befores == [f"{group}/src1", f"{group}/src2"]


def test_where_another_program_puts_it_between_two_moves_back_is_where_it_stays(
    executor, process, trees, group, another
):
    for tree in trees:
        tree.join(f"{group}/ours", process.pid)
    ticks = process.start_ticks()
    rows = [MoveRow(process.pid, ticks, tree.name, f"{group}/src1", "rule", written=f"{group}/ours") for tree in trees]
    another(when=0, times=1)
    carried = executor.carry_out(order_of(process, map(Return, rows)), process)
    assert [came.how for came in carried.came] == [How.DONE, How.LEFT]
    assert [group_of(process.pid, tree.name) for tree in trees] == [f"{group}/src1", f"{group}/src2"]


def test_who_is_moved_by_another_program_again_and_again_is_left_and_it_is_told(
    executor, process, trees, group, another
):
    another(when=1, times=AGAIN)
    carried = executor.carry_out(order_of(process, [move(trees[1], group)]), process)
    assert [came.how for came in carried.came] == [How.REFUSED]
    assert carried.came[0].refusal.detail == "another program moves it at the same moment; find and stop it"
    assert group_of(process.pid, trees[1].name) == f"{group}/src2"


def test_who_another_program_moved_to_the_target_meanwhile_is_not_ours(executor, process, trees, group, monkeypatch):
    real = executor.journal.commit

    def commit(rows, *more):
        real(rows, *more)
        trees[1].join(f"{group}/ours", process.pid)

    monkeypatch.setattr(executor.journal, "commit", commit)
    carried = executor.carry_out(order_of(process, [move(trees[1], group)]), process)
    assert [came.how for came in carried.came] == [How.ALREADY]
    assert carried.came[0].row.refused() is None  # so its row is dropped
