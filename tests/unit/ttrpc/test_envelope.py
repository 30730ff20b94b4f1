import contextlib

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from holdfast.api.ttrpc import ttrpc_pb2
from holdfast.errors import Code, HoldfastError, NotFound, PeerBrokeProtocol
from holdfast.ttrpc import envelope
from holdfast.ttrpc.metadata import Metadata
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(max_size=200)
INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.binary(max_size=300), INT64, st.lists(st.tuples(TEXT, TEXT), max_size=4))
def test_a_request_is_read_as_it_was_written(payload, timeout_nano, pairs):
    metadata = Metadata.received(pairs)
    data = envelope.encode_request("a.B", "C", payload, timeout_nano, metadata)
    assert envelope.decode_request(data) == ("a.B", "C", envelope.Parts(payload, timeout_nano, tuple(metadata.pairs())))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_refused(data):
    with contextlib.suppress(PeerBrokeProtocol):
        assert len(envelope.decode_request(data)) == 3


@given(st.binary(max_size=300))
def test_a_response_we_write_is_the_one_protobuf_reads(payload):
    data = envelope.encode_response(payload)
    response = ttrpc_pb2.Response.FromString(data)
    assert (response.payload, response.HasField("status")) == (payload, False)
    assert envelope.decode_response(data) == payload


def test_success_of_an_empty_message_is_no_bytes():
    assert envelope.encode_response(b"") == b""
    assert envelope.decode_response(b"") == b""


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_a_response_as_protobuf_reads_them(data):
    try:
        response = ttrpc_pb2.Response.FromString(data)
    except DecodeError:
        with pytest.raises(PeerBrokeProtocol):
            envelope.decode_response(data)
        return
    outcome = envelope.decode_response(data)
    if response.status.code:
        assert isinstance(outcome, HoldfastError)
        assert str(outcome) == response.status.message
    else:
        assert outcome == response.payload


def test_a_failure_comes_back_as_the_class_of_its_code_with_the_same_words():
    details = (Any(type_url="t/x", value=b"y"),)
    error = envelope.decode_response(envelope.encode_failure(5, "container not created: not found", details))
    assert isinstance(error, NotFound)
    assert (str(error), error.details) == ("container not created: not found", details)
    assert str(envelope.decode_response(envelope.encode_failure(5, "gone"))) == "gone"


def test_a_code_nobody_defined_is_unknown_and_keeps_its_words():
    error = envelope.decode_response(envelope.encode_failure(99, "odd"))
    assert (error.code, str(error)) == (Code.UNKNOWN, "odd")


def test_a_message_that_is_no_utf8_is_sent_with_its_bytes_escaped():
    assert str(envelope.decode_response(envelope.encode_failure(2, "bad \udcff name"))) == r"bad \xff name"


def test_bytes_that_are_no_request_are_refused_in_go_s_words():
    with pytest.raises(PeerBrokeProtocol, match=r"^unmarshal request error: "):
        envelope.decode_request(b"\xff")
