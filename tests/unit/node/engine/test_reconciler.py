"""The reconciler's actions and results, case by case, over a machine in memory."""

from __future__ import annotations

import errno
import re
import tempfile
from pathlib import Path
from types import MappingProxyType

import pytest
from holdfast.errors import FailedPrecondition, KernelRefused, Unavailable
from holdfast.node.apply.action import Cleared, GiveBack, How, Look, Order, Unset, Write
from holdfast.node.engine.entry import KEPT, Now
from holdfast.node.engine.recent_rows import FORK_TICKS
from holdfast.node.engine.reconciler import Reconciler
from holdfast.node.journal.line import Header, packed
from holdfast.node.journal.rows import AdjRow, FileRow, GroupRow, MoveRow, OverrideRow
from holdfast.node.journal.table import Table
from holdfast.node.model.decision import AdjChange, Reason
from holdfast.node.model.placement import Cause, Happening, State
from holdfast.node.model.process import GroupFacts, Process
from holdfast.node.rule.ruleset import Rules
from msgspec.structs import replace

from tests.fakes.kernel import EXISTING, TREE, Kernel, Tree, host_of
from tests.fakes.node import Node
from tests.fakes.placement import rules

VALUE = {"name": "value", "match": {"comm": "a"}, "oom_score_adj": 500}
OTHER = {"name": "other", "match": {"comm": "a"}, "oom_score_adj": 400}
MOVE = {
    "name": "move", "match": {"comm": "b"}, "leave_limits": True,
    "cgroup": {"path": "/made/here", "controllers": [TREE]},
}  # fmt: skip
TO_EXISTING = {**MOVE, "cgroup": {"path": "/src3", "controllers": [TREE]}}  # nothing says where its first came from
SET = {"name": "set", "match": {"comm": "c"}, "in_place": {"pids.max": 50}}
BOTH = {**VALUE, "name": "both", "leave_limits": True, "cgroup": {"path": "/src3", "controllers": [TREE]}}
KIDS = {"name": "kids", "match": {"comm": "g"}, "oom_score_adj": {"value": 410, "children": 55}}


@pytest.fixture
def node():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        made = Node(Path(folder))
        yield made
        made.stop()


@pytest.fixture
def under(node):
    """Puts rules in force."""

    def put(*given, **more):
        node.set_rules(rules(*given, **more))
        node.settle()

    return put


def table_of(node):
    return list(node.journal.table.rows())


def placement(node, program):
    return node.reconciler.placement(program.pid)


def happenings(node, program):
    return [report.happening for report in node.reports if report.pid == program.pid]


def undone(node):
    """Whether everything is as if we had never been there."""
    kernel = node.kernel
    return (
        all((one.adj, one.group) == (one.own_adj, one.own_group) for one in kernel.processes.values())
        and kernel.files == kernel.own_files
        and kernel.groups == kernel.own_groups
        and table_of(node) == []
    )


# -- values ------------------------------------------------------------------------------------------------------------


class TestValue:
    def test_it_is_written_at_the_exec(self, node, under):
        under(VALUE)
        program = node.started("a")
        assert (program.adj, happenings(node, program)) == (500, [Happening.HELD])
        assert placement(node, program).state is State.HELD

    def test_its_row_says_what_was_before(self, node, under):
        under(VALUE)
        node.kernel.write_adj(node.kernel.processes[1], 7)
        program = node.started("a")
        (row,) = table_of(node)
        assert (row.before, row.written, row.wanted, row.rule) == (7, 500, None, "value")
        assert placement(node, program).adj_before == 7

    @pytest.mark.parametrize("how", ["restore", "no rule", "exec", "another rule without a value"])
    def test_it_is_given_back(self, node, under, how):
        under(VALUE)
        node.kernel.write_adj(node.kernel.processes[1], 7)
        program = node.started("a")
        if how == "restore":
            assert node.examiner.restore().given_back == 1
        elif how == "no rule":
            under()
        elif how == "exec":
            node.executed(program, "none")
        else:
            under({**SET, "match": {"comm": "a"}})
        assert program.adj == 7
        assert not any(isinstance(row, AdjRow) for row in table_of(node))

    def test_another_rule_takes_over_and_the_first_before_stays(self, node, under):
        under(VALUE)
        program = node.started("a")
        under(OTHER)
        (row,) = table_of(node)
        assert (program.adj, row.before, row.written, row.earlier) == (400, 0, 400, (500,))
        under()
        assert undone(node)

    def test_a_rule_of_another_name_with_the_same_value_writes_nothing(self, node, under):
        under(VALUE)
        program = node.started("a")
        under({**VALUE, "name": "again"})
        assert [row.rule for row in table_of(node)] == ["again"]
        assert happenings(node, program) == [Happening.HELD]

    def test_what_has_the_value_already_has_no_row(self, node, under):
        program = node.started("a")
        node.kernel.write_adj(program, 500)
        under(VALUE)
        assert (table_of(node), placement(node, program).adj_before) == ([], None)
        under()
        assert program.adj == 500

    def test_drift_is_put_back_and_what_the_other_chose_is_given_back(self, node, under):
        under(VALUE)
        program = node.started("a")
        node.kernel.write_adj(program, 77)
        node.settle()
        assert (program.adj, happenings(node, program)[-1]) == (500, Happening.DRIFTED)
        under()
        assert program.adj == 77

    def test_what_a_user_raised_it_to_is_not_what_it_would_have_without_us(self, node, under):
        node.kernel.write_adj(node.kernel.processes[1], 800)
        under(VALUE)
        program = node.started("a")
        program.uid, program.adj = 65534, 501
        node.settle()
        assert (program.adj, placement(node, program).adj_before) == (500, 800)
        assert happenings(node, program)[-1] is Happening.DRIFTED
        under()
        assert undone(node)

    def test_what_another_program_chose_after_the_last_look_is_left(self, node, under):
        under(VALUE)
        program = node.started("a")
        node.kernel.write_adj(program, 77)
        restored = node.examiner.restore()
        assert program.adj == 77
        assert restored.failed == ()

    def test_what_another_program_writes_between_look_and_write_is_what_was_before(self, node, under, monkeypatch):
        under(VALUE)
        program = node.forked(node.kernel.processes[1])
        real = node.executor.write

        def race(process, action):
            monkeypatch.undo()
            node.kernel.write_adj(program, 77)
            return real(process, action)

        monkeypatch.setattr(node.executor, "write", race)
        node.executed(program, "a")
        assert (program.adj, table_of(node)[0].before) == (500, 77)

    def test_a_process_that_ends_is_forgotten(self, node, under):
        under(VALUE)
        node.kernel.exit(node.started("a"))
        node.settle()
        assert (table_of(node), node.reconciler.entries) == ([], {})

    def test_a_newcomer_with_its_number_is_not_its_heir(self, node, under):
        under(VALUE)
        program = node.started("a")
        node.kernel.exit(program)
        newcomer = node.started("none", pid=program.pid)
        assert (newcomer.adj, table_of(node)) == (0, [])

    def test_a_newcomer_under_the_rule_has_a_row_of_its_own(self, node, under):
        under(VALUE)
        program = node.started("a")
        node.kernel.exit(program)
        newcomer = node.forked(node.kernel.processes[1], program.pid)
        node.kernel.write_adj(newcomer, 3)
        node.executed(newcomer, "a")
        (row,) = table_of(node)
        assert (row.start_ticks, row.before) == (newcomer.start_ticks, 3)

    @pytest.mark.parametrize(("base", "wanted"), [(0, 640), (800, 800)])
    def test_at_least_looks_at_what_it_would_have_without_us(self, node, under, base, wanted):
        program = node.started("a")
        node.kernel.write_adj(program, base)
        under({**VALUE, "oom_score_adj": {"at_least": 640}})
        assert program.adj == wanted
        under({**VALUE, "oom_score_adj": {"at_least": 10}})
        assert program.adj == max(base, 10)

    def test_the_name_of_a_stage_of_runc_hides_no_user_and_nobody_from_a_rescan(self, node, under):
        under({"name": "all", "match": {"comm": "*"}, "oom_score_adj": {"at_least": 300}})
        users, roots = node.forked(node.kernel.processes[1]), node.forked(node.kernel.processes[1])
        users.uid = 65534
        for program in (users, roots):
            node.executed(program, "runc:[1:CHILD]")
        assert (users.adj, roots.adj) == (300, 0)
        node.settle()
        assert roots.adj == 300

    def test_we_ourselves_are_never_looked_at(self, node, under):
        under({**VALUE, "match": {"comm": "holdfast"}})
        assert placement(node, node.kernel.processes[2]) is None


