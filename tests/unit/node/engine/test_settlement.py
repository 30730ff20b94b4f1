"""Results of actions, and actions without a result."""

from __future__ import annotations

import pytest
from holdfast.node.apply.action import Carried, Commit, Forget, GiveBack, How, Look, Order, Stuck, Write, Wrote
from holdfast.node.engine.entry import Entries, Entry, Now
from holdfast.node.engine.recent_rows import RecentRows
from holdfast.node.engine.restored_moves import RestoredMoves
from holdfast.node.engine.settlement import Settlement
from holdfast.node.journal.rows import AdjRow, GroupRow, MoveRow
from holdfast.node.journal.table import Table
from holdfast.node.model.decision import AdjChange, Field, Reason, Refusal
from holdfast.node.model.placement import Happening, State
from holdfast.node.model.process import Process

NOW = Now(1000, 50)
NO = Refusal(Reason.CAPABILITY, Field.OOM_SCORE_ADJ, "no")
ROW = AdjRow(7, 40, 3, "r", wanted=500)
WRITE = Write(ROW, AdjChange(3, 500))


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def entries(table):
    made = Entries(table)
    made[7] = Entry(7, 40, "a", "r")
    return made


@pytest.fixture
def settlement(table, entries):
    return Settlement(table, entries, RestoredMoves(), RecentRows())


@pytest.mark.parametrize(
    ("present", "written", "after"),
    [
        (500, None, AdjRow(7, 40, 3, "r", written=500)),
        (500, 400, AdjRow(7, 40, 3, "r", written=500)),
        (9, 400, AdjRow(7, 40, 3, "r", written=400, earlier=(400, 500))),  # or another program wrote since
        (3, None, AdjRow(7, 40, 3, "r", wanted=500)),
    ],
)
def test_a_value_that_is_there_was_written_and_another_one_was_not(settlement, table, present, written, after):
    table.put(AdjRow(7, 40, 3, "r", written=written, wanted=500))
    assert settlement.agree(Process(7, 40, 1, "a", oom_score_adj=present)) == []
    assert table.adj(7, 40) == after


@pytest.mark.parametrize(("present", "written", "wanted"), [("/b", "/b", None), ("/a", None, "/b")])
def test_a_group_it_is_in_was_its_target_and_the_group_knows_where_it_came_from(
    settlement, table, present, written, wanted
):
    table.put(MoveRow(7, 40, "pids", "/a", "r", wanted="/b"))
    table.put(GroupRow("pids", "/b", "r"))
    actions = settlement.agree(Process(7, 40, 1, "a", cgroups={"pids": present}))
    row = table.held(7, 40).moves["pids"]
    assert (row.written, row.wanted) == (written, wanted)
    assert actions == ([Commit((GroupRow("pids", "/b", "r", base="/a"),))] if written else [])


def test_a_move_under_way_is_not_judged(settlement, table, entries):
    row = MoveRow(7, 40, "pids", "/a", "r", written="/c", wanted="/b")
    table.put(row)
    entries[7].order = 1
    settlement.agree(Process(7, 40, 1, "a", cgroups={"pids": "/a"}))
    assert table.held(7, 40).moves["pids"] == row


def test_a_refused_first_write_leaves_no_row_and_is_told_once(settlement, table, entries):
    table.put(ROW)
    first = settlement.wrote(Wrote(WRITE, How.REFUSED, NO), NOW)
    assert first[0] == Forget((ROW,))
    assert (first[1].report.happening, first[1].report.detail) == (Happening.FAILED, "no")
    assert entries[7].state is State.REFUSED
    again = settlement.wrote(Wrote(WRITE, How.REFUSED, NO), NOW)
    assert again == [Forget((ROW,))]


@pytest.mark.parametrize("action", [WRITE, GiveBack(ROW)])
def test_who_ended_meanwhile_is_looked_at(settlement, action):
    assert settlement.wrote(Wrote(action, How.GONE), NOW) == [Look(7)]


def test_what_another_program_wrote_meanwhile_is_looked_at(settlement):
    assert settlement.wrote(Wrote(WRITE, How.LEFT), NOW) == [Look(7)]


def test_a_value_that_cannot_be_given_back_is_told_once(settlement):
    refused = Wrote(GiveBack(ROW), How.REFUSED, NO)
    assert settlement.wrote(refused, NOW) == [Stuck("oom_score_adj of process 7", "r", "no")]
    assert settlement.wrote(refused, NOW) == []


def test_an_order_of_a_newcomer_ends_with_it(settlement, entries):
    entries[7].order = 2
    assert settlement.carried(Carried(Order(2, 7, 40, ()), (), gone=True), NOW) == [Look(7)]
    assert entries[7].order == 0


def test_an_older_order_does_not_end_the_present_one(settlement, entries):
    entries[7].order = 3
    assert settlement.carried(Carried(Order(2, 7, 40, ()), ()), NOW) == []
    assert entries[7].order == 3
