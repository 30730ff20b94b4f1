"""Requests of operators: rows that are committed, and processes that are examined."""

from __future__ import annotations

import pytest
from holdfast.node.apply.action import Amend, Commit, Follow, Look
from holdfast.node.engine.entry import Entries, Entry
from holdfast.node.engine.forks import Followed
from holdfast.node.engine.request import Requests
from holdfast.node.engine.rule_state import RuleState
from holdfast.node.journal.rows import AdjRow, FileRow, OverrideRow
from holdfast.node.journal.table import Table
from holdfast.node.plan.claims import Claims

from tests.fakes.placement import rules

HAND = OverrideRow(9, 60, 5, 100)


@pytest.fixture
def rule_state():
    made = RuleState(Table())
    made.take(rules({"name": "r", "match": {"comm": "a"}}, {"name": "s", "match": {"comm": "b"}}))
    made.table.put(AdjRow(7, 40, 3, "r", written=500))
    made.table.put(AdjRow(8, 50, 3, "r", written=500, heir_of=(7, 40)))
    made.table.put(HAND)
    return made


@pytest.fixture
def requests(rule_state):
    entries = Entries(rule_state.table)
    entries[5] = Entry(5, 30, "b", "s")
    return Requests(rule_state, entries, Claims(), 4096)


@pytest.mark.parametrize(
    ("given", "suspended", "let_go", "actions"),
    [
        ({}, {"r", "s"}, set(), [Commit(drops=(HAND,)), Look(5), Look(7), Look(8), Look(9)]),
        ({"rule": "r"}, {"r"}, set(), [Look(7), Look(8), Look(9)]),
        ({"pid": 7}, set(), {(7, 40)}, [Look(7), Look(8)]),
        ({"pid": 5}, set(), {(5, 30)}, [Look(5)]),
        ({"pid": 9}, set(), {(9, 60)}, [Commit(drops=(HAND,)), Look(9)]),
    ],
    ids=str,
)
def test_a_restore_is_a_mark_and_looks_and_heirs_are_among_them(
    requests, rule_state, given, suspended, let_go, actions
):
    assert requests.suspend(**given) == actions
    assert (rule_state.suspended, rule_state.let_go) == (suspended, let_go)


def test_an_override_is_noted_before_anything_is_done(requests):
    assert requests.override(HAND) == [Commit((HAND,), needed=True), Look(9)]


@pytest.mark.parametrize("needed", [True, False])
def test_the_end_of_one_is_noted_too(requests, needed):
    assert requests.end_override(HAND, needed=needed) == [Commit(drops=(HAND,), needed=needed), Look(9)]


@pytest.mark.parametrize("page_bytes", [4096, 16384, 65536])
def test_a_limit_of_a_runtime_is_recognised_as_the_kernel_rounds_it(rule_state, page_bytes):
    """Another rule wrote over it before the runtime reported it."""
    requests = Requests(rule_state, Entries(rule_state.table), Claims(), page_bytes)
    rounded = str(250_000 // page_bytes * page_bytes)
    known = FileRow("", "/pod", "memory.max", rounded, "s", written="1048576")
    rule_state.table.put(known)
    reported = FileRow("", "/pod", "memory.max", "max", "r", written="250000")
    (amended,) = requests.adopt_files([reported], lambda row: None)
    assert (type(amended), amended.row.before) == (Amend, "max")


def test_who_is_followed_already_is_no_news():
    followed = Followed()
    assert followed.follow(7, wanted=False) == []
    assert followed.follow(7, wanted=True) == [Follow()]
    assert followed.follow(7, wanted=True) == []
    assert followed.follow(7, wanted=False) == [Follow()]
    assert followed == set()
