from itertools import pairwise

import pytest
from holdfast.ttrpc.frame import MAX_DATA_BYTES, Frame, FrameReader, Oversized, encode, too_long
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ttrpc.harness import frame as build

FRAMES = st.lists(
    st.builds(Frame, st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=300))
)


def cut(data, points):
    edges = sorted({0, len(data), *(point % (len(data) + 1) for point in points)})
    return [data[a:b] for a, b in pairwise(edges)]


@given(FRAMES, st.lists(st.integers(0, 5000)))
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(frames, points):
    reader = FrameReader()
    data = b"".join(encode(*frame) for frame in frames)
    assert [frame for part in cut(data, points) for frame in reader.feed(part)] == frames
    assert not reader.partial


@given(FRAMES)
def test_frames_come_out_when_they_arrive_byte_by_byte(frames):
    reader = FrameReader()
    data = b"".join(encode(*frame) for frame in frames)
    assert [frame for byte in data for frame in reader.feed(bytes((byte,)))] == frames


def test_the_header_is_length_id_type_and_flags_in_big_endian():
    assert encode(0x01020304, 1, 2, b"abc") == bytes.fromhex("00000003 01020304 01 02") + b"abc"


@given(st.integers(1, 9))
def test_half_a_header_is_a_partial_frame(size):
    reader = FrameReader()
    assert reader.feed(build(1, 1)[:size]) == []
    assert reader.partial


def test_a_header_without_all_of_its_data_is_a_partial_frame():
    reader = FrameReader()
    assert reader.feed(build(1, 1, data=b"abcd")[:-1]) == []
    assert reader.partial


def test_the_largest_message_is_four_mebibytes_exactly():
    data = bytes(MAX_DATA_BYTES)
    reader = FrameReader()
    assert [len(frame.data) for frame in reader.feed(build(1, 1, data=data))] == [MAX_DATA_BYTES]


@pytest.mark.parametrize("chunk", [7, 4096, 1 << 20, 1 << 30])
def test_one_byte_more_is_reported_thrown_away_and_what_follows_is_read(chunk):
    reader = FrameReader()
    data = build(7, 3, 1, bytes(MAX_DATA_BYTES + 1)) + build(9, 1, 0, b"next")
    if chunk == 7:  # the body in large parts, its edges in small ones
        parts = [
            data[:7],
            data[7:20],
            data[20 : -(20 + 4)],
            *(data[-24 + i : -24 + i + 1] for i in range(23)),
            data[-1:],
        ]
    else:
        parts = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    assert [frame for part in parts for frame in reader.feed(part)] == [
        Oversized(7, 3, 1, MAX_DATA_BYTES + 1),
        Frame(9, 1, 0, b"next"),
    ]
    assert not reader.partial


def test_two_oversized_frames_in_one_read_are_both_reported():
    reader = FrameReader()
    one = build(1, 1, 0, bytes(MAX_DATA_BYTES + 1))
    assert [frame.data_bytes for frame in reader.feed(one + one)] == [MAX_DATA_BYTES + 1] * 2


def test_nothing_of_an_oversized_frame_is_kept():
    reader = FrameReader()
    reader.feed(build(1, 1, 0, bytes(MAX_DATA_BYTES + 1))[: 3 << 20])
    assert reader._pieces == []
    assert reader.partial


def test_the_sentence_about_size_names_both_numbers():
    assert too_long(5000000) == "message length 5000000 exceed maximum message size of 4194304"


def test_a_large_message_in_pieces_of_every_size_is_put_together():
    reader = FrameReader()
    body = bytes(range(256)) * 40
    data, frames, at, size = build(5, 3, 0, body) + build(7, 1, 0, b"after"), [], 0, 1
    while at < len(data):
        frames += reader.feed(data[at : at + size])
        at, size = at + size, size * 2 % 2047
    assert frames == [Frame(5, 3, 0, body), Frame(7, 1, 0, b"after")]


def test_a_message_that_comes_byte_by_byte_is_kept_in_one_piece():
    reader = FrameReader()
    for byte in build(5, 3, 0, bytes(500))[:-1]:
        reader.feed(bytes((byte,)))
    assert [len(piece) for piece in reader._pieces] == [499]
