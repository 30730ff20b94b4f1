"""Frames: ten bytes of header, then the data. Bytes in, frames out; it knows no stream and no socket.

=====  =================  =========================================================
0-3    length, u32 BE     of the data alone; at most 4 MiB
4-7    stream id, u32 BE  odd: started by the client; even: reserved for the server
8      type               1 request, 2 response, 3 data; anything else is skipped
9      flags              see below
=====  =================  =========================================================

Source: PROTOCOL.md of containerd/ttrpc, and what containerd 1.6 and ttrpc 1.2.9 put on the wire.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = struct.Struct(">IIBB")
HEADER_BYTES = HEADER.size
MAX_DATA_BYTES = 4 << 20  # inclusive; a peer drops what is longer, and Go 1.1 clients crash on it
MAX_STREAM_ID = 0xFFFFFFFF

REQUEST = 1
RESPONSE = 2
DATA = 3

REMOTE_CLOSED = 0x01  # the sender will send no more on this stream
REMOTE_OPEN = 0x02  # on a request: more messages follow as data
NO_DATA = 0x04  # the empty body is not an empty message


class Frame(NamedTuple):
    """One frame, whole."""

    stream_id: int
    kind: int
    flags: int
    data: bytes


class Oversized(NamedTuple):
    """A frame whose data was longer than the limit: read, thrown away, and to be answered."""

    stream_id: int
    kind: int
    flags: int
    data_bytes: int


def encode(stream_id: int, kind: int, flags: int, data: bytes) -> bytes:
    """The frame's bytes. The caller has checked that ``data`` fits (`fits`)."""
    return HEADER.pack(len(data), stream_id, kind, flags) + data


def too_long(data_bytes: int) -> str:
    """The sentence every implementation says about a message that does not fit."""
    return f"message length {data_bytes} exceed maximum message size of {MAX_DATA_BYTES}"


class FrameReader:
    """Cuts a byte stream into frames, however it arrives: byte by byte, or thousands at once.

    It keeps at most one unfinished frame (header and 4 MiB); of an oversized one it keeps nothing.
    """

    __slots__ = ("_held", "_needed", "_oversized", "_skip")

    def __init__(self) -> None:
        self._held = bytearray()  # the beginning of a frame, without its end
        self._needed = HEADER_BYTES  # bytes to hold before there is a point in looking again
        self._oversized: Oversized | None = None
        self._skip = 0  # bytes of an oversized frame still to throw away

    @property
    def partial(self) -> bool:
        """Whether the stream would end inside a frame if it ended now."""
        return bool(self._held) or self._skip > 0

    def feed(self, data: bytes) -> list[Frame | Oversized]:
        """The frames that ``data`` completes, in order."""
        frames: list[Frame | Oversized] = []
        if self._skip:
            data = self._throw_away(data, frames)
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return frames
            data = bytes(self._held)
            self._held = bytearray()
        end, at = len(data), 0
        self._needed = HEADER_BYTES
        while end - at >= HEADER_BYTES:
            length, stream_id, kind, flags = HEADER.unpack_from(data, at)
            body = at + HEADER_BYTES
            at = body + length
            if length > MAX_DATA_BYTES:
                self._oversized, self._skip = Oversized(stream_id, kind, flags, length), length
                rest = self._throw_away(data[body:], frames)
                return frames + self.feed(rest) if rest else frames
            if at > end:
                at = body - HEADER_BYTES
                self._needed = HEADER_BYTES + length
                break
            frames.append(Frame(stream_id, kind, flags, data[body:at]))
        if at < end:
            self._held += data[at:] if at else data
        return frames

    def _throw_away(self, data: bytes, frames: list[Frame | Oversized]) -> bytes:
        """Drop the oversized frame's bytes; once all are gone report it. Returns what comes after them."""
        dropped = min(self._skip, len(data))
        self._skip -= dropped
        if not self._skip and self._oversized is not None:
            frames.append(self._oversized)
            self._oversized = None
        return data[dropped:]
