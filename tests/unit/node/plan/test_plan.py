from __future__ import annotations

import pytest
from holdfast.node.model.decision import AdjChange, Decision, Field, Reason
from holdfast.node.model.process import Held
from holdfast.node.plan.plan import explain, plan
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.fakes.placement import process, rules, v2_host

HOST = v2_host()
WEAK = v2_host(capabilities=frozenset())
INIT = process(1, "systemd", ppid=0)


def adjusted(before, after):
    return (AdjChange(before, after),)


def reasons(decision):
    return [refusal.reason for refusal in decision.refusals]


@pytest.mark.parametrize(
    ("action", "now", "after"),
    [
        (-900, 0, -900),
        (0, 300, 0),
        ({"value": 5}, 0, 5),
        ({"at_least": 800}, 0, 800),
        ({"at_least": 800}, 900, None),
        ({"at_most": -100}, 0, -100),
        ({"at_most": -100}, -500, None),
        ({"at_least": 0, "at_most": 10}, 500, 10),
        ({"at_least": 0, "at_most": 10}, -500, 0),
        ({"children": 3}, 500, None),
        (-900, -900, None),
    ],
)
def test_an_adjustment_is_a_value_or_bounds(action, now, after):
    decision = plan(process(oom_score_adj=now), rules({"match": {"comm": "postgres"}, "oom_score_adj": action}), HOST)
    assert decision.rule == "r1"
    assert decision.changes == (() if after is None else adjusted(now, after))
    assert decision.refusals == ()


def test_no_rule_is_an_empty_decision():
    assert plan(process(comm="nginx"), rules({"match": {"comm": "postgres"}}), HOST) == Decision(100, 1000)


def test_a_kernel_thread_falls_under_no_rule():
    assert plan(process(kernel_thread=True), rules({"match": {"comm": "*"}}), HOST).rule is None


def test_ourselves_and_init_are_refused_with_the_remedy():
    book = rules({"match": {"comm": "*"}})
    own = plan(process(HOST.own_pid), book, HOST)
    init = plan(process(1), book, HOST)
    assert (reasons(own), own.changes) == ([Reason.SELF], ())
    assert (reasons(init), init.changes) == ([Reason.INIT], ())
    assert "allow_init: true" in init.refusals[0].detail
    assert plan(process(1), rules({"match": {"comm": "*"}, "allow_init": True}), HOST).changes == adjusted(0, 1)


def test_minus_1000_is_written_only_by_a_rule_that_says_unkillable():
    book = rules({"match": {"comm": "*"}, "oom_score_adj": -1000, "unkillable": True})
    assert plan(process(), book, HOST).changes == adjusted(0, -1000)


@pytest.mark.parametrize(
    ("now", "after", "allowed"), [(0, -1, False), (-500, -600, False), (300, 0, True), (-500, -1, True)]
)
def test_without_the_capability_only_what_can_work_is_tried(now, after, allowed):
    decision = plan(process(oom_score_adj=now), rules({"match": {"comm": "*"}, "oom_score_adj": after}), WEAK)
    assert reasons(decision) == ([] if allowed else [Reason.CAPABILITY])
    assert bool(decision.changes) is allowed
    if not allowed:
        assert "CAP_SYS_RESOURCE" in decision.refusals[0].detail


class TestFromTheBase:
    def test_a_loosened_bound_lets_go(self):
        held = process(oom_score_adj=800, held=Held(0, 800, "r1"))
        book = rules({"match": {"comm": "*"}, "oom_score_adj": {"at_least": 500}})
        assert plan(held, book, HOST).changes == adjusted(800, 500)

    def test_a_value_that_is_no_longer_ours_is_the_new_base(self):
        drifted = process(oom_score_adj=900, held=Held(0, 800, "r1"))
        book = rules({"match": {"comm": "*"}, "oom_score_adj": {"at_least": 500}})
        assert plan(drifted, book, HOST).changes == ()

    def test_drift_under_a_fixed_value_is_put_back(self):
        drifted = process(oom_score_adj=3, held=Held(0, 800, "r1"))
        assert plan(drifted, rules({"match": {"comm": "*"}, "oom_score_adj": 800}), HOST).changes == adjusted(3, 800)


class TestOnlyIfInherited:
    BOOK = rules({"match": {"comm": "app"}, "oom_score_adj": 100, "only_if_inherited": True})

    def plan(self, now, parent, **given):
        return plan(process(comm="app", oom_score_adj=now, ancestors=(parent,), **given), self.BOOK, HOST)

    def test_the_parents_value_was_inherited(self):
        assert self.plan(7, process(2, oom_score_adj=7)).changes == adjusted(7, 100)

    def test_another_value_was_chosen_and_stays(self):
        decision = self.plan(7, process(2, oom_score_adj=0))
        assert (reasons(decision), decision.changes) == ([Reason.SET_BY_ITSELF], ())

    def test_the_value_the_parent_had_before_us_counts_as_inherited(self):
        parent = process(2, oom_score_adj=500, held=Held(0, 500))
        assert self.plan(0, parent).changes == adjusted(0, 100)

    def test_what_we_wrote_ourselves_was_not_chosen_by_the_process(self):
        assert self.plan(50, process(2), held=Held(0, 50)).changes == adjusted(50, 100)

    def test_a_value_it_chose_after_us_stays(self):
        assert reasons(self.plan(77, process(2), held=Held(0, 100))) == [Reason.SET_BY_ITSELF]