class TestRefusedValue:
    def test_it_is_told_once_and_tried_at_each_sweep(self, node, under):
        node.kernel.refuses = {"adj"}
        program = node.started("a")
        under(VALUE)
        assert happenings(node, program) == [Happening.FAILED]
        assert [refusal.reason for refusal in placement(node, program).refusals] == [Reason.CAPABILITY]
        assert (placement(node, program).state, table_of(node)) == (State.REFUSED, [])
        node.kernel.refuses = set()
        node.settle()
        assert (program.adj, placement(node, program).refusals) == (500, ())
        assert placement(node, program).state is State.HELD

    def test_it_never_becomes_what_was_written(self, node, under):
        under(VALUE)
        program = node.started("a")
        node.kernel.refuses = {"adj"}
        under(OTHER)
        (row,) = table_of(node)
        assert (row.before, row.written, row.wanted) == (0, 500, None)
        node.kernel.refuses = set()
        node.kernel.write_adj(program, 400)  # another program's choice, though we wanted it, too
        under()
        assert program.adj == 400

    def test_the_original_survives_any_number_of_refusals(self, node, under):
        under(VALUE)
        program = node.started("a")
        for value in (400, 401, 402):
            node.kernel.refuses = {"adj"}
            under({**VALUE, "oom_score_adj": value})
        node.kernel.refuses = set()
        under()
        assert undone(node), program

    def test_a_refused_way_back_is_told_once_and_tried_until_it_succeeds(self, node, under, caplog):
        under(VALUE)
        program = node.started("a")
        node.kernel.refuses = {"adj"}
        under()
        node.settle()
        assert (program.adj, placement(node, program).state) == (500, State.RETURNING)
        assert len([one for one in caplog.records if "cannot restore now" in one.getMessage()]) == 1
        assert Happening.RELEASED not in happenings(node, program)
        node.kernel.refuses = set()
        node.settle()
        assert undone(node)
        assert happenings(node, program)[-1] is Happening.RELEASED

    def test_a_refused_way_back_survives_a_restart(self, node, under):
        under(VALUE)
        node.started("a")
        node.kernel.refuses = {"adj"}
        under()
        node.restart()
        node.kernel.refuses = set()
        node.settle()
        assert undone(node)

    def test_a_process_that_ends_while_it_waits_is_forgotten(self, node, under):
        under(VALUE)
        program = node.started("a")
        node.kernel.refuses = {"adj"}
        under()
        node.kernel.exit(program)
        node.settle()
        assert table_of(node) == []

    def test_restore_counts_what_was_refused(self, node, under):
        under(VALUE)
        node.started("a")
        node.kernel.refuses = {"adj"}
        restored = node.examiner.restore()
        assert (restored.given_back, len(restored.failed)) == (0, 1)

    def test_restore_counts_given_back_apart_gone_refused_and_left_each_by_itself(self, node, under):
        under(VALUE, MOVE, SET)
        node.started("a")
        changed, ended = node.started("a"), node.started("a")
        node.kernel.groups |= {"/src1/unit"}
        moved = node.forked(node.kernel.processes[1])
        node.kernel.move(moved, "/src1/unit")
        node.executed(moved, "b")
        within = node.forked(node.kernel.processes[1])
        node.kernel.move(within, "/src2")
        node.executed(within, "c")
        node.settle()
        assert node.kernel.files["/src2", "pids.max"] == "50"
        node.kernel.groups -= {"/src1/unit"}
        node.kernel.exit(ended)
        node.kernel.refuses = {"file"}
        node.kernel.write_adj(changed, 77)
        restored = node.examiner.restore()
        counted = (restored.given_back, restored.apart, restored.left, restored.gone, len(restored.failed))
        assert (counted, changed.adj) == ((2, 1, 1, 1, 1), 77)

    def test_restoring_one_process_leaves_what_another_program_chose(self, node, under):
        under(VALUE)
        changed = node.started("a")
        node.kernel.write_adj(changed, 77)
        restored = node.examiner.restore(pid=changed.pid)
        assert (restored.given_back, restored.left, restored.gone, restored.failed, changed.adj) == (0, 1, 0, (), 77)


# -- inheritance -------------------------------------------------------------------------------------------------------


