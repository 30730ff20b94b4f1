from __future__ import annotations

import struct

from holdfast.listener.cut_calls import BURST, MOST_PEERS, RATE, CutCalls, OpenCalls
from hypothesis import given
from hypothesis import strategies as st

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, END_STREAM = 0, 1, 3, 4, 1


def frame(kind, flags=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + bytes(4) + payload


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_peer_may_cut_a_burst_of_calls_and_then_as_many_as_time_allows():
    clock = Clock()
    calls = CutCalls(clock)
    calls.add("one", BURST - 1)
    assert not calls.exceeded("one")
    calls.add("one", 1)
    assert (calls.exceeded("one"), calls.exceeded("other")) == (True, False)
    clock.now += 1 / RATE
    calls.add("one", 0)
    assert not calls.exceeded("one")
    calls.add("one", 10 * BURST)
    clock.now += 9 * BURST / RATE
    assert calls.exceeded("one")
    clock.now += BURST
    assert not calls.exceeded("one")


def test_of_more_peers_than_it_keeps_it_forgets_the_one_that_cut_nothing_for_the_longest_time():
    calls = CutCalls(Clock())
    for number in range(MOST_PEERS):
        calls.add(f"{number}", BURST)
    calls.add("0", 1)
    calls.add("new", BURST)
    assert [calls.exceeded(peer) for peer in ("0", "1", "2", "new")] == [True, False, True, True]


CLIENT = st.sampled_from(["call", "no request", "reset"])
SERVER = st.sampled_from(["answer", "trailers", "data", "reset", "settings"])


@given(st.lists(st.tuples(st.booleans(), CLIENT, SERVER), max_size=30), st.integers(1, 40))
def test_open_and_reset_calls_are_counted_wherever_the_bytes_are_cut(steps, size):
    """Against a model of a server that ends only calls that are open."""
    calls, running, resets = OpenCalls(), 0, 0

    def feed(take, data):
        for at in range(0, len(data), size):
            take(memoryview(data[at : at + size]))

    feed(calls.sent, PREFACE + frame(SETTINGS))
    for by_client, client, server in steps:
        if by_client and client == "reset":
            feed(calls.sent, frame(RESET, 0, b"\0\0\0\x08"))
            resets += 1
            running = max(0, running - 1)
        elif by_client:
            feed(calls.sent, frame(HEADERS, 4, b"\x01\x03" * 30))
            if client == "call":
                feed(calls.sent, frame(DATA, END_STREAM, b"\0\0\0\0\0"))
            running += 1
        elif server == "settings":
            feed(calls.received, frame(SETTINGS, 1))  # the flag of an acknowledgement is that of a stream's end
        elif server == "data":
            feed(calls.received, frame(DATA, 0, b"\x01\x03" * 40))
        elif running:
            kind = {"answer": DATA, "trailers": HEADERS, "reset": RESET}[server]
            feed(calls.received, frame(kind, 0 if kind == RESET else END_STREAM, b"\0\0\0\0"))
            running -= 1
    assert calls.take_reset() == resets
    assert calls.leave() == running
    assert calls.leave() == 0


@given(st.lists(st.binary(max_size=200)), st.lists(st.binary(max_size=200)))
def test_any_bytes_are_counted_without_an_error(sent, received):
    calls = OpenCalls()
    for data in sent:
        calls.sent(memoryview(data))
    for data in received:
        calls.received(memoryview(data))
    assert calls.leave() >= 0
