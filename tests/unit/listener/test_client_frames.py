from __future__ import annotations

import struct

import pytest
from holdfast.listener.client_frames import (
    ENCRYPTED_CALL,
    FRAME_COST,
    HEADERS_CALL,
    ClientFrames,
    EncryptedFrames,
    SmallEncryptedFrames,
)
from hypothesis import given
from hypothesis import strategies as st

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, CONTINUATION, END_STREAM = 0, 1, 3, 4, 9, 1


def frame(kind, flags=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + bytes(4) + payload


CLIENT = st.sampled_from(["call", "no request", "reset"])
SERVER = st.sampled_from(["answer", "trailers", "data", "reset", "settings"])


@given(st.lists(st.tuples(st.booleans(), CLIENT, SERVER), max_size=30), st.integers(1, 40))
def test_open_and_reset_calls_are_counted_wherever_the_bytes_are_cut(steps, size):
    """Against a model of a server that ends only calls that are open."""
    calls, running, resets = ClientFrames(), 0, 0

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


READ = FRAME_COST  # of a read of few bytes


def test_a_call_costs_one_and_every_other_frame_little_once():
    calls = ClientFrames()
    calls.sent(memoryview(PREFACE + frame(SETTINGS) + frame(HEADERS, 4) + frame(DATA, 1, b"y") + frame(0xFA)))
    assert calls.take_work() == pytest.approx(READ + 1 + 3 * FRAME_COST, rel=0.01)
    calls.received(memoryview(frame(HEADERS) + frame(DATA)))
    assert calls.take_work() == 0


@pytest.mark.parametrize("kind", [HEADERS, SETTINGS, CONTINUATION, 0xFA])
def test_a_byte_that_may_be_a_header_costs_as_much_in_one_frame_as_in_many_and_only_when_it_is_sent(kind):
    calls, sent = ClientFrames(), PREFACE + frame(kind, 0, bytes(100 * HEADERS_CALL))
    calls.sent(memoryview(sent[: 24 + 9]))
    assert calls.take_work() <= 1 + 2 * READ
    calls.sent(memoryview(sent[24 + 9 :]))
    assert calls.take_work() == pytest.approx(100, rel=0.01)


def test_bytes_of_requests_cost_little_and_each_read_costs_as_much_as_a_frame():
    calls, sent = ClientFrames(), PREFACE + frame(DATA, 0, bytes((64 << 10) + 100))
    calls.sent(memoryview(sent[:-100]))
    assert calls.take_work() == pytest.approx(4 * FRAME_COST, rel=0.01)
    for at in range(len(sent) - 100, len(sent)):
        calls.sent(memoryview(sent[at : at + 1]))
    assert calls.take_work() == pytest.approx(100 * READ, rel=0.01)


@pytest.mark.parametrize(("frames", "calls_seen"), [(EncryptedFrames, 0), (SmallEncryptedFrames, 99 / ENCRYPTED_CALL)])
def test_encrypted_bytes_cost_by_their_number_and_cut_nothing(frames, calls_seen):
    calls = frames()
    calls.sent(memoryview(frame(HEADERS) * 10 + frame(RESET)))
    calls.received(memoryview(frame(DATA)))
    assert calls.take_work() == pytest.approx(READ + calls_seen, rel=0.01)
    assert calls.leave() == 0


@given(st.lists(st.binary(max_size=200)), st.lists(st.binary(max_size=200)))
def test_any_bytes_are_counted_without_an_error(sent, received):
    calls = ClientFrames()
    for data in sent:
        calls.sent(memoryview(data))
    for data in received:
        calls.received(memoryview(data))
    assert calls.leave() >= 0
