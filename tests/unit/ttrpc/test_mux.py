import struct

import pytest
from holdfast.errors import PeerBrokeProtocol
from holdfast.ttrpc.mux import FIRST_PIECE_BYTES, MAX_PAYLOAD_BYTES, MuxReader, split
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ttrpc.test_frame import cut

FRAMES = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=300)))


def build(stream, data):
    return struct.pack(">II", stream, len(data)) + data


def streams(pieces):
    """Return the whole text of each stream, in order."""
    said = {}
    for stream, data in pieces:
        said[stream] = said.get(stream, b"") + data
    return said


@given(FRAMES, st.lists(st.integers(0, 5000)))
def test_every_stream_gets_its_bytes_in_order_however_they_are_cut(frames, points):
    reader = MuxReader()
    data = b"".join(build(*frame) for frame in frames)
    pieces = [piece for part in cut(data, points) for piece in reader.feed(part)]
    assert streams(pieces) == streams(frame for frame in frames if frame[1])
    assert not reader.partial
    assert all(piece.data for piece in pieces)


@given(st.binary(max_size=2000), st.lists(st.integers(0, 5000)))
def test_any_bytes_are_pieces_or_a_broken_protocol_and_never_more_than_came(data, points):
    reader = MuxReader()
    got = 0
    for part in cut(data, points):
        try:
            got += sum(len(piece.data) for piece in reader.feed(part))
        except PeerBrokeProtocol:
            return
    assert got <= len(data)


def test_a_piece_is_given_before_the_rest_of_its_payload_came():
    reader = MuxReader()
    assert reader.feed(struct.pack(">II", 1, 1000) + b"begin") == [(1, b"begin")]
    assert reader.partial


def test_a_length_beyond_a_whole_message_ends_it_with_the_numbers():
    assert len(MuxReader().feed(struct.pack(">II", 1, MAX_PAYLOAD_BYTES) + b"x")) == 1
    with pytest.raises(
        PeerBrokeProtocol, match=f"payload of {MAX_PAYLOAD_BYTES + 1} bytes on stream 7: at most 4194314"
    ):
        MuxReader().feed(struct.pack(">II", 7, MAX_PAYLOAD_BYTES + 1))


@pytest.mark.parametrize("size", [1, 10, 4095, 4096])
def test_a_message_of_up_to_4096_bytes_is_one_frame(size):
    message = bytes(size)
    assert split(2, message) == [build(2, message)]


@pytest.mark.parametrize("size", [4097, 9000, 4194314])
def test_a_longer_message_is_its_first_4096_bytes_and_all_the_rest(size):
    message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    first, rest = split(1, message)
    assert first == build(1, message[:FIRST_PIECE_BYTES])
    assert rest == build(1, message[FIRST_PIECE_BYTES:])


def test_the_bytes_of_a_registration_are_those_that_go_was_seen_to_accept():
    request = bytes.fromhex("00000044 00000001 01 00 0a1c") + b"nri.pkg.api.v1alpha1.Runtime" + bytes.fromhex("120e")
    request += b"RegisterPlugin" + bytes.fromhex("1a0e 0a08") + b"holdfast" + bytes.fromhex("1202 3130 20 80e497d012")
    assert split(2, request)[0][:8] == bytes.fromhex("00000002 0000004e")
