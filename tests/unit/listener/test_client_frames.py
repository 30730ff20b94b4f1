from __future__ import annotations

import struct

import pytest
from holdfast.listener.client_frames import ENCRYPTED_CALL, FRAME_COST, ClientFrames, EncryptedFrames
from hypothesis import given
from hypothesis import strategies as st

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, END_STREAM = 0, 1, 3, 4, 1


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


def test_a_call_costs_one_and_every_other_frame_little_once():
    calls = ClientFrames()
    calls.sent(memoryview(PREFACE + frame(SETTINGS) + frame(HEADERS, 4, b"x") + frame(DATA, 1, b"y") + frame(0xFA)))
    assert calls.take_work() == pytest.approx(1 + 3 * FRAME_COST)
    calls.received(memoryview(frame(HEADERS) + frame(DATA)))
    assert calls.take_work() == 0


def test_encrypted_bytes_cost_by_their_number_and_cut_nothing():
    calls = EncryptedFrames()
    calls.sent(memoryview(frame(HEADERS) * 10 + frame(RESET)))
    calls.received(memoryview(frame(DATA)))
    assert (calls.take_work(), calls.leave()) == (99 / ENCRYPTED_CALL, 0)


@given(st.lists(st.binary(max_size=200)), st.lists(st.binary(max_size=200)))
def test_any_bytes_are_counted_without_an_error(sent, received):
    calls = ClientFrames()
    for data in sent:
        calls.sent(memoryview(data))
    for data in received:
        calls.received(memoryview(data))
    assert calls.leave() >= 0
