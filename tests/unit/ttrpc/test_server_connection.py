from math import inf
from types import SimpleNamespace

import pytest
from holdfast.errors import Code
from holdfast.ttrpc import envelope
from holdfast.ttrpc.connection import StreamEvent
from holdfast.ttrpc.frame import MAX_DATA_BYTES, FrameReader
from holdfast.ttrpc.server_connection import CallRefused, ServerConnection
from holdfast.ttrpc.streams import MESSAGE_OVERHEAD_BYTES, Kind, Limits, StreamState
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ttrpc.harness import CLOSED, DATA, NO_DATA, OPEN, REQUEST, RESPONSE, frame, request, status

METHODS = {kind.value: SimpleNamespace(kind=kind) for kind in Kind}


def resolve(data):
    _, method, parts = envelope.decode_request(data)
    if method not in METHODS:
        raise CallRefused(Code.UNIMPLEMENTED, f"method {method}")
    return METHODS[method], parts


def connection(**limits):
    return ServerConnection(resolve, Limits(**limits))


def said(server):
    """Return the frames that the connection wants to write: (id, type, flags, data) or (id, code, text)."""
    frames = FrameReader().feed(b"".join(server.take_outgoing()))
    return [(f.stream_id, *status(f.data)) if f.kind == RESPONSE and status(f.data)[0] else tuple(f) for f in frames]


def opened(server, kind, stream_id=1, flags=0, payload=b"", now=0.0, **more):
    events = server.receive(frame(stream_id, REQUEST, flags, request(kind.value, payload, **more)), now)
    assert [event for event, _ in events] == [StreamEvent.OPENED]
    return events[0][1]


@pytest.mark.parametrize("kind", [REQUEST, RESPONSE, DATA, 77])
@pytest.mark.parametrize("stream_id", [0, 2, 2**32 - 2])
def test_an_even_id_is_refused_on_itself_whatever_the_frame_is(kind, stream_id):
    server = connection()
    assert server.receive(frame(stream_id, kind), 0) == []
    assert said(server) == [(stream_id, 3, "StreamID must be odd for client initiated streams")]


def test_an_id_that_does_not_rise_is_refused_and_the_call_in_progress_goes_on():
    server = connection()
    stream = opened(server, Kind.UNARY, 5)
    for stream_id in (5, 3):
        server.receive(frame(stream_id, REQUEST, 0, request("unary")), 0)
    assert said(server) == [(i, 3, "StreamID cannot be re-used and must increment") for i in (5, 3)]
    server.respond(stream, b"")
    assert said(server) == [(5, RESPONSE, 0, b"")]


def test_the_last_id_of_all_is_served_and_nothing_is_after_it():
    server = connection()
    opened(server, Kind.UNARY, 2**32 - 1)
    server.receive(frame(1, REQUEST, 0, request("unary")), 0)
    assert said(server) == [(1, 3, "StreamID cannot be re-used and must increment")]


@pytest.mark.parametrize("stream_id", [1, 3, 2**32 - 1])
def test_data_for_a_stream_nobody_knows_is_refused_frame_by_frame(stream_id):
    server = connection()
    server.receive(frame(stream_id, DATA, 0, b"x") * 2, 0)
    assert said(server) == [(stream_id, 3, "StreamID is no longer active")] * 2


@pytest.mark.parametrize("kind", [RESPONSE, 0, 4, 255])
def test_responses_and_types_nobody_defined_are_skipped(kind):
    server = connection()
    assert server.receive(frame(1, kind, 0, b"x"), 0) == []
    assert said(server) == []
    opened(server, Kind.UNARY, 1)  # the id is not used up


def test_a_request_that_is_no_protobuf_is_refused_and_its_id_is_used():
    server = connection()
    server.receive(frame(1, REQUEST, 0, b"\xff\xff"), 0)
    ((stream_id, code, text),) = said(server)
    assert (stream_id, code) == (1, 3)
    assert text.startswith("unmarshal request error: ")
    server.receive(frame(1, REQUEST, 0, request("unary")), 0)
    assert said(server) == [(1, 3, "StreamID cannot be re-used and must increment")]


@pytest.mark.parametrize("kind", [REQUEST, RESPONSE, DATA, 9])
@pytest.mark.parametrize("stream_id", [1, 2])
def test_an_oversized_frame_of_any_kind_is_answered_on_its_id(kind, stream_id):
    server = connection()
    server.receive(frame(stream_id, kind, 0, bytes(MAX_DATA_BYTES + 1)), 0)
    text = "message length 4194305 exceed maximum message size of 4194304"
    assert said(server) == [(stream_id, 8, text)]
    opened(server, Kind.UNARY, 1)


def test_oversized_data_ends_the_stream_it_was_for():
    server = connection()
    stream = opened(server, Kind.BIDI_STREAM, flags=OPEN)
    events = server.receive(frame(1, DATA, 0, bytes(MAX_DATA_BYTES + 1)), 0)
    assert events == [(StreamEvent.ENDED, stream)]
    assert [answer[:2] for answer in said(server)] == [(1, 8)]


