from math import inf

import pytest
from holdfast.errors import (
    Code,
    ConnectionClosed,
    DeadlineExceeded,
    HoldfastError,
    MisusedStream,
    NotFound,
    PeerBrokeProtocol,
    ResourceExhausted,
)
from holdfast.ttrpc import envelope
from holdfast.ttrpc.client_connection import ClientConnection
from holdfast.ttrpc.connection import StreamEvent
from holdfast.ttrpc.frame import MAX_DATA_BYTES, MAX_STREAM_ID, FrameReader
from holdfast.ttrpc.streams import MESSAGE_OVERHEAD_BYTES, Kind, Limits, StreamState
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ttrpc.harness import CLOSED, DATA, NO_DATA, OPEN, REQUEST, RESPONSE, frame


def connection(**limits):
    return ClientConnection(Limits(**limits))


def said(client):
    return [tuple(one) for one in FrameReader().feed(b"".join(client.take_outgoing()))]


OK = envelope.encode_response(b"payload")


@pytest.mark.parametrize(
    ("kind", "first", "flags"),
    [
        (Kind.UNARY, False, 0),
        (Kind.SERVER_STREAM, False, CLOSED),
        (Kind.CLIENT_STREAM, False, OPEN | NO_DATA),
        (Kind.BIDI_STREAM, False, OPEN | NO_DATA),
        (Kind.BIDI_STREAM, True, OPEN),
    ],
)
def test_the_flags_of_a_request_say_what_follows(kind, first, flags):
    client = connection()
    client.open(b"r", kind, inf, first=first)
    assert said(client) == [(1, REQUEST, flags, b"r")]


def test_ids_are_odd_and_rise():
    client = connection()
    assert [client.open(b"", Kind.UNARY, inf).id for _ in range(3)] == [1, 3, 5]


def test_ids_never_wrap_the_connection_is_exhausted_instead():
    client = connection()
    client._next_id = MAX_STREAM_ID
    assert not client.exhausted
    assert client.open(b"", Kind.UNARY, inf).id == MAX_STREAM_ID
    assert client.exhausted
    with pytest.raises(MisusedStream):
        client.open(b"", Kind.UNARY, inf)


def test_an_oversized_request_fails_here_and_uses_no_id():
    client = connection()
    with pytest.raises(ResourceExhausted, match=r"^message length 4194305 exceed maximum message size of 4194304$"):
        client.open(bytes(MAX_DATA_BYTES + 1), Kind.UNARY, inf)
    assert (said(client), client.open(bytes(MAX_DATA_BYTES), Kind.UNARY, inf).id) == ([], 1)


def test_an_oversized_message_fails_here_and_the_stream_goes_on():
    client = connection()
    stream = client.open(b"", Kind.BIDI_STREAM, inf)
    with pytest.raises(ResourceExhausted):
        client.send(stream, bytes(MAX_DATA_BYTES + 1))
    client.send(stream, b"small")
    assert said(client)[1:] == [(1, DATA, 0, b"small")]


def test_calls_in_progress_are_bounded():
    client = connection(concurrent_calls=1)
    client.open(b"", Kind.UNARY, inf)
    with pytest.raises(ResourceExhausted, match="more than 1 concurrent calls"):
        client.open(b"", Kind.UNARY, inf)


def test_responses_are_matched_by_id_in_any_order():
    client = connection()
    first, second = (client.open(b"", Kind.UNARY, inf) for _ in range(2))
    assert client.receive(frame(3, RESPONSE, 0, OK) + frame(1, RESPONSE)) == [
        (StreamEvent.ENDED, second),
        (StreamEvent.ENDED, first),
    ]
    assert (first.answer, second.answer) == (b"", b"payload")


def test_a_status_ends_the_call_with_its_error():
    client = connection()
    stream = client.open(b"", Kind.BIDI_STREAM, inf)
    client.receive(frame(1, RESPONSE, 0, envelope.encode_failure(5, "no such thing")))
    assert isinstance(stream.error, NotFound)
    assert str(stream.error) == "no such thing"


@pytest.mark.parametrize("kind", [Kind.UNARY, Kind.CLIENT_STREAM])
@pytest.mark.parametrize("flags", [0, CLOSED | NO_DATA])
def test_data_where_one_response_is_due_fails_that_call_alone(kind, flags):
    client = connection()
    broken, other = client.open(b"", kind, inf), client.open(b"", kind, inf)
    client.receive(frame(1, DATA, flags, b"" if flags else b"x") + frame(3, RESPONSE))
    assert isinstance(broken.error, PeerBrokeProtocol)
    assert str(broken.error) == "received data from non-streaming server: protocol error"
    assert (other.error, other.answer) == (None, b"")


def test_a_type_nobody_defined_fails_that_call():
    client = connection()
    stream = client.open(b"", Kind.UNARY, inf)
    client.receive(frame(1, 9))
    assert isinstance(stream.error, PeerBrokeProtocol)