class TestInheritance:
    def test_a_child_that_no_rule_is_about_is_shown_and_given_back(self, node, under):
        under(VALUE)
        parent = node.started("a")
        child = node.started("none", parent.pid)
        assert child.adj == 500
        shown = placement(node, child)
        assert (shown.state, shown.rule, shown.adj_before) == (State.INHERITED, "value", 0)
        under()
        assert undone(node)

    @pytest.mark.parametrize("how", ["restore", "restore of the rule", "restore of the parent", "restore of the child"])
    def test_it_is_in_every_restore(self, node, under, how):
        under(VALUE)
        parent = node.started("a")
        child = node.started("none", parent.pid)
        node.examiner.restore(
            rule="value" if how.endswith("rule") else None,
            pid={"parent": parent.pid, "child": child.pid}.get(how.rsplit(" ", 1)[-1]),
        )
        assert child.adj == 0
        assert (parent.adj == 0) == (not how.endswith("child"))

    def test_it_outlives_a_restart(self, node, under):
        under(VALUE)
        child = node.started("none", node.started("a").pid)
        node.restart()
        node.settle()
        assert placement(node, child).state is State.INHERITED
        under()
        assert undone(node)

    def test_a_child_that_was_never_seen_is_found_before_its_parent_is_given_back(self, node, under):
        under(VALUE)
        parent = node.started("a")
        node.forked(parent).comm = "none"
        node.forks.clear()  # as if nobody had told
        under()
        assert undone(node)

    @pytest.mark.parametrize("moments", range(5))
    def test_what_goes_into_the_background_while_its_parent_is_restored_is_restored_too(self, node, under, moments):
        under(VALUE)
        parent = node.started("a")
        adj, own_adj = parent.adj, parent.own_adj

        def forks_twice():  # it began before the parent had its own value again
            between = node.forked(parent)
            between.adj, between.own_adj = adj, own_adj
            node.forked(between).comm = "none"
            node.kernel.exit(between)

        node.kernel.meanwhile.append((moments, forks_twice))
        node.examiner.restore()
        assert not node.kernel.meanwhile
        assert undone(node)

    @pytest.mark.parametrize("moments", range(6))
    def test_so_it_is_when_the_rescan_that_finds_it_takes_long(self, node, under, moments):
        """Rows that went are remembered for a second, and a rescan may take longer."""
        under(VALUE)
        parent = node.started("a")
        node.forked(parent).comm = "none"
        node.forks.clear()  # as if nobody had told

        def takes_long():
            node.kernel.ticks += 10 * FORK_TICKS

        node.kernel.meanwhile.append((moments, takes_long))
        under()
        assert undone(node)

    @pytest.mark.parametrize("moments", range(6))
    def test_so_it_is_before_what_another_program_chose_for_its_parent_becomes_the_before(self, node, under, moments):
        under(VALUE)
        parent = node.started("a")
        child = node.forked(parent)
        child.comm = "none"
        node.forks.clear()  # as if nobody had told

        def takes_long():
            node.kernel.ticks += 10 * FORK_TICKS

        node.kernel.ticks += 10 * FORK_TICKS
        node.kernel.write_adj(parent, 33)
        node.kernel.meanwhile.append((moments, takes_long))
        node.settle()
        assert placement(node, child).state is State.INHERITED
        under()
        assert undone(node)

    @pytest.mark.parametrize("rule", [MOVE, TO_EXISTING], ids=["a group of ours", "another"])
    def test_so_is_one_that_was_born_while_its_parent_waited_to_be_moved_back(self, node, under, rule):
        under(rule)
        parent = node.started("b")
        node.settle()
        node.set_rules(rules())
        while not node.queue.orders:
            node.sweep_step()
        node.forked(parent).comm = "none"
        node.forks.clear()
        node.move_step()
        node.fetch()
        node.settle()
        assert undone(node)

    def test_so_is_a_whole_line_of_them(self, node, under):
        under(VALUE)
        program = node.started("a")
        for _ in range(5):
            program = node.forked(program)
            program.comm = "none"
        node.forks.clear()
        node.examiner.restore()
        assert undone(node)

    @pytest.mark.parametrize("told", [True, False])
    @pytest.mark.parametrize("restarted", [True, False])
    @pytest.mark.parametrize("program", ["a", "none"], ids=["a match", "an heir"])
    def test_what_its_parent_had_before_is_its_own_though_another_program_chose_for_the_parent_since(
        self, node, under, program, restarted, told
    ):
        """It was forked and not examined yet when its parent's value was seen to be another program's."""
        under(VALUE)
        node.kernel.write_adj(node.kernel.processes[1], 7)
        parent = node.started("a")
        if program == "none":
            parent = node.started("none", parent.pid)
        if restarted:
            node.restart()  # what was written is in the file as what was wanted
        child = node.forked(parent)
        child.comm = "none"
        if not told:
            node.forks.clear()
        node.kernel.write_adj(parent, 11)
        node.examiner.examine(parent.pid)
        node.settle()
        assert placement(node, child).adj_before == 7
        under()
        assert undone(node)

    @pytest.mark.parametrize("restarted", [True, False])
    @pytest.mark.parametrize("program", ["b", "none"], ids=["a match", "an heir"])
    def test_where_its_parent_was_before_is_its_own_though_another_program_moved_the_parent_since(
        self, node, under, program, restarted
    ):
        under(MOVE)
        parent = node.started("b")
        node.settle()
        if program == "none":
            parent = node.started("none", parent.pid)
            node.settle()
        if restarted:
            node.restart()
        child = node.forked(parent)
        child.comm = "none"
        node.kernel.move(parent, "/src2")
        node.examiner.examine(parent.pid)
        node.move_step()
        node.fetch()
        node.settle()
        under()
        assert undone(node)

    def test_a_second_fork_whose_parent_ended_is_its_heir_all_the_same(self, node, under):
        under(VALUE)
        middle = node.forked(node.started("a"))
        child = node.forked(middle)
        node.kernel.exit(middle)
        node.settle()
        assert placement(node, child).adj_before == 0
        under()
        assert undone(node)

    def test_a_daemon_that_forks_into_the_background_has_its_first_ones_base(self, node, under):
        under(VALUE)
        first = node.started("a")
        child = node.forked(first)
        node.kernel.exit(first)
        node.settle()
        assert (child.adj, placement(node, child).adj_before) == (500, 0)
        under()
        assert undone(node)

    def test_nobody_told_of_the_fork_and_it_runs_the_same_program_under_the_rule(self, node, under):
        under(VALUE)
        first = node.started("a")
        node.forked(first)
        node.kernel.exit(first)
        node.forks.clear()
        node.settle()
        under()
        assert undone(node)

    def test_its_own_value_is_not_anothers_though_a_rule_let_that_one_have_the_same(self, node, under):
        """ "at_least" wrote 702, as that one had of itself 702, before another program chose 211 for it."""
        under({**VALUE, "match": {"comm": "b"}}, {**VALUE, "name": "least", "oom_score_adj": {"at_least": 650}})
        one = node.started("none")
        node.kernel.write_adj(one, 702)
        for comm in ("b", "a"):
            node.executed(one, comm)
        node.kernel.write_adj(one, 211)
        node.settle()
        other = node.started("none")
        node.kernel.write_adj(other, 702)
        other.comm = "a"  # no event told of it
        node.settle()
        assert (one.adj, other.adj) == (650, 702)
        under()
        assert undone(node)

    def test_what_it_has_of_a_write_that_a_crash_left_unsure_counts(self, node, under):
        """The crash came after the write, and another program wrote before we were back."""
        under(VALUE)
        parent = node.started("a")
        (row,) = table_of(node)
        node.journal.table.put(replace(row, wanted=400))
        parent.adj = 400
        node.forked(parent).comm = "none"
        node.forks.clear()
        node.kernel.write_adj(parent, 11)
        node.examiner.restore()
        assert undone(node)

    def test_what_it_has_of_a_move_that_a_crash_left_unsure_counts(self, node, under):
        under(MOVE)
        parent = node.started("b")
        node.settle()
        (row,) = [row for row in table_of(node) if isinstance(row, MoveRow)]
        node.journal.table.put(replace(row, wanted="/made"))
        parent.group = "/made"
        node.forked(parent).comm = "none"
        node.forks.clear()
        node.kernel.move(parent, "/src2")
        node.examiner.restore()
        assert undone(node)

    @pytest.mark.parametrize("moments", range(7))
    @pytest.mark.parametrize("how", ["no rule", "restore", "another program's value"])
    def test_a_fork_under_way_while_its_parent_gets_another_value_is_an_heir(self, node, under, how, moments):
        under(VALUE)
        parent = node.started("a")
        parent.comm = "none" if how == "another program's value" else "a"
        node.forking(parent, moments)
        if how == "another program's value":
            node.kernel.write_adj(parent, 11)
            node.settle()
        elif how == "restore":
            node.examiner.restore()
        under()
        node.settle()
        node.kernel.meanwhile.clear()
        assert undone(node)

    def test_forks_of_a_process_that_ended_are_read_before_it_is_forgotten(self, node, under):
        under(VALUE)
        middle = node.started("none", node.started("a").pid)
        child = node.forked(middle)
        child.comm = "none"
        node.kernel.exit(middle)
        node.examiner.examine(middle.pid)
        assert placement(node, child).state is State.INHERITED
        under()
        assert undone(node)

    def test_who_started_before_its_parent_was_written_to_has_its_value_from_nobody(self, node, under):
        parent = node.started("a")
        child = node.started("none", parent.pid)
        node.kernel.write_adj(child, 500)
        under(VALUE)
        assert placement(node, child) is None
        under()
        assert child.adj == 500

    def test_who_chose_its_own_value_is_left_alone(self, node, under):
        under(VALUE)
        child = node.started("none", node.started("a").pid)
        node.kernel.write_adj(child, 3)
        node.settle()
        assert placement(node, child) is None
        under()
        assert child.adj == 3

    @pytest.mark.parametrize("value", [501, 799])
    @pytest.mark.parametrize("born", ["a child", "a second fork", "a child under the rule", "the process itself"])
    def test_a_user_keeps_no_part_of_what_it_inherited_by_raising_it(self, node, under, born, value):
        node.kernel.write_adj(node.kernel.processes[1], 800)
        under(VALUE)
        parent = node.started("a")
        child = parent if born == "the process itself" else node.forked(parent)
        if born == "a second fork":
            middle, child = child, node.forked(child)
            node.kernel.exit(middle)
        if born == "a child under the rule":
            node.settle()
        child.uid, child.adj = 65534, value
        node.executed(child, "none")
        assert child.adj == 800
        under()
        assert table_of(node) == []

    @pytest.mark.parametrize(("uid", "value"), [(0, 501), (65534, 900)])
    def test_what_root_chose_or_a_user_above_the_base_is_left_alone(self, node, under, uid, value):
        node.kernel.write_adj(node.kernel.processes[1], 800)
        under(VALUE)
        child = node.forked(node.started("a"))
        child.uid = uid
        node.kernel.write_adj(child, value)
        node.executed(child, "none")
        node.settle()
        assert (child.adj, placement(node, child)) == (value, None)

    def test_what_it_inherited_before_the_rule_changed_counts(self, node, under):
        under(VALUE)
        parent = node.started("a")
        child = node.forked(parent)
        child.comm = "none"
        node.forks.clear()
        node.set_rules(rules(OTHER))
        node.event(parent)
        assert (parent.adj, child.adj) == (400, 500)
        node.settle()
        assert placement(node, child).state is State.INHERITED
        under()
        assert undone(node)

    def test_a_child_under_another_rule_has_the_base_of_its_parent(self, node, under):
        under(VALUE, {**OTHER, "match": {"comm": "x"}})
        child = node.started("x", node.started("a").pid)
        assert (child.adj, placement(node, child).adj_before) == (400, 0)
        under()
        assert undone(node)

    def test_children_of_a_leader_have_their_value_and_its_base(self, node, under):
        under(KIDS)
        leader = node.started("g")
        worker = node.forked(leader)
        node.settle()
        assert (leader.adj, worker.adj) == (410, 55)
        assert placement(node, worker).as_child
        under()
        assert undone(node)

    def test_a_child_of_an_heir_is_an_heir(self, node, under):
        under(VALUE)
        child = node.started("none", node.started("a").pid)
        grandchild = node.started("none", child.pid)
        node.kernel.exit(child)
        node.settle()
        assert placement(node, grandchild).state is State.INHERITED
        under()
        assert undone(node)

    def test_it_stays_when_its_parent_leaves_the_rule(self, node, under):
        under(VALUE)
        parent = node.started("a")
        child = node.started("none", parent.pid)
        node.executed(parent, "none")
        assert (parent.adj, child.adj, placement(node, child).state) == (0, 500, State.INHERITED)

    def test_it_is_kept_where_the_rule_says_so(self, node, under):
        under({**VALUE, "on_remove": "keep"})
        child = node.started("none", node.started("a").pid)
        under()
        assert (child.adj, table_of(node)) == (500, [])

    @pytest.mark.parametrize("restarts", [False, True])
    @pytest.mark.parametrize("given", [VALUE, {**VALUE, "oom_score_adj": {"value": -500, "children": "inherit"}}])
    def test_it_stays_under_a_rule_of_another_name(self, node, under, given, restarts):
        under(given)
        parent = node.started("a", pid=300)
        child = node.started("none", parent.pid, pid=200)  # a rescan sees it first
        had = child.adj
        if restarts:
            node.rules = rules({**given, "name": "renamed"})
            node.restart()
            node.sweeps.want(Cause.START)
            node.settle()
        else:
            under({**given, "name": "renamed"})
        assert (child.adj, placement(node, child).rule) == (had, "renamed")
        assert not any(report.detail or report.changes for report in node.reports if report.pid == child.pid)
        under()
        assert undone(node)

    def test_a_group_stays_under_a_rule_of_another_name(self, node, under):
        under({**MOVE, "leave_limits": False})
        parent = node.started("b", pid=300)
        node.settle()
        child = node.started("none", parent.pid, pid=200)
        under({**MOVE, "leave_limits": False, "name": "renamed"})
        assert (child.group, placement(node, child).rule) == ("/made/here", "renamed")
        under()
        assert undone(node)

    def test_it_stays_under_a_rule_of_another_name_though_its_parent_is_gone(self, node, under):
        under(VALUE)
        parent = node.started("a")
        child = node.started("none", parent.pid)
        node.kernel.exit(parent)
        under({**VALUE, "name": "renamed"})
        assert (child.adj, placement(node, child).rule) == (500, "renamed")
        under()
        assert undone(node)

    @pytest.mark.parametrize("given", [OTHER, {**VALUE, "name": "renamed", "match": {"comm": "b"}}])
    def test_it_is_restored_where_its_parent_has_it_no_more(self, node, under, given):
        under(VALUE)
        child = node.started("none", node.started("a").pid)
        under(given)
        assert child.adj == 0

    def test_a_group_is_inherited_too(self, node, under):
        under({**MOVE, "leave_limits": False})
        parent = node.started("b")
        node.settle()
        child = node.started("none", parent.pid)
        assert (child.group, placement(node, child).state) == ("/made/here", State.INHERITED)
        under()
        assert undone(node)

    @pytest.mark.parametrize("kept", [{"memory.low": "1Mi"}, {}, {"memory.max": "max"}])
    def test_a_group_that_protects_is_not_inherited(self, node, under, kept):
        under({**MOVE, "cgroup": {**MOVE["cgroup"], "settings": kept}})
        parent = node.started("b")
        node.settle()
        child = node.started("none", parent.pid)
        node.settle()
        assert (parent.group, child.group) == ("/made/here", "/")
        assert (placement(node, child), node.journal.table.processes.get(child.pid)) == (None, None)
        under()
        assert undone(node)

    def test_what_is_kept_when_a_rule_is_removed_is_lent_while_it_is_there(self, node, under):
        under({**MOVE, "on_remove": "keep"})
        parent = node.started("b")
        node.settle()
        child = node.started("none", parent.pid)
        node.settle()
        assert (parent.group, child.group, placement(node, child)) == ("/made/here", "/", None)
        under()
        assert (parent.group, child.group, table_of(node)) == ("/made/here", "/", [])

    def test_who_another_program_puts_into_a_group_that_it_left_stays_there(self, node, under):
        under(MOVE)
        parent = node.started("b")
        node.settle()
        child = node.started("none", parent.pid)
        node.settle()
        node.kernel.move(child, "/made/here")
        node.settle()
        assert (child.group, placement(node, child)) == ("/made/here", None)
        node.kernel.exit(child)
        again = node.started("none", parent.pid, pid=child.pid)  # its number is another's: that one was born there
        node.settle()
        assert again.group == "/"

    @pytest.mark.parametrize(
        "more", [{"oom_score_adj": {"value": 500, "children": "inherit"}}, {"oom_score_adj": {"children": "inherit"}}]
    )
    def test_a_rule_may_let_its_group_be_inherited(self, node, under, more):
        under({**MOVE, **more})
        parent = node.started("b")
        node.settle()
        child = node.started("none", parent.pid)
        node.settle()
        assert child.group == "/made/here"
        under()
        assert undone(node)

    def test_a_group_with_a_limit_of_its_own_is_inherited(self, node, under):
        under({**MOVE, "cgroup": {**MOVE["cgroup"], "settings": {"memory.max": "64Mi"}}})
        parent = node.started("b")
        node.settle()
        child = node.started("none", parent.pid)
        node.settle()
        assert (child.group, placement(node, child).state) == ("/made/here", State.INHERITED)

    def test_a_child_under_another_rule_has_its_place_from_neither(self, node, under):
        under(MOVE, VALUE)
        parent = node.started("b")
        node.settle()
        child = node.started("a", parent.pid)
        node.settle()
        assert (child.group, child.adj) == ("/", 500)
        under()
        assert undone(node)

    def test_who_is_left_in_a_group_of_ours_by_nobody_goes_where_the_first_came_from(self, node, under):
        under(MOVE)
        parent = node.forked(node.kernel.processes[1])
        node.kernel.move(parent, "/src1")
        node.executed(parent, "b")
        node.settle()
        child = node.forked(parent)
        child.comm = "none"
        node.kernel.exit(parent)
        node.forks.clear()
        under()
        assert undone(node)

    def test_so_is_one_whose_first_came_from_a_group_that_is_threaded_now(self, node, under):
        node.kernel.make_group("/src1/unit")
        under(MOVE)
        parent = node.forked(node.kernel.processes[1])
        node.kernel.move(parent, "/src1/unit")
        node.executed(parent, "b")
        node.settle()
        child = node.forked(parent)
        child.comm = "none"
        node.kernel.exit(parent)
        node.forks.clear()
        node.kernel.threaded = {"/src1/unit"}
        under()
        assert (child.group, table_of(node)) == ("/src1", [])

    @pytest.mark.parametrize(("uid", "goes"), [(0, "/made/here"), (1002, "/made/here"), (1001, "/src1")])
    def test_nobody_goes_to_a_group_that_belongs_to_another_user_than_its_own(self, node, under, uid, goes):
        node.kernel.owners["/src1"] = 1001
        under(MOVE)
        parent = node.forked(node.kernel.processes[1])
        node.kernel.move(parent, "/src1")
        node.executed(parent, "b")
        node.settle()
        child = node.forked(parent)
        child.comm, child.uid = "none", uid
        node.kernel.exit(parent)
        node.forks.clear()
        under()
        assert child.group == goes
        assert bool(table_of(node)) is (goes != "/src1"), "the group stays while a process is in it"


