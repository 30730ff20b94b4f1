import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from holdfast.api.ttrpc import ttrpc_pb2
from holdfast.errors import Code, HoldfastError, NotFound, PeerBrokeProtocol
from holdfast.ttrpc import envelope
from holdfast.ttrpc.metadata import Metadata
from hypothesis import example, given
from hypothesis import strategies as st

HEAD = envelope.heading("a.B", "C")
TARGETS = {HEAD: "the method"}
TEXT = st.text(max_size=200)
INT64 = st.integers(-(2**63), 2**63 - 1)


def by_protobuf(data):
    try:
        request = ttrpc_pb2.Request.FromString(data)
    except DecodeError:
        return None
    pairs = tuple((entry.key, entry.value) for entry in request.metadata)
    return request.service, request.method, envelope.Parts(request.payload, request.timeout_nano, pairs)


@given(st.binary(max_size=300), INT64, st.lists(st.tuples(TEXT, TEXT), max_size=4))
def test_a_request_we_write_is_the_one_protobuf_reads(payload, timeout_nano, pairs):
    metadata = Metadata.received(pairs)
    data = envelope.encode_request(HEAD, payload, timeout_nano, envelope.encode_metadata(metadata))
    assert by_protobuf(data) == ("a.B", "C", envelope.Parts(payload, timeout_nano, tuple(metadata.pairs())))


@given(st.binary(max_size=300), INT64, st.lists(st.tuples(TEXT, TEXT), max_size=4))
def test_a_request_protobuf_writes_is_the_one_we_read(payload, timeout_nano, pairs):
    request = ttrpc_pb2.Request(service="a.B", method="C", payload=payload, timeout_nano=timeout_nano)
    for key, value in pairs:
        request.metadata.add(key=key, value=value)
    data = request.SerializeToString()
    expected = envelope.Parts(payload, timeout_nano, tuple(pairs))
    matched = envelope.match_request(data, TARGETS)
    assert matched is None or matched == ("the method", expected)
    assert envelope.decode_request(data) == ("a.B", "C", expected)


def test_the_fast_reader_reads_what_every_known_client_sends():
    data = envelope.encode_request(HEAD, b"x" * 300, 4999992119, envelope.encode_metadata({"k": ("v", "w")}))
    assert envelope.match_request(data, TARGETS) == (
        "the method",
        envelope.Parts(b"x" * 300, 4999992119, (("k", "v"), ("k", "w"))),
    )


@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                b"\x1a",
                b"\x20",
                b"\x2a",
                b"\x0a",
                b"\x12",
                b"\xff",
                b"\x80",
                b"\x00",
                b"\x01",
                b"\x02",
                b"\x03",
                b"\x04",
                b"\x7f",
                b"a",
                b"\xc3\xa9",
                b"\xed\xa0\x80",
            ]
        ),
        max_size=40,
    ).map(b"".join)
)
@example(b"\x20" + b"\xff" * 9 + b"\x7f")  # a varint that does not fit 64 bits
@example(b"\x20" + b"\x80" * 10 + b"\x01")  # eleven bytes
@example(b"\x2a\x04\x0a\x00\x12\x00")  # a pair of empty strings
@example(b"\x2a\x05\x0a\x01\xff\x12\x00")  # not UTF-8
@example(b"\x12\x01D")  # the method named again: the last one counts
@example(b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")  # a length of 2^64 - 1
def test_the_fast_reader_agrees_with_protobuf_on_any_bytes(rest):
    data = HEAD + rest
    matched = envelope.match_request(data, TARGETS)
    expected = by_protobuf(data)
    if matched is not None:
        assert expected is not None
        assert ("a.B", "C", matched[1]) == expected
    if expected is None:
        assert matched is None
        with pytest.raises(PeerBrokeProtocol, match=r"^unmarshal request error: "):
            envelope.decode_request(data)


@given(st.binary(max_size=300))
def test_no_bytes_at_all_make_the_fast_reader_raise(data):
    assert envelope.match_request(data, TARGETS) is None or data.startswith(HEAD)


@given(st.binary(max_size=300))
def test_a_response_we_write_is_the_one_protobuf_reads(payload):
    data = envelope.response_prefix(payload) + payload
    response = ttrpc_pb2.Response.FromString(data)
    assert (response.payload, response.HasField("status")) == (payload, False)
    assert envelope.decode_response(data) == payload


def test_success_of_an_empty_message_is_no_bytes():
    assert (envelope.response_prefix(b"") + b"") == b""
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


def test_a_negative_timeout_takes_ten_bytes():
    assert envelope.encode_request(b"", b"", -1, b"") == b"\x20" + b"\xff" * 9 + b"\x01"
