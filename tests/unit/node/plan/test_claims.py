"""One value for a file of a group, in whatever order processes get their plans."""

from __future__ import annotations

from holdfast.node.model.decision import Reason
from holdfast.node.model.process import GroupFacts
from holdfast.node.plan.claims import Claims
from holdfast.node.plan.plan import plan
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.placement import process, rules, v2_host

GROUP = "/x"


def in_place(comm, value, **given):
    return {"match": {"comm": comm}, "in_place": {"memory.max": value}, **given}


def decide(book, claims, comm, now="max"):
    host = v2_host(groups={GROUP: GroupFacts(values={"memory.max": now})})
    return plan(process(comm=comm, cgroups={"": GROUP}), book, host, claims)


def written(decision):
    return [change.after for change in decision.changes]


def test_a_later_rule_is_refused_with_the_name_of_the_one_that_decides():
    book, claims = rules(in_place("a", 4096), in_place("b", 8192)), Claims()
    assert written(decide(book, claims, "a")) == ["4096"]
    refused = decide(book, claims, "b")
    assert (written(refused), [r.reason for r in refused.refusals]) == ([], [Reason.CONFLICT])
    assert 'rule "r1" stands before this one and wants 4096' in refused.refusals[0].detail


def test_a_value_that_is_in_force_is_claimed_as_well():
    book, claims = rules(in_place("a", 4096), in_place("b", 8192)), Claims()
    assert written(decide(book, claims, "a", now="4096")) == []
    assert [r.reason for r in decide(book, claims, "b", now="4096").refusals] == [Reason.CONFLICT]


def test_two_rules_that_want_the_same_do_not_meet():
    book, claims = rules(in_place("a", "4Ki"), in_place("b", 4096)), Claims()
    assert [decide(book, claims, comm).refusals for comm in "ab"] == [(), ()]


def test_a_dry_run_decides_over_nothing_that_is_written():
    book, claims = rules(in_place("a", 4096, dry_run=True), in_place("b", 8192)), Claims()
    for comm in "aba":
        assert decide(book, claims, comm).refusals == ()
    assert written(decide(book, claims, "b")) == ["8192"]


def test_a_claim_ends_with_a_whole_rescan_that_did_not_renew_it():
    book, claims = rules(in_place("a", 4096), in_place("b", 8192)), Claims()
    decide(book, claims, "a")
    claims.end_round()
    assert [r.reason for r in decide(book, claims, "b").refusals] == [Reason.CONFLICT]
    claims.end_round()
    assert written(decide(book, claims, "b")) == ["8192"]


def test_a_rule_that_is_not_applied_for_now_decides_nothing():
    book, claims = rules(in_place("a", 4096), in_place("b", 8192)), Claims()
    decide(book, claims, "a")
    claims.withdraw("r1")
    assert written(decide(book, claims, "b")) == ["8192"]


def test_devices_of_one_file_are_claimed_one_by_one():
    book = rules(
        {"match": {"comm": "a"}, "in_place": {"io.max": "8:0 rbps=5"}},
        {"match": {"comm": "b"}, "in_place": {"io.max": ("8:0 wbps=7", "8:16 rbps=6")}},
        {"match": {"comm": "c"}, "in_place": {"io.max": "8:0 rbps=6"}},
    )
    claims = Claims()
    assert [len(decide(book, claims, comm).refusals) for comm in "abc"] == [0, 0, 1]


def test_two_names_of_one_file_in_one_rule_do_not_take_turns():
    book = rules({"match": {"comm": "a"}, "in_place": {"memory.max": 4096, "memory.limit_in_bytes": 8192}})
    decision = decide(book, Claims(), "a")
    assert (written(decision), [r.reason for r in decision.refusals]) == (["4096"], [Reason.CONFLICT])


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30), st.permutations([1, 2, 3, 4]))
def test_whatever_the_order_of_processes_the_file_comes_to_rest_at_the_first_rules_value(comms, values):
    """A model of rescans: plan each process, write the plan; after two rescans nothing is written."""
    book = rules(*(in_place(comm, 4096 * value) for comm, value in zip("abcd", values, strict=True)))
    claims, now = Claims(), "max"
    for _ in range(2):
        for comm in comms:
            for text in written(decide(book, claims, comm, now)):
                now = text
        claims.end_round()
    assert now == str(4096 * values["abcd".index(min(comms))])
    assert all(written(decide(book, claims, comm, now)) == [] for comm in comms)