@pytest.mark.parametrize("kind", [Kind.CLIENT_STREAM, Kind.BIDI_STREAM])
@pytest.mark.parametrize(("payload", "messages"), [(b"", []), (b"first", [b"first"])])
def test_a_streaming_clients_request_carries_message_one_only_when_it_has_a_payload(kind, payload, messages):
    stream = opened(connection(), kind, flags=OPEN, payload=payload)
    assert (list(stream.messages), stream.state) == (messages, StreamState.OPEN)


@pytest.mark.parametrize("flags", [0, OPEN, OPEN | NO_DATA])
def test_the_flags_of_a_streaming_clients_request_say_nothing_but_closed(flags):
    assert opened(connection(), Kind.BIDI_STREAM, flags=flags).state is StreamState.OPEN


def test_a_streaming_clients_request_may_be_its_last_word():
    stream = opened(connection(), Kind.BIDI_STREAM, flags=CLOSED, payload=b"only")
    assert (list(stream.messages), stream.state) == ([b"only"], StreamState.HALF_CLOSED)


@pytest.mark.parametrize("kind", [Kind.UNARY, Kind.SERVER_STREAM])
@pytest.mark.parametrize("flags", [0, CLOSED, OPEN])
def test_other_requests_are_whole_whatever_their_flags_say(kind, flags):
    assert opened(connection(), kind, flags=flags).state is StreamState.HALF_CLOSED


def test_data_reaches_the_stream_and_the_half_close_ends_it():
    server = connection()
    stream = opened(server, Kind.BIDI_STREAM, flags=OPEN)
    events = server.receive(frame(1, DATA, 0, b"a") + frame(1, DATA) + frame(1, DATA, CLOSED | NO_DATA), 0)
    assert events == [(StreamEvent.ARRIVED, stream)] * 3
    assert (list(stream.messages), stream.state) == ([b"a", b""], StreamState.HALF_CLOSED)
    assert said(server) == []


def test_a_close_without_the_no_data_flag_is_an_empty_message_first():
    server = connection()
    stream = opened(server, Kind.BIDI_STREAM, flags=OPEN)
    server.receive(frame(1, DATA, CLOSED), 0)
    assert (list(stream.messages), stream.state) == ([b""], StreamState.HALF_CLOSED)


@pytest.mark.parametrize(
    ("flags", "data", "text"),
    [
        (CLOSED, b"x", "data close message cannot include data"),
        (CLOSED | NO_DATA, b"x", "data close message cannot include data"),
    ],
)
def test_a_close_with_a_body_ends_the_call_with_the_sentence_for_it(flags, data, text):
    server = connection()
    stream = opened(server, Kind.BIDI_STREAM, flags=OPEN)
    assert server.receive(frame(1, DATA, flags, data), 0) == [(StreamEvent.ENDED, stream)]
    assert said(server) == [(1, 3, text)]
    assert server.streams == {}


@pytest.mark.parametrize("flags", [0, CLOSED])
def test_data_after_the_half_close_ends_the_call(flags):
    server = connection()
    opened(server, Kind.BIDI_STREAM, flags=OPEN)
    server.receive(frame(1, DATA, CLOSED | NO_DATA) + frame(1, DATA, flags, b"late"), 0)
    assert said(server) == [(1, 3, "data handling error: ttrpc: stream closed")]


def test_a_second_half_close_and_data_that_says_nothing_change_nothing():
    server = connection()
    opened(server, Kind.BIDI_STREAM, flags=OPEN)
    server.receive(frame(1, DATA, NO_DATA) + frame(1, DATA, CLOSED | NO_DATA) * 2 + frame(1, DATA, NO_DATA), 0)
    assert (said(server), len(server.streams)) == ([], 1)


def test_data_on_a_unary_call_ends_that_call():
    server = connection()
    opened(server, Kind.UNARY)
    server.receive(frame(1, DATA, 0, b"x"), 0)
    assert said(server) == [(1, 3, "data handling error: ttrpc: stream closed")]


def test_a_mailbox_over_its_budget_ends_its_stream_and_no_other():
    server = connection(stream_bytes=2 * MESSAGE_OVERHEAD_BYTES + 10)
    full, other = opened(server, Kind.BIDI_STREAM, 1, OPEN), opened(server, Kind.BIDI_STREAM, 3, OPEN)
    events = server.receive(frame(1, DATA, 0, b"xxxx") * 3 + frame(3, DATA, 0, b"y"), 0)
    assert events == [(StreamEvent.ARRIVED, full)] * 2 + [(StreamEvent.ENDED, full), (StreamEvent.ARRIVED, other)]
    assert said(server) == [(1, 3, "data handling error: ttrpc: stream buffer full")]
    assert server.held_bytes == 1 + MESSAGE_OVERHEAD_BYTES