# -- moves -------------------------------------------------------------------------------------------------------------


class TestMove:
    def test_it_waits_for_the_mover_and_is_made(self, node, under):
        under(MOVE)
        program = node.started("b")
        assert (program.group, placement(node, program).state) == ("/", State.MOVING)
        node.settle()
        assert (program.group, placement(node, program).state) == ("/made/here", State.HELD)
        assert [row.path for row in node.journal.table.made()] == ["/made/here", "/made"]

    @pytest.mark.parametrize("when", ["queued", "made and not heard of", "done"])
    def test_who_leaves_its_rule_is_back_whenever_that_is(self, node, under, when):
        under(MOVE)
        program = node.started("b")
        if when != "queued":
            node.move_step()
        if when == "done":
            node.fetch()
        node.executed(program, "none")
        node.settle()
        assert program.group == "/"
        assert not any(isinstance(row, MoveRow) for row in table_of(node))

    def test_who_leaves_its_rule_under_way_is_back_at_once_and_not_at_the_next_sweep(self, node, under):
        under(MOVE)
        program = node.started("b")
        node.executed(program, "none")
        assert len(node.queue.orders) == 1, "the way back waits"
        node.move_step()
        node.fetch()
        node.move_step()
        node.fetch()
        assert (program.group, placement(node, program)) == ("/", None)

    def test_what_the_plan_refused_is_not_told_again_under_no_rule_when_the_move_ends(self, node, under):
        under({**BOTH, "cgroup": {**BOTH["cgroup"], "settings": {"memory.high": "1Gi"}}})
        program = node.started("a")
        (refusal,) = placement(node, program).refusals
        node.executed(program, "none")
        node.move_step()
        node.fetch()
        counted = [(reason, value) for (_, reason), value in node.examiner.context.metrics.refusals.values()]
        assert counted == [(refusal.reason, 1)]

    def test_who_comes_back_meanwhile_is_moved(self, node, under):
        under(MOVE)
        program = node.started("b")
        node.executed(program, "none")
        node.move_step()
        node.executed(program, "b")
        node.fetch()
        node.settle()
        assert program.group == "/made/here"
        under()
        assert undone(node)

    def test_where_another_program_moved_it_meanwhile_is_what_was_before(self, node, under):
        under(MOVE)
        program = node.started("b")
        node.kernel.move(program, "/src1")
        node.settle()
        assert program.group == "/made/here"
        under()
        assert program.group == "/src1"

    def test_where_another_program_moves_it_while_that_is_noted_is_what_was_before(self, node, under):
        under(MOVE)
        program = node.started("b")
        node.kernel.groups |= {"/made", "/made/here"}
        node.kernel.meanwhile.append((0, lambda: node.kernel.move(program, "/src1")))
        node.move_step()
        node.fetch()
        assert (program.group, node.journal.table.held(program.pid, program.start_ticks).moves[TREE].before) == (
            "/made/here",
            "/src1",
        )

    def test_where_another_program_moves_it_before_the_way_back_is_left(self, node, under):
        under(MOVE)
        program = node.started("b")
        node.settle()
        node.set_rules(Rules())
        node.sweep_step()
        node.sweep_step()
        node.kernel.move(program, "/src2")
        node.settle()
        assert undone(node)

    def test_drift_is_put_back_and_counted(self, node, under):
        under(MOVE)
        program = node.started("b")
        node.settle()
        node.kernel.move(program, "/src2")
        node.settle()
        assert (program.group, happenings(node, program)[-1]) == ("/made/here", Happening.DRIFTED)
        under()
        assert program.group == "/src2"

    def test_a_group_that_is_gone_means_the_nearest_above(self, node, under):
        under(MOVE)
        node.kernel.groups |= {"/src1/unit", "/src1/unit/inner"}
        program = node.forked(node.kernel.processes[1])
        node.kernel.move(program, "/src1/unit/inner")
        node.executed(program, "b")
        node.settle()
        node.kernel.groups -= {"/src1/unit", "/src1/unit/inner"}
        restored = node.examiner.restore()
        assert (program.group, restored.given_back, restored.apart) == ("/src1", 1, 1)

    def test_a_group_that_is_threaded_now_means_the_nearest_above(self, node, under):
        under(MOVE)
        node.kernel.groups |= {"/src1/unit", "/src1/unit/inner"}
        program = node.forked(node.kernel.processes[1])
        node.kernel.move(program, "/src1/unit/inner")
        node.executed(program, "b")
        node.settle()
        node.kernel.threaded = {"/src1/unit", "/src1/unit/inner"}
        restored = node.examiner.restore()
        assert (program.group, restored.given_back, restored.apart) == ("/src1", 1, 1)

    def test_who_has_no_group_above_one_that_is_threaded_stays_and_this_is_told_once(self, node, under, caplog):
        under(MOVE)
        program = node.forked(node.kernel.processes[1])
        node.kernel.move(program, "/src1")
        node.executed(program, "b")
        node.settle()
        node.kernel.threaded = {"/src1"}
        under()
        node.settle()
        assert (program.group, placement(node, program).state) == ("/made/here", State.RETURNING)
        (told,) = [record for record in caplog.records if record.message.startswith("cannot restore now")]
        assert "is in a threaded subtree now, and none above takes processes" in told.fields["detail"]
        node.kernel.threaded = set()
        node.settle()
        assert (program.group, placement(node, program)) == ("/src1", None)

    def test_a_group_that_cannot_be_opened_is_not_one_that_is_gone(self, node, under, monkeypatch):
        under(TO_EXISTING)
        program = node.started("b")
        node.kernel.make_group("/src1/unit")
        node.kernel.move(program, "/src1/unit")
        node.settle()

        def refuses(tree, path):
            raise KernelRefused("open", path, errno.EMFILE)

        with monkeypatch.context() as patch:
            patch.setattr(Tree, "inode", refuses)
            under()
        assert (program.group, placement(node, program).state) == ("/src3", State.RETURNING)
        node.settle()
        assert program.group == "/src1/unit"

    def test_who_has_no_group_left_above_stays_and_never_goes_to_the_root(self, node, under):
        under(MOVE)
        program = node.forked(node.kernel.processes[1])
        node.kernel.move(program, "/src1")
        node.executed(program, "b")
        node.settle()
        node.kernel.groups.discard("/src1")
        restored = node.examiner.restore()
        assert (program.group, restored.apart, len(restored.failed)) == ("/made/here", 0, 1)
        assert "none above takes processes" in restored.failed[0]
        node.kernel.groups.add("/src1")
        node.settle()
        assert (program.group, placement(node, program)) == ("/src1", None)

    def test_a_refused_move_is_told_once_and_tried_at_each_sweep(self, node, under):
        node.kernel.refuses = {"join"}
        under(MOVE)
        program = node.started("b")
        node.settle()
        assert happenings(node, program).count(Happening.FAILED) == 1
        assert placement(node, program).state is State.REFUSED
        node.kernel.refuses = set()
        node.settle()
        assert (program.group, placement(node, program).refusals) == ("/made/here", ())

    def test_a_refused_way_back_is_tried_until_it_succeeds(self, node, under):
        under(MOVE)
        program = node.started("b")
        node.settle()
        node.kernel.refuses = {"join"}
        under()
        assert (program.group, placement(node, program).state) == ("/made/here", State.RETURNING)
        node.kernel.refuses = set()
        node.settle()
        assert undone(node)

    def test_a_process_that_ends_under_way_is_forgotten(self, node, under):
        under(MOVE)
        program = node.started("b")
        node.move_step()
        node.kernel.exit(program)
        node.settle()
        under()
        assert undone(node)

    def test_a_newcomer_with_its_number_is_not_taken_for_it(self, node, under):
        under(MOVE)
        program = node.started("b")
        node.move_step()
        node.kernel.exit(program)
        newcomer = node.started("b", pid=program.pid)
        node.settle()
        assert newcomer.group == "/made/here"
        under()
        assert undone(node)

    def test_to_another_group_the_first_before_stays(self, node, under):
        under(MOVE)
        program = node.started("b")
        node.settle()
        under({**MOVE, "cgroup": {"path": "/src3", "controllers": [TREE]}})
        assert (program.group, node.kernel.groups) == ("/src3", set(EXISTING))
        under()
        assert undone(node)

    def test_a_restore_waits_for_what_is_under_way(self, node, under):
        under(MOVE)
        node.started("b")
        node.examiner.restore()
        assert undone(node)

    def test_value_and_move_of_one_rule_are_given_back_together(self, node, under):
        under(BOTH)
        program = node.started("a")
        node.settle()
        assert (program.adj, program.group) == (500, "/src3")
        assert node.examiner.restore().given_back == 2
        assert undone(node)

    def test_killed_before_it_was_heard_of_who_was_born_in_the_group_is_back_all_the_same(self, node, under):
        under(MOVE)
        program = node.forked(node.kernel.processes[1])
        node.kernel.move(program, "/src1")
        node.executed(program, "b")
        node.move_step()
        middle = node.forked(program)
        node.forked(middle).comm = "none"
        node.kernel.exit(middle)
        node.forks.clear()
        node.restart()
        node.examiner.restore()
        assert undone(node)

    def test_a_group_is_kept_where_the_rule_says_so_by_now(self, node, under):
        under(MOVE)
        program = node.started("b")
        node.settle()
        under({**MOVE, "on_remove": "keep"})
        under()
        assert (program.group, table_of(node)) == ("/made/here", [])

    def test_a_group_that_could_not_be_made_is_not_ours_when_another_program_makes_it(self, node, under):
        node.kernel.refuses = {"make"}
        under(MOVE)
        program = node.started("b")
        node.settle()
        assert (program.group, table_of(node)) == ("/", [])
        node.kernel.make_group("/made")
        node.kernel.make_group("/made/here")
        under()
        assert {"/made", "/made/here"} < node.kernel.groups

    @pytest.mark.parametrize("moments", range(5))
    @pytest.mark.parametrize("groups", [("/made",), ("/made", "/made/here")])
    def test_so_is_one_that_it_makes_while_the_refusal_is_noted(self, node, under, groups, moments):
        node.kernel.refuses = {"make"}
        under(MOVE)
        kernel = node.kernel
        program = node.started("b")
        kernel.meanwhile.append((moments, lambda: [kernel.make_group(group) for group in groups]))
        node.move_step()
        node.fetch()
        node.kernel.exit(program)
        under()
        assert (kernel.groups, table_of(node)) == (kernel.own_groups, [])

    @pytest.mark.parametrize("moments", range(8))
    def test_a_group_that_another_program_makes_while_we_do_is_its_own(self, node, under, moments):
        under({**MOVE, "cgroup": {"path": "/made", "controllers": [TREE]}})
        program = node.started("b")
        kernel = node.kernel
        kernel.meanwhile.append((moments, lambda: "/made" in kernel.groups or kernel.make_group("/made")))
        node.settle()
        assert program.group == "/made"
        under()
        assert (kernel.groups, table_of(node)) == (kernel.own_groups, [])

    @pytest.mark.parametrize("what", ["process", "group"])
    def test_one_noted_and_not_made_before_a_crash_is_that_of_the_program_that_uses_it(self, node, what):
        node.journal.commit([GroupRow(TREE, "/made", "move"), GroupRow(TREE, "/made/here", "move")])
        stranger = node.kernel.start("none")

        def another(journal):
            node.kernel.make_group("/made")
            node.kernel.make_group("/made/here")
            if what == "process":
                node.kernel.move(stranger, "/made/here")
            else:
                node.kernel.make_group("/made/here/inner")

        node.rules = rules()
        node.restart(another)
        node.settle()
        assert (stranger.group, {"/made", "/made/here"} <= node.kernel.groups) == (stranger.own_group, True)
        assert table_of(node) == []

    @pytest.mark.parametrize("swept", [False, True])
    def test_a_group_that_another_program_made_anew_is_not_ours(self, node, under, swept):
        under(MOVE)
        program = node.started("b")
        node.settle()
        node.kernel.exit(program)
        node.kernel.remove_group("/made/here")
        if swept:
            node.settle()
        node.kernel.make_group("/made/here")
        stranger = node.started("none")
        node.kernel.move(stranger, "/made/here")
        under()
        assert (stranger.group, [path for _, path in node.journal.table.groups]) == ("/made/here", ["/made"])

    def test_a_member_that_another_program_moves_away_before_its_group_is_removed_stays_there(self, node, under):
        under(MOVE)
        program = node.started("b")
        node.kernel.move(program, "/src1")
        node.settle()
        strangers = [node.started("none"), node.started("none")]
        for stranger in strangers:
            node.kernel.move(stranger, "/made/here")
        node.kernel.exit(program)
        tree, join = node.executor._hierarchy.tree(TREE), Tree.join

        def joining(path, pid, still=None):
            node.kernel.move(strangers[1], "/src2")
            return join(tree, path, pid, still)

        tree.join = joining
        under()
        assert [stranger.group for stranger in strangers] == ["/src1", "/src2"]

    def test_a_group_that_was_there_stays(self, node, under):
        under(BOTH)
        node.started("a")
        node.settle()
        under()
        assert "/src3" in node.kernel.groups

    def test_what_is_where_it_should_be_has_no_row(self, node, under):
        program = node.started("a")
        node.kernel.move(program, "/src3")
        under(BOTH)
        assert not any(isinstance(row, MoveRow) for row in table_of(node))
        under()
        assert undone(node)