def test_a_response_that_is_no_protobuf_fails_that_call():
    client = connection()
    stream = client.open(b"", Kind.UNARY, inf)
    client.receive(frame(1, RESPONSE, 0, b"\xff\xff"))
    assert isinstance(stream.error, PeerBrokeProtocol)


@pytest.mark.parametrize(
    ("flags", "data", "messages"),
    [(CLOSED | NO_DATA, b"", [b"a"]), (CLOSED, b"", [b"a", b""]), (CLOSED, b"last", [b"a", b"last"])],
)
def test_a_streaming_server_may_end_with_or_without_a_last_message(flags, data, messages):
    client = connection()
    stream = client.open(b"", Kind.SERVER_STREAM, inf)
    client.receive(frame(1, DATA, 0, b"a") + frame(1, DATA, flags, data))
    assert (list(stream.messages), stream.state, stream.error) == (messages, StreamState.ENDED, None)


def test_a_streaming_server_that_ends_with_a_response_has_said_its_last_message_in_it():
    client = connection()
    stream = client.open(b"", Kind.SERVER_STREAM, inf)
    client.receive(frame(1, RESPONSE, 0, OK))
    assert (list(stream.messages), stream.error) == ([b"payload"], None)


def test_a_last_message_that_no_longer_fits_is_not_lost_silently():
    client = connection(stream_bytes=MESSAGE_OVERHEAD_BYTES)
    stream = client.open(b"", Kind.SERVER_STREAM, inf)
    client.receive(frame(1, DATA) + frame(1, RESPONSE, 0, OK))
    assert isinstance(stream.error, ResourceExhausted)


def test_an_oversized_frame_fails_its_call_and_the_connection_goes_on():
    client = connection()
    big, small = (client.open(b"", Kind.UNARY, inf) for _ in range(2))
    client.receive(frame(1, RESPONSE, 0, bytes(MAX_DATA_BYTES + 1)) + frame(3, RESPONSE))
    assert (big.error.code, str(big.error)) == (
        Code.RESOURCE_EXHAUSTED,
        "message length 4194305 exceed maximum message size of 4194304",
    )
    assert small.answer == b""


def test_frames_for_nobody_are_counted_and_dropped():
    client = connection()
    stream = client.open(b"", Kind.UNARY, inf)
    client.abandon(stream)
    assert client.receive(frame(1, RESPONSE) + frame(99, DATA) + frame(2, 9)) == []
    assert client.strays == 3


def test_a_reader_that_does_not_keep_up_loses_its_own_stream_only():
    client = connection(stream_bytes=2 * MESSAGE_OVERHEAD_BYTES)
    slow, other = (client.open(b"", Kind.SERVER_STREAM, inf) for _ in range(2))
    client.receive(frame(1, DATA) * 3 + frame(3, DATA))
    assert isinstance(slow.error, ResourceExhausted)
    assert (len(slow.messages), list(other.messages)) == (2, [b""])


def test_a_deadline_ends_the_call_and_the_late_response_is_a_stray():
    client = connection()
    stream = client.open(b"", Kind.UNARY, 5.0)
    assert client.expire(4.9) == []
    assert client.expire(5.0) == [stream]
    assert isinstance(stream.error, DeadlineExceeded)
    client.receive(frame(1, RESPONSE))
    assert client.strays == 1


def test_what_arrived_before_the_connection_was_lost_can_be_read():
    client = connection()
    stream, other = (client.open(b"", Kind.SERVER_STREAM, inf) for _ in range(2))
    client.receive(frame(1, DATA, 0, b"a"))
    assert client.lose() == [stream, other]
    assert (stream.take(), type(stream.error), str(stream.error)) == (b"a", ConnectionClosed, "ttrpc: closed")
    assert stream.error is not other.error


FRAMES = st.tuples(
    st.sampled_from([0, 1, 3, 5, 7, 2**32 - 1]),
    st.sampled_from([REQUEST, RESPONSE, RESPONSE, DATA, DATA, 9]),
    st.integers(0, 7),
    st.sampled_from([b"", b"x", b"\xff", OK, envelope.encode_failure(3, "no")]),
)


@given(st.lists(FRAMES, max_size=40))
def test_whatever_a_server_sends_every_call_ends_once_and_the_books_stay_balanced(frames):
    client = connection(stream_bytes=300, connection_bytes=500)
    streams = [client.open(b"", kind, inf) for kind in Kind]
    ended = []
    for one in frames:
        for event, stream in client.receive(frame(*one)):
            if event is StreamEvent.ENDED:
                ended.append(stream)
                assert stream.error is None or isinstance(stream.error, HoldfastError)
        assert 0 <= client.held_bytes <= 500
    assert len(ended) == len(set(ended)) == len(streams) - len(client.streams)
    client.lose()
    for stream in streams:
        while stream.take() is not None:
            pass
    assert client.held_bytes == 0


@given(st.binary(max_size=2000))
def test_no_bytes_at_all_make_the_client_raise(data):
    client = connection()
    for kind in Kind:
        client.open(b"", kind, inf)
    client.receive(data)