class TestChildren:
    BOOK = rules(
        {"match": {"comm": "postgres"}, "oom_score_adj": {"value": -900, "children": 0}, "cgroup": {"path": "/db"}}
    )
    LEADER = process(50, oom_score_adj=-900, held=Held(0, -900, "r1"), ancestors=())

    def child(self, now, **given):
        return process(oom_score_adj=now, ancestors=(self.LEADER, INIT), **given)

    def test_the_leader_gets_the_value_and_the_move(self):
        decision = plan(replace(self.LEADER, oom_score_adj=0, held=None, ancestors=(INIT,)), self.BOOK, HOST)
        assert [change.after for change in decision.changes] == [-900, "/db"]
        assert not decision.as_child

    @pytest.mark.parametrize("comm", ["postgres", "psql"])
    def test_a_child_gets_the_other_value_and_no_move(self, comm):
        decision = plan(self.child(-900, comm=comm), self.BOOK, HOST)
        assert decision.as_child
        assert decision.changes == adjusted(-900, 0)

    def test_a_child_that_forked_before_its_leader_was_raised_still_has_the_inherited_value(self):
        book = rules({"match": {"comm": "postgres"}, "oom_score_adj": {"value": -900, "children": -5}})
        assert plan(self.child(0), book, HOST).changes == adjusted(0, -5)

    def test_a_child_that_chose_its_own_value_keeps_it(self):
        assert reasons(plan(self.child(200), self.BOOK, HOST)) == [Reason.SET_BY_ITSELF]


def test_the_decision_carries_what_the_rule_says_of_writing_and_removing():
    book = rules({"match": {"comm": "*"}, "on_remove": "keep"}, dry_run=True)
    decision = plan(process(), book, HOST)
    assert (decision.dry_run, decision.restore_on_remove, decision.changes) == (True, False, adjusted(0, 1))


def test_the_adjustment_comes_before_settings_and_moves():
    book = rules(
        {"match": {"comm": "*"}, "oom_score_adj": 5, "cgroup": {"path": "/db", "settings": {"memory.max": "1Gi"}}}
    )
    fields = [change.field for change in plan(process(), book, HOST).changes]
    assert fields == [Field.OOM_SCORE_ADJ, Field.SETTING, Field.CGROUP]


class TestExplain:
    def test_it_is_the_plan_with_every_rule(self):
        book = rules({"match": {"comm": "nginx"}}, {"match": {"comm": "postgres"}, "oom_score_adj": -5})
        answer = explain(process(), book, HOST)
        assert answer.decision == plan(process(), book, HOST)
        assert [(some.rule, some.holds) for some in answer.considered] == [("r1", False), ("r2", True)]
        assert answer.notes == ()
        book = rules({"match": {"comm": "postgres"}, "oom_score_adj": {"value": -5, "children": "inherit"}})
        assert explain(process(), book, HOST).notes == (
            "what it starts inherits its oom_score_adj: children: inherit on the rule",
        )

    def test_what_is_worth_knowing_is_noted(self):
        book = rules({"match": {"comm": "nginx"}})
        assert explain(process(kernel_thread=True), book, HOST).notes == ("a kernel thread: never touched",)
        assert explain(process(oom_score_adj=-1000), book, HOST).notes == ("-1000: no OOM killer picks it",)
        drifted = process(oom_score_adj=1, held=Held(0, 5))
        assert explain(drifted, book, HOST).notes == ("it was given 5, and something changed it to 1",)


_ACTION = st.one_of(
    st.integers(-999, 1000),
    st.fixed_dictionaries({"at_least": st.integers(-999, 0), "at_most": st.integers(1, 1000)}),
    st.fixed_dictionaries({"value": st.integers(-999, 1000), "children": st.integers(-999, 1000)}),
)


@given(_ACTION, st.integers(-1000, 1000), st.booleans(), st.booleans())
def test_carrying_a_plan_out_leaves_nothing_to_plan(action, now, as_child, only_if_inherited):
    book = rules({"match": {"comm": "postgres"}, "oom_score_adj": action, "only_if_inherited": only_if_inherited})
    parent = process(50, "postgres" if as_child else "sh", oom_score_adj=now)
    before = process(oom_score_adj=now, ancestors=(parent, INIT))
    first = plan(before, book, HOST)
    if first.changes:
        value = first.changes[0].after
        held = Held(now, value, "r1", first.as_child)
        assert plan(replace(before, oom_score_adj=value, held=held), book, HOST).changes == ()
    else:
        assert plan(before, book, HOST) == first