# -- files -------------------------------------------------------------------------------------------------------------


class TestFile:
    @pytest.fixture
    def held(self, node, under):
        under(SET)
        program = node.forked(node.kernel.processes[1])
        node.kernel.move(program, "/src1")
        node.executed(program, "c")
        node.settle()
        return node.kernel.files

    def test_it_is_set_and_given_back(self, node, under, held):
        assert held["/src1", "pids.max"] == "50"
        under()
        assert undone(node)

    def test_it_is_given_back_when_its_rule_stays_without_the_setting(self, node, under, held):
        under({"name": SET["name"], "match": SET["match"], "oom_score_adj": 5})
        assert held == node.kernel.own_files
        assert node.journal.table.files == {}

    def test_its_original_survives_any_number_of_refused_tries(self, node, under, held):
        for _ in range(3):
            node.kernel.refuses = {"file"}
            under({**SET, "in_place": {"pids.max": 60}})
        assert held["/src1", "pids.max"] == "50"
        node.kernel.refuses = set()
        under({**SET, "in_place": {"pids.max": 70}})
        assert held["/src1", "pids.max"] == "70"
        under()
        assert undone(node)

    def test_a_refused_first_try_leaves_no_row(self, node, under):
        node.kernel.refuses = {"file"}
        program = node.forked(node.kernel.processes[1])
        node.kernel.move(program, "/src1")
        node.executed(program, "c")
        under(SET)
        assert node.journal.table.files == {}
        assert [refusal.reason for refusal in placement(node, program).refusals] == [Reason.BAD_VALUE]

    def test_what_was_refused_for_one_process_and_done_for_the_next_is_given_back(self, node, under):
        """Both were carried out before either result arrived."""
        node.set_rules(rules(SET))
        node.sweeps.step()
        for refuses in ({"file"}, set()):
            program = node.forked(node.kernel.processes[1])
            node.kernel.move(program, "/src1")
            node.executed(program, "c")
            node.kernel.refuses = refuses
            node.move_step()
        assert node.kernel.files["/src1", "pids.max"] == "50"
        node.fetch()
        under()
        assert undone(node)

    def test_a_refused_way_back_is_tried_until_it_succeeds_and_told_once(self, node, under, held, caplog):
        node.kernel.refuses = {"file"}
        under()
        node.settle()
        assert held["/src1", "pids.max"] == "50"
        assert len([one for one in caplog.records if "cannot restore now" in one.getMessage()]) == 1
        node.kernel.refuses = set()
        node.settle()
        assert undone(node)

    def test_what_another_program_wrote_since_is_what_is_given_back(self, node, under, held):
        node.kernel.write_file("/src1", "pids.max", "77")
        node.settle()
        assert held["/src1", "pids.max"] == "50"
        under()
        assert held["/src1", "pids.max"] == "77"

    def test_what_another_program_wrote_while_it_was_noted_is_what_was_before(self, node, under):
        program = node.forked(node.kernel.processes[1])
        node.kernel.move(program, "/src1")
        node.kernel.meanwhile.append((0, lambda: node.kernel.write_file("/src1", "pids.max", "77")))
        node.executed(program, "c")
        under(SET)
        assert node.kernel.files["/src1", "pids.max"] == "50"
        under()
        assert undone(node)

    def test_what_another_program_wrote_after_the_last_look_is_left(self, node, under, held):
        node.kernel.write_file("/src1", "pids.max", "77")
        node.examiner.restore()
        assert undone(node)

    def test_what_another_program_wrote_before_the_way_back_is_left(self, node, held):
        (row,) = node.journal.table.files.values()
        node.kernel.write_file("/src1", "pids.max", "77")
        assert node.executor.clear(Unset(row)).how is How.LEFT
        assert held["/src1", "pids.max"] == "77"

    def test_a_start_without_the_hosts_cgroup_tree_forgets_nothing(self, node, under, held):
        node.set_rules(rules(SET, MOVE))
        node.started("b")
        node.settle()
        trees = node.executor._hierarchy.trees
        tree = trees.pop(TREE)
        node.reconciler.host.groups._read = lambda path: None
        under()
        assert [type(row) for row in table_of(node)] == [MoveRow, FileRow, GroupRow, GroupRow]
        trees[TREE] = tree
        del node.reconciler.host.groups._read
        node.settle()
        assert undone(node)

    def test_where_no_descriptor_is_left_nothing_is_forgotten(self, node, under, held, monkeypatch):
        def refuses(tree, path):
            raise KernelRefused("open", path, errno.EMFILE)

        monkeypatch.setattr(Tree, "inode", refuses)
        under()
        assert len(table_of(node)) == 1
        monkeypatch.undo()
        node.settle()
        assert undone(node)

    def test_a_group_that_is_gone_is_forgotten(self, node, under, held):
        for program in node.kernel.processes.values():
            node.kernel.move(program, "/")
        node.kernel.groups.discard("/src1")
        del held["/src1", "pids.max"]
        del node.kernel.own_files["/src1", "pids.max"]
        node.settle()
        assert node.journal.table.files == {}

    def test_so_is_one_of_which_no_inode_was_noted(self, node):
        """The group was removed before its inode was read."""
        node.kernel.make_group("/container")
        node.kernel.files["/container", "pids.max"] = "50"
        node.journal.commit([FileRow(TREE, "/container", "pids.max", "max", "gone", written="50")])
        node.kernel.remove_group("/container")
        node.settle()
        assert table_of(node) == []

    def test_it_is_kept_where_the_rule_says_so_by_now(self, node, under, held):
        under({**SET, "on_remove": "keep"})
        under()
        assert (held["/src1", "pids.max"], node.journal.table.files) == ("50", {})

    def test_under_a_rule_of_another_name_it_stays(self, node, under, held, monkeypatch):
        written = []
        monkeypatch.setattr(Tree, "write", lambda tree, path, file, value: written.append(value))
        under({**SET, "name": "new"})
        assert (written, [row.rule for row in node.journal.table.files.values()]) == ([], ["new"])
        monkeypatch.undo()
        under()
        assert undone(node)

    @pytest.mark.parametrize("how", ["restored", "removed"])
    def test_what_another_rule_sets_too_stays_for_it(self, node, under, how):
        first = {**SET, "name": "first", "match": {"comm": "b"}}
        under(first, SET)
        for comm in "bc":
            program = node.forked(node.kernel.processes[1])
            node.kernel.move(program, "/src1")
            node.executed(program, comm)
        node.settle()
        if how == "restored":
            node.examiner.restore(rule="first")
        else:
            node.set_rules(rules(SET))
            while node.sweeps.pending:
                node.sweep_step()
        assert node.kernel.files["/src1", "pids.max"] == "50"
        node.examiner.restore()
        assert undone(node)

    def test_a_group_that_was_made_anew_with_the_text_of_the_rule_keeps_it(self, node, under, held):
        """Another program removed the group, and made one of that name with that very limit."""
        (program,) = (one for one in node.kernel.processes.values() if one.comm == "c")
        node.kernel.exit(program)
        node.kernel.make_group("/src1")
        node.kernel.write_file("/src1", "pids.max", "50")
        under()
        assert (held["/src1", "pids.max"], node.journal.table.files) == ("50", {})


