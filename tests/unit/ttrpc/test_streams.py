from math import inf

import pytest
from holdfast.ttrpc.frame import NO_DATA, REMOTE_CLOSED, REMOTE_OPEN
from holdfast.ttrpc.streams import (
    CLIENT_TABLE,
    MESSAGE_OVERHEAD_BYTES,
    SERVER_TABLE,
    ByteBudget,
    FrameEffect,
    Kind,
    Stream,
    StreamState,
    effect_of,
)


def stream(budget=None, kind=Kind.BIDI_STREAM):
    return Stream(1, kind, StreamState.OPEN, inf, budget or ByteBudget(1 << 20))


def test_every_arrival_has_an_act_in_every_state_a_live_stream_can_be_in():
    assert set(SERVER_TABLE) == {
        (state, effect) for state in (StreamState.OPEN, StreamState.HALF_CLOSED) for effect in FrameEffect
    }
    assert set(CLIENT_TABLE) == {
        (state, effect) for state in (StreamState.OPEN, StreamState.AWAITING) for effect in FrameEffect
    }


@pytest.mark.parametrize(
    ("flags", "data", "effect"),
    [
        (0, b"x", FrameEffect.MESSAGE),
        (0, b"", FrameEffect.MESSAGE),
        (REMOTE_OPEN, b"", FrameEffect.MESSAGE),
        (0xF0, b"", FrameEffect.MESSAGE),
        (NO_DATA, b"", FrameEffect.NOTHING),
        (NO_DATA, b"x", FrameEffect.NOTHING),
        (REMOTE_CLOSED, b"", FrameEffect.LAST_MESSAGE),
        (REMOTE_CLOSED, b"x", FrameEffect.CLOSE_WITH_BODY),
        (REMOTE_CLOSED | NO_DATA, b"", FrameEffect.CLOSE),
        (REMOTE_CLOSED | NO_DATA, b"x", FrameEffect.CLOSE_WITH_BODY),
    ],
)
def test_what_a_data_frame_says_is_read_from_its_flags_and_length(flags, data, effect):
    assert effect_of(flags, data) is effect


def test_messages_come_out_in_the_order_they_went_in_the_empty_one_too():
    mailbox = stream()
    for message in (b"a", b"", b"c"):
        assert mailbox.put(message, 1000)
    assert [mailbox.take() for _ in range(4)] == [b"a", b"", b"c", None]


def test_a_mailbox_takes_no_more_than_its_budget_and_takes_again_what_was_taken_out():
    mailbox = stream()
    budget = 2 * (10 + MESSAGE_OVERHEAD_BYTES)
    assert [mailbox.put(b"x" * 10, budget) for _ in range(3)] == [True, True, False]
    mailbox.take()
    assert mailbox.put(b"x" * 10, budget)


def test_empty_messages_cost_something():
    assert not stream().put(b"", MESSAGE_OVERHEAD_BYTES - 1)


def test_all_mailboxes_of_a_connection_share_a_budget():
    budget = ByteBudget(100 + 2 * MESSAGE_OVERHEAD_BYTES)
    first, second = stream(budget), stream(budget)
    assert first.put(b"x" * 60, 1000)
    assert not second.put(b"x" * 60, 1000)
    first.take()
    assert second.put(b"x" * 60, 1000)


def test_a_stream_that_ends_gives_back_what_it_held():
    budget = ByteBudget(1000)
    one = stream(budget)
    one.put(b"x" * 60, 1000)
    one.hold(100, 1000)
    one.end()
    assert (budget.spent, one.take(), one.state) == (0, None, StreamState.ENDED)


def test_a_stream_that_ends_may_keep_what_arrived_until_it_is_read():
    budget = ByteBudget(1000)
    one = stream(budget)
    one.put(b"x" * 60, 1000)
    one.end(keep=True)
    assert (one.take(), budget.spent) == (b"x" * 60, 0)


def test_the_kinds_say_who_streams_and_are_named_as_prometheus_labels():
    assert [(kind.value, kind.client_streaming, kind.server_streaming) for kind in Kind] == [
        ("unary", False, False),
        ("client_stream", True, False),
        ("server_stream", False, True),
        ("bidi_stream", True, True),
    ]
