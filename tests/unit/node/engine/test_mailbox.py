"""Calls to the engine's thread, carried out by the test's own."""

from __future__ import annotations

import pytest
from holdfast.errors import Unavailable
from holdfast.node.engine.mailbox import Calls


@pytest.fixture
def calls():
    made = Calls(lambda: None)
    yield made
    made.close()


def test_calls_are_carried_out_in_order_and_each_has_its_answer(calls):
    order = []
    first, second = (calls.ask(lambda number=number: order.append(number) or number) for number in (1, 2))
    calls.carry_out()
    assert (order, first.result(0), second.result(0)) == ([1, 2], 1, 2)


def test_a_call_that_comes_while_others_are_carried_out_waits_for_the_next_turn(calls):
    """Between two turns the events come first, so a caller that has two answers knows of a turn in between."""
    order = []

    def first():
        order.append("first")
        calls.tell(lambda: order.append("second"))

    calls.tell(first)
    calls.carry_out()
    assert order == ["first"]
    calls.carry_out()
    assert order == ["first", "second"]


def test_a_call_that_fails_is_answered_with_its_error_and_the_others_are_carried_out(calls, caplog):
    failed, after = calls.ask(lambda: 1 // 0), calls.ask(lambda: "after")
    calls.tell(lambda: 1 // 0)
    calls.carry_out()
    with pytest.raises(ZeroDivisionError):
        failed.result(0)
    assert after.result(0) == "after"
    assert [record.getMessage() for record in caplog.records] == ["a call to the placement engine failed"]


def test_after_the_end_each_call_is_refused(calls):
    before = calls.ask(lambda: None)
    calls.end()
    for refused in (before, calls.ask(lambda: None)):
        with pytest.raises(Unavailable, match="the placement engine has ended"):
            refused.result(0)