# -- rules -------------------------------------------------------------------------------------------------------------


class TestRules:
    def test_a_to_b_to_a(self, node, under):
        under(VALUE)
        program = node.started("a")
        under(OTHER)
        under(VALUE)
        assert (program.adj, placement(node, program).adj_before) == (500, 0)
        under()
        assert undone(node)

    def test_a_dry_run_writes_nothing_and_is_told_once(self, node, under):
        program = node.started("a")
        under(VALUE, dry_run=True)
        node.settle()
        assert (program.adj, table_of(node)) == (0, [])
        assert happenings(node, program) == [Happening.PLANNED]
        assert placement(node, program).state is State.PLANNED

    def test_a_move_that_is_under_way_when_a_dry_run_begins_is_shown_when_it_is_made(self, node, under):
        node.set_rules(rules(MOVE))
        node.settle()
        program = node.started("b")
        node.set_rules(rules(MOVE, dry_run=True))
        while node.sweeps.pending:
            node.sweep_step()
        assert placement(node, program).state is State.PLANNED
        node.move_step()
        node.fetch()
        assert (program.group, placement(node, program).changes) == ("/made/here", ())
        under()
        assert undone(node)

    def test_from_a_dry_run_to_held_and_back_nothing_is_written_by_the_way_back(self, node, under):
        program = node.started("a")
        under(VALUE, dry_run=True)
        under(VALUE)
        assert program.adj == 500
        under(VALUE, dry_run=True)
        assert program.adj == 500, "what was written stays until its rule goes"
        under()
        assert undone(node)

    def test_restored_rules_wait_until_rules_are_set_again(self, node, under):
        under(VALUE)
        program = node.started("a")
        node.examiner.restore(rule="value")
        node.settle()
        later = node.started("a")
        assert (program.adj, later.adj, node.reconciler.suspended) == (0, 0, {"value"})
        under(VALUE)
        assert (program.adj, later.adj) == (500, 500)

    def test_a_restored_process_waits_alone(self, node, under):
        under(VALUE)
        program, other = node.started("a"), node.started("a")
        node.examiner.restore(pid=program.pid)
        node.settle()
        assert (program.adj, other.adj) == (0, 500)
        under(VALUE)
        assert program.adj == 500

    def test_keep_leaves_everything(self, node, under):
        under({**BOTH, "on_remove": "keep"})
        program = node.started("a")
        node.settle()
        under()
        assert (program.adj, program.group, table_of(node)) == (500, "/src3", [])
        assert node.reports[-1].detail == KEPT

    def test_a_restore_gives_back_what_a_rule_would_keep(self, node, under):
        under({**BOTH, "on_remove": "keep"})
        node.started("a")
        node.settle()
        node.examiner.restore()
        assert undone(node)

    @pytest.mark.parametrize("restart", [False, True])
    def test_what_is_under_a_rule_of_a_source_that_cannot_be_read_stands(self, node, restart):
        whole = rules(BOTH, MOVE).sourced({"both": "bundle"})
        node.set_rules(whole)
        program = node.started("a")
        node.settle()
        node.set_rules(rules(MOVE).sourced({}, unread=("bundle",)))
        if restart:
            node.restart()
        node.settle()
        assert (program.adj, program.group) == (500, "/src3")
        node.set_rules(rules(MOVE))
        node.settle()
        assert undone(node)

    def test_an_own_rule_that_is_no_more_is_given_back_though_a_source_cannot_be_read(self, node):
        node.set_rules(rules(VALUE))
        node.started("a")
        node.set_rules(rules(MOVE).sourced({}, unread=("bundle",)))
        node.settle()
        assert undone(node)

    def test_restore_gives_back_what_is_under_a_rule_that_cannot_be_read(self, node):
        node.set_rules(rules(BOTH).sourced({"both": "bundle"}))
        node.started("a")
        node.settle()
        node.set_rules(Rules().sourced({}, unread=("bundle",)))
        node.examiner.restore()
        assert undone(node)

    def test_files_and_groups_of_a_rule_that_cannot_be_read_stand(self, node):
        made = {**MOVE, "cgroup": {**MOVE["cgroup"], "settings": {"pids.max": 40}}}
        node.set_rules(rules(made).sourced({"move": "bundle"}))
        program = node.started("b")
        node.settle()
        node.kernel.exit(program)
        node.set_rules(Rules().sourced({}, unread=("bundle",)))
        node.settle()
        assert node.kernel.files["/made/here", "pids.max"] == "40"
        node.set_rules(Rules())
        node.settle()
        assert undone(node)


class TestNewerRelease:
    """A release with a newer format of the journal runs, then this one, then the newer one again."""

    def test_the_remedy_for_its_journal_restores_everything(self, node, under, caplog):
        under(VALUE, SET)
        first, second = node.started("a"), node.started("a")
        child = node.started("none", first.pid)
        setter = node.kernel.start("c")
        node.kernel.move(setter, "/src1")
        node.settle()
        node.rules = rules(OTHER, {**SET, "in_place": {"pids.max": 60}})
        node.restart(lambda journal: with_header(journal, Header(3, 3, "boot")))
        node.settle()
        node.started("none", second.pid)
        assert (first.adj, child.adj, node.kernel.files["/src1", "pids.max"]) == (400, 500, "60")
        (remedy,) = [record.fields["remedy"] for record in caplog.records if "remedy" in record.fields]
        kept = re.fullmatch(
            "run holdfast restore, stop the daemon, move (.*) to (.*), start the newer release", remedy
        ).groups()
        node.examiner.restore()
        node.rules = rules(VALUE, SET)
        node.restart(lambda journal: with_header(Path(kept[0]).replace(kept[1]), Header(2, 2, "boot")))
        node.settle()
        node.examiner.restore()
        assert undone(node)