def test_requests_and_mailboxes_together_are_bounded():
    server = connection(connection_bytes=2 * MESSAGE_OVERHEAD_BYTES + 100)
    opened(server, Kind.UNARY, 1, payload=b"x" * 60)
    server.receive(frame(3, REQUEST, 0, request("unary", b"x" * 60)), 0)
    assert said(server) == [(3, 8, "ttrpc: connection holds too many unread bytes")]


def test_calls_in_progress_are_bounded_and_one_that_ends_makes_room():
    server = connection(concurrent_calls=2)
    first = opened(server, Kind.UNARY, 1)
    opened(server, Kind.UNARY, 3)
    server.receive(frame(5, REQUEST, 0, request("unary")), 0)
    assert said(server) == [(5, 8, "ttrpc: more than 2 concurrent calls on one connection")]
    server.respond(first, b"")
    opened(server, Kind.UNARY, 7)


def test_a_response_that_does_not_fit_becomes_resource_exhausted():
    server = connection()
    stream = opened(server, Kind.UNARY)
    server.respond(stream, bytes(MAX_DATA_BYTES))
    assert said(server) == [(1, 8, "message length 4194309 exceed maximum message size of 4194304")]


def test_the_largest_response_that_fits_is_sent():
    server = connection()
    stream = opened(server, Kind.UNARY)
    server.respond(stream, bytes(MAX_DATA_BYTES - 5))
    ((_, kind, _, data),) = said(server)
    assert (kind, len(data)) == (RESPONSE, MAX_DATA_BYTES)


def test_an_error_whose_sentence_does_not_fit_is_sent_shortened():
    server = connection()
    stream = opened(server, Kind.UNARY)
    server.fail(stream, 2, "x" * (MAX_DATA_BYTES + 1))
    assert said(server) == [(1, 2, "x" * 4096)]


def test_a_streaming_server_ends_with_closed_and_no_data():
    server = connection()
    stream = opened(server, Kind.SERVER_STREAM)
    server.send(stream, b"")
    server.finish(stream)
    assert said(server) == [(1, DATA, 0, b""), (1, DATA, CLOSED | NO_DATA, b"")]


def test_a_deadline_that_passes_is_answered_and_the_earliest_is_known():
    server = connection()
    late = opened(server, Kind.UNARY, 1, now=10.0, timeout_nano=2_000_000_000)
    opened(server, Kind.UNARY, 3, now=10.0, timeout_nano=5_000_000_000)
    opened(server, Kind.UNARY, 5)
    assert (server.earliest, server.expire(11.9)) == (12.0, [])
    assert server.expire(12.0) == [late]
    assert said(server) == [(1, 4, "context deadline exceeded")]
    assert server.earliest == 15.0
    server.expire(15.0)
    assert server.earliest == inf


def test_a_request_whose_time_is_over_is_answered_without_being_served():
    server = connection()
    assert server.receive(frame(1, REQUEST, 0, request("unary", timeout_nano=-1)), 0) == []
    assert said(server) == [(1, 4, "context deadline exceeded")]


def test_while_draining_new_requests_are_told_so_and_accepted_streams_go_on():
    server = connection()
    stream = opened(server, Kind.CLIENT_STREAM, flags=OPEN)
    server.draining = True
    events = server.receive(frame(3, REQUEST, 0, request("unary")) + frame(1, DATA, 0, b"x"), 0)
    assert events == [(StreamEvent.ARRIVED, stream)]
    assert said(server) == [(3, 14, "ttrpc: server closed")]


FRAMES = st.tuples(
    st.sampled_from([0, 1, 1, 2, 3, 3, 5, 7, 2**32 - 1]),
    st.sampled_from([REQUEST, REQUEST, DATA, DATA, DATA, RESPONSE, 9]),
    st.integers(0, 7),
    st.sampled_from(
        [
            b"",
            b"x",
            b"\xff",
            *(request(kind.value) for kind in Kind),
            request("bidi_stream", b"\x0a\x01x"),
            request("unary", timeout_nano=-5),
            request("unary", timeout_nano=10**9),
            request("nope"),
        ]
    ),
)


@given(st.lists(FRAMES, max_size=40), st.data())
def test_whatever_a_client_sends_the_books_stay_balanced(frames, data):
    server = connection(stream_bytes=300, connection_bytes=2000, concurrent_calls=3)
    for now, one in enumerate(frames):
        for event, stream in server.receive(frame(*one), now):
            assert (stream.state is StreamState.ENDED) == (event is StreamEvent.ENDED)
        for stream in list(server.streams.values()):
            assert stream.state in (StreamState.OPEN, StreamState.HALF_CLOSED)
            if data.draw(st.booleans()):
                server.respond(stream, b"ok")
        server.expire(now - 0.5)
        assert len(server.streams) <= 3
        assert 0 <= server.held_bytes <= 2000
    assert all(len(piece) <= 200 for piece in server.take_outgoing())
    server.lose()
    assert (server.held_bytes, server.streams) == (0, {})


@given(st.binary(max_size=2000))
def test_no_bytes_at_all_make_the_server_raise(data):
    connection().receive(data, 0)