def with_header(journal, header):
    """Give a journal another header."""
    _, rest = journal.read_bytes().split(b"\n", 1)
    journal.write_bytes(packed(header, 0) + rest)


# -- by hand -----------------------------------------------------------------------------------------------------------


class TestOverride:
    def test_it_goes_before_the_rules_and_ends(self, node, under):
        under(VALUE)
        program = node.started("a")
        shown = node.examiner.override(program.pid, None, 900, 1 << 62, "test")
        (row,) = node.journal.table.overridden.values()
        assert (program.adj, shown.rule, shown.expires_ns) == (900, "hold", row.expires_unix_ns)
        node.settle()
        assert program.adj == 900
        assert node.examiner.end_override(program.pid)
        assert (program.adj, placement(node, program).rule) == (500, "value")
        under()
        assert undone(node)

    def test_who_is_under_no_rule_gets_back_what_it_had(self, node):
        program = node.started("none")
        node.kernel.write_adj(program, 7)
        node.examiner.override(program.pid, None, 900, 1 << 62, "test")
        node.examiner.end_override(program.pid)
        assert undone(node)

    def test_children_that_inherited_it_are_given_back_with_it(self, node):
        program = node.started("none")
        node.examiner.override(program.pid, None, 900, 1 << 62, "test")
        child = node.started("none", program.pid)
        assert (child.adj, placement(node, child).state) == (900, State.INHERITED)
        node.examiner.end_override(program.pid)
        node.settle()
        assert undone(node)

    def test_its_rule_decides_its_group(self, node, under):
        under(BOTH)
        program = node.started("a")
        node.examiner.override(program.pid, None, 900, 1 << 62, "test")
        node.settle()
        under({**BOTH, "cgroup": {"path": "/src2", "controllers": [TREE]}})
        assert (program.adj, program.group, placement(node, program).rule) == (900, "/src2", "hold")
        node.restart()
        under(VALUE)
        assert (program.adj, program.group) == (900, "/")
        node.examiner.end_override(program.pid)
        assert program.adj == 500
        under()
        assert undone(node)

    def test_its_rule_decides_the_files_of_its_group(self, node, under):
        under(SET)
        program = node.kernel.start("c")
        node.kernel.move(program, "/src1")
        node.examiner.override(program.pid, None, 900, 1 << 62, "test")
        node.settle()
        assert node.kernel.files["/src1", "pids.max"] == "50"
        under({**SET, "in_place": {"pids.max": 60}})
        assert node.kernel.files["/src1", "pids.max"] == "60"
        under({**SET, "in_place": {"pids.max": 70}}, dry_run=True)
        assert (program.adj, node.kernel.files["/src1", "pids.max"]) == (900, "60")
        node.examiner.restore()
        assert undone(node)

    def test_it_leaves_its_rules_group_with_its_rule(self, node, under):
        under(BOTH)
        program = node.started("a")
        node.settle()
        node.examiner.override(program.pid, None, 900, 1 << 62, "test")
        node.executed(program, "none")
        node.settle()
        assert (program.adj, program.group) == (900, "/")
        node.examiner.end_override(program.pid)
        assert undone(node)

    def test_what_it_does_not_name_may_be_refused(self, node, under):
        under({**BOTH, "oom_score_adj": None})
        node.kernel.refuses = {"join"}
        program = node.started("a")
        node.settle()
        assert placement(node, program).refusals
        assert node.examiner.override(program.pid, None, 900, 1 << 62, "test").rule == "hold"
        assert program.adj == 900

    def test_what_is_restored_at_its_end_is_not_what_a_rule_would_keep(self, node, under):
        under({**VALUE, "on_remove": "keep"})
        program = node.started("a")
        node.examiner.override(program.pid, None, 900, 1 << 62, "test")
        node.executed(program, "none")
        node.examiner.end_override(program.pid)
        assert undone(node)

    def test_it_outlives_a_restart(self, node, under):
        under(VALUE)
        program = node.started("a")
        node.examiner.override(program.pid, None, 900, 1 << 62, "test")
        node.restart()
        node.settle()
        assert program.adj == 900
        node.examiner.restore()
        assert undone(node)

    def test_its_time_ends(self, node):
        program = node.started("none")
        node.examiner.override(program.pid, None, 900, 10**12, "test")
        (row,) = node.journal.table.overridden.values()
        node.examiner.expire(Now(0, row.expires_ticks - 1))
        assert program.adj == 900
        node.examiner.expire(Now(0, row.expires_ticks))
        assert undone(node)

    @pytest.mark.parametrize("step_s", [-86400, 86400])
    def test_its_time_ends_as_requested_though_the_clock_is_set(self, node, step_s):
        program = node.started("none")
        node.examiner.override(program.pid, None, 900, 600 * 10**9, "test")
        node.restart()
        (row,) = node.journal.table.overridden.values()
        began, unix_ns = row.expires_ticks - 60_000, row.expires_unix_ns - (600 - step_s) * 10**9
        node.examiner.expire(Now(unix_ns + 599 * 10**9, began + 59_900))
        assert program.adj == 900
        assert row.shown_unix_ns(unix_ns, began) == unix_ns + 600 * 10**9
        node.examiner.expire(Now(unix_ns + 600 * 10**9, began + 60_000))
        assert undone(node)

    def test_a_refused_one_leaves_nothing(self, node):
        program = node.started("none")
        node.kernel.refuses = {"adj"}
        with pytest.raises(FailedPrecondition):
            node.examiner.override(program.pid, None, 900, 1 << 62, "test")
        assert undone(node)

    def test_a_refused_one_leaves_the_one_before(self, node):
        program = node.started("none")
        node.examiner.override(program.pid, None, 900, 1 << 62, "first")
        node.kernel.refuses = {"adj"}
        with pytest.raises(FailedPrecondition):
            node.examiner.override(program.pid, None, 901, 1 << 62, "second")
        assert node.journal.table.overridden[program.pid].why == "first"
        assert program.adj == 900

    def test_everything_is_given_back_though_its_end_finds_no_room(self, node, under):
        under(VALUE)
        programs = [node.started("a"), node.started("a")]
        node.examiner.override(programs[0].pid, None, 900, 1 << 62, "test")
        node.kernel.refuses = {"journal"}
        node.examiner.restore()
        assert undone(node)

    def test_one_that_cannot_be_noted_is_refused(self, node, monkeypatch):
        program = node.started("none")

        def full(data):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(node.journal, "_write", full)
        with pytest.raises(Unavailable, match="no space left"):
            node.examiner.override(program.pid, None, 900, 1 << 62, "test")
        assert program.adj == 0


# -- created by a runtime ----------------------------------------------------------------------------------------------


class TestAdoption:
    def born(self, node, value=500):
        """A process that a runtime created with a rule's value."""
        program = node.forked(node.kernel.processes[1])
        program.adj, program.own_adj = value, 77
        node.forks.clear()
        return program

    def test_it_is_given_what_was_asked_for_when_the_rule_goes(self, node, under):
        under(VALUE)
        program = self.born(node)
        node.executed(program, "a")
        node.examiner.adopt(program.pid, 77, 500, "value")
        assert placement(node, program).adj_before == 77
        under()
        assert undone(node)

    def test_so_is_what_it_had_started_before_it_was_told_of(self, node, under):
        under(VALUE)
        program = self.born(node)
        node.executed(program, "a")
        child = node.forked(program)
        node.settle()
        node.examiner.adopt(program.pid, 77, 500, "value")
        node.settle()
        assert placement(node, child).adj_before == 77
        under()
        assert undone(node)

    def test_a_rule_that_is_no_more_gives_it_back_at_once(self, node):
        program = self.born(node)
        node.executed(program, "none")
        node.examiner.adopt(program.pid, 77, 500, "gone")
        assert undone(node)

    def test_a_rule_that_took_it_for_its_own_is_told_better(self, node, under):
        program = self.born(node, 250)
        under({**VALUE, "match": {"comm": "init"}})
        node.executed(program, "x")
        under({**VALUE, "match": {"comm": "x"}})
        assert placement(node, program).adj_before == 250
        node.examiner.adopt(program.pid, 77, 250, "gone")
        assert placement(node, program).adj_before == 77
        under()
        assert undone(node)

    def test_so_is_what_another_rule_was_about_to_write_over_when_we_were_killed(self, node):
        program = self.born(node)
        node.journal.commit([AdjRow(program.pid, program.start_ticks, 500, "other", wanted=310)])
        node.restart()
        node.examiner.adopt(program.pid, 77, 500, "value")
        node.examiner.restore()
        assert undone(node)

    @pytest.mark.parametrize("why", ["another value", "gone", "by hand"])
    def test_nothing_is_adopted_where(self, node, under, why):
        under(VALUE)
        program = node.started("none")
        if why == "gone":
            node.kernel.exit(program)
        elif why == "by hand":
            node.examiner.override(program.pid, None, 500, 1 << 62, "test")
        before = table_of(node)
        node.examiner.adopt(program.pid, 77, 500, "value")
        assert table_of(node) == before

    def test_one_that_finds_no_room_is_known_and_its_runtime_tells_again(self, node, under):
        under(VALUE)
        program = self.born(node)
        node.executed(program, "a")
        node.kernel.refuses = {"journal"}
        with pytest.raises(Unavailable, match="full"):
            node.examiner.adopt(program.pid, 77, 500, "value")
        assert placement(node, program).adj_before == 77
        node.kernel.refuses = set()
        node.examiner.adopt(program.pid, 77, 500, "value")
        node.restart()
        node.examiner.restore()
        assert undone(node)

    def test_so_are_files_that_find_no_room(self, node):
        node.kernel.files["/src1", "pids.max"] = "50"
        row = FileRow(TREE, "/src1", "pids.max", "1000", "gone", written="50")
        node.kernel.refuses = {"journal"}
        with pytest.raises(Unavailable, match="full"):
            node.examiner.adopt_files([row])
        noted = replace(row, inode=node.kernel.inodes["/src1"])
        assert list(node.journal.table.files.values()) == [noted]
        node.kernel.refuses = set()
        node.examiner.adopt_files([row])
        node.restart()
        assert list(node.journal.table.files.values()) == [noted]

    def test_files_that_a_runtime_wrote_are_given_back(self, node, under):
        node.kernel.files["/src1", "pids.max"] = "50"
        row = FileRow(TREE, "/src1", "pids.max", "1000", "gone", written="50")
        node.examiner.adopt_files([row, FileRow(TREE, "/src2", "pids.max", "1", "gone", written="2")])
        assert list(node.journal.table.files.values()) == [replace(row, inode=node.kernel.inodes["/src1"])]
        node.settle()
        assert undone(node)

    def test_a_group_of_the_same_name_that_another_program_made_since_keeps_its_text(self, node, under):
        under({**SET, "name": "set"})
        node.kernel.make_group("/container")
        node.kernel.files["/container", "pids.max"] = "50"
        node.examiner.adopt_files([FileRow(TREE, "/container", "pids.max", "max", "set", written="50")])
        node.kernel.remove_group("/container")
        node.kernel.make_group("/container")
        node.kernel.files["/container", "pids.max"] = "50"
        under()
        assert node.kernel.files["/container", "pids.max"] == "50"
        assert node.journal.table.files == {}

    def test_so_is_a_file_that_another_rule_wrote_over_before_it_was_told_of(self, node, under):
        """The value that the rule found was ours, of the rule before it."""
        under(SET)
        node.kernel.files["/src1", "pids.max"] = "40"
        program = node.forked(node.kernel.processes[1])
        node.kernel.move(program, "/src1")
        node.executed(program, "c")
        node.settle()
        node.examiner.adopt_files([FileRow(TREE, "/src1", "pids.max", "1000", "gone", written="40")])
        assert node.kernel.files["/src1", "pids.max"] == "50"
        under()
        assert undone(node)


# -- the pure half, without anything ----------------------------------------------------------------------------------


class TestPure:
    NOW = Now(1000, 50)

    @pytest.fixture
    def reconciler(self):
        made = Reconciler(Table(), host_of(Kernel()))
        made.set_rules(rules(VALUE, MOVE))
        return made

    def test_a_process_in_a_value_out(self, reconciler):
        seen = Process(7, 40, 1, "a", cgroups={TREE: "/"}, oom_score_adj=3)
        (write,) = reconciler.observe(seen, self.NOW, 9)
        assert isinstance(write, Write)
        assert (write.row, write.change, write.at_ns) == (
            AdjRow(7, 40, 3, "value", wanted=500, since_ticks=50),
            AdjChange(3, 500),
            9,
        )

    def test_a_preview_changes_nothing(self, reconciler):
        seen = Process(7, 40, 1, "a", cgroups={TREE: "/"}, oom_score_adj=3)
        decision = reconciler.decide(reconciler.known(seen))
        assert (decision.rule, [change.after for change in decision.changes]) == ("value", [500])
        assert (reconciler.entries, list(reconciler.table.rows())) == ({}, [])

    def test_a_move_under_way_is_not_ordered_twice(self, reconciler):
        seen = Process(7, 40, 1, "b", cgroups={TREE: "/"})
        assert [type(action) for action in reconciler.observe(seen, self.NOW)].count(Order) == 1
        assert [type(action) for action in reconciler.observe(seen, self.NOW)].count(Order) == 0

    def test_what_is_as_it_should_be_is_no_action(self, reconciler):
        seen = Process(7, 40, 1, "a", cgroups={TREE: "/"}, oom_score_adj=500)
        assert reconciler.observe(seen, self.NOW) == []
        assert reconciler.observe(seen, self.NOW) == []

    def test_nobody_s_business_is_no_action(self, reconciler):
        assert reconciler.observe(Process(7, 40, 1, "z", cgroups={TREE: "/"}), self.NOW) == []
        assert reconciler.entries == {}

    @pytest.mark.parametrize(("present", "written"), [(500, 500), (400, 400)])
    def test_after_a_crash_what_is_there_says_what_was_written(self, reconciler, present, written):
        reconciler.table.put(AdjRow(7, 40, 3, "value", written=400, wanted=500, since_ticks=45))
        reconciler.observe(Process(7, 40, 1, "a", oom_score_adj=present), self.NOW)
        assert reconciler.table.adj(7, 40).written == written

    def test_a_row_of_who_had_the_number_is_forgotten(self, reconciler):
        reconciler.table.put(AdjRow(7, 30, 3, "value", written=500))
        (forget, *_) = reconciler.observe(Process(7, 40, 1, "z"), self.NOW)
        assert [row.start_ticks for row in forget.rows] == [30]

    def test_gone_forgets_the_very_process(self, reconciler):
        reconciler.table.put(AdjRow(7, 40, 3, "value", written=500))
        assert reconciler.gone(7, 30) == []
        (forget,) = reconciler.gone(7, 40)
        assert forget.rows == (AdjRow(7, 40, 3, "value", written=500),)

    def test_a_fork_of_who_holds_nothing_is_nobody_s_business(self, reconciler):
        assert reconciler.forked([(5, 6)]) == []
        reconciler.table.put(AdjRow(5, 40, 3, "value", written=500))
        assert reconciler.forked([(5, 6)]) == [Look(6)]

    def test_a_fork_is_news_for_two_rounds(self, reconciler):
        reconciler.table.put(AdjRow(5, 40, 3, "value", written=500))
        reconciler.forked([(5, 6)])
        reconciler.begin()
        assert reconciler.is_known(6)
        reconciler.begin()
        assert not reconciler.is_known(6)

    def test_a_rule_that_waits_for_its_pod_stands(self, reconciler):
        class Pod:
            uid = qos = container_id = namespace = name = container = ""
            labels = annotations = MappingProxyType({})
            main = oom_score_adj = oom_score_adj_asked = None

        reconciler.set_rules(rules({**VALUE, "match": {"pod": {"name": "db"}}}))
        reconciler.table.put(AdjRow(7, 40, 3, "value", written=500))
        seen = Process(7, 40, 1, "a", oom_score_adj=500, pod=Pod())
        assert not any(isinstance(action, GiveBack) for action in reconciler.observe(seen, self.NOW))
        assert reconciler.placement(7).rule == "value"

    @pytest.mark.parametrize(
        "row",
        [
            FileRow(TREE, "/src1", "pids.max", "1", "gone", written="2"),
            GroupRow(TREE, "/src1", "gone"),
        ],
        ids=["file", "group"],
    )
    def test_what_no_rule_needs_is_cleared_up(self, reconciler, row):
        reconciler.table.put(row)
        (action,) = reconciler.clear_up()
        assert action.row == row

    def test_a_target_of_a_rule_and_what_is_above_it_stays(self, reconciler):
        reconciler.table.put(GroupRow(TREE, "/made", "move"))
        reconciler.table.put(GroupRow(TREE, "/made/here", "move"))
        assert reconciler.clear_up() == []

    @pytest.mark.parametrize(
        ("set_by", "left"),
        [("r", ["8:16 9"]), ("s", ["8:16 9"]), ("both", ["8:0 5", "8:16 9"])],
    )
    def test_of_a_file_with_lines_about_devices_each_is_cleared_up_by_itself(self, set_by, left):
        """Rule r set both of them; now each rule sets the second, or r the first and s the second."""
        file = "blkio.throttle.read_bps_device"
        disks = {"r": {"r": left}, "s": {"s": left}, "both": {"r": left[:1], "s": left[1:]}}[set_by]
        groups = {"/a": GroupFacts(values={file: "8:0 5\n8:16 9"})}
        reconciler = Reconciler(Table(), replace(host_of(Kernel()), hierarchies=("blkio",), groups=groups))
        given = [{"name": name, "match": {"comm": name}, "in_place": {file: lines}} for name, lines in disks.items()]
        reconciler.set_rules(rules(*given))
        row = FileRow("blkio", "/a", file, "8:0 1", "r", written="8:0 5\n8:16 9")
        reconciler.table.put(row)
        for pid, name in enumerate(disks, 7):
            assert reconciler.observe(Process(pid, 40, 1, name, cgroups={"blkio": "/a"}), self.NOW) == []
        actions = reconciler.clear_up()
        while any(isinstance(action, Unset) for action in actions):
            (unset,) = actions
            assert unset.parts == ("8:0",)
            (amend,) = reconciler.settle(Cleared(unset, How.DONE), self.NOW)
            reconciler.table.swap(amend.old, amend.row)
            actions = reconciler.clear_up()
        for amend in actions:
            reconciler.table.swap(amend.old, amend.row)
        (after,) = reconciler.table.files.values()
        assert (after.written.split("\n"), after.rule) == (left, "s" if set_by == "s" else "r")

    def test_overrides_expire_in_their_time(self, reconciler):
        row = OverrideRow(7, 40, 5, 100)
        reconciler.table.put(row)
        assert (reconciler.requests.expired(Now(99, 9)), reconciler.requests.expired(Now(100, 9))) == ([], [row])
