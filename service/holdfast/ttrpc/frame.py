"""Frames: ten bytes of header, then the data. Bytes in, frames out; no stream and no socket in this module.

=====  =================  =========================================================
0-3    length, u32 BE     of the data alone; at most 4 MiB
4-7    stream id, u32 BE  odd: started by the client; even: reserved for the server
8      type               1 request, 2 response, 3 data; anything else is skipped
9      flags              see below
=====  =================  =========================================================

Source: PROTOCOL.md of containerd/ttrpc, and the bytes that containerd 1.6 and ttrpc 1.2.9 send.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

HEADER = struct.Struct(">IIBB")
HEADER_BYTES = HEADER.size
MAX_DATA_BYTES = 4 << 20  # inclusive; a peer drops a longer frame, and Go 1.1 clients crash on it
MAX_STREAM_ID = 0xFFFFFFFF

REQUEST = 1
RESPONSE = 2
DATA = 3

REMOTE_CLOSED = 0x01  # the sender will send no more on this stream
REMOTE_OPEN = 0x02  # on a request: more messages follow as data
NO_DATA = 0x04  # the empty body is not an empty message


class Frame(NamedTuple):
    """One complete frame."""

    stream_id: int
    kind: int
    flags: int
    data: bytes


_frame: Callable[[tuple[int, int, int, bytes]], Frame] = partial(tuple.__new__, Frame)  # half the cost of Frame()


class Oversized(NamedTuple):
    """A frame whose data exceeded the limit: read, discarded, and to be answered with an error."""

    stream_id: int
    kind: int
    flags: int
    data_bytes: int


def encode(stream_id: int, kind: int, flags: int, data: bytes) -> bytes:
    """Return the bytes of a frame; the caller has checked that the data fit."""
    return HEADER.pack(len(data), stream_id, kind, flags) + data


def too_long(data_bytes: int) -> str:
    """Return the error text of every implementation for a message that does not fit."""
    return f"message length {data_bytes} exceed maximum message size of {MAX_DATA_BYTES}"


_SMALL_BYTES = 1 << 10  # pieces below this are gathered: a list of one-byte objects would cost fifty times their bytes


class FrameReader:
    """Cut a byte stream into frames, whether bytes arrive one by one or thousands at once.

    The reader keeps at most one unfinished frame (4 MiB) and nothing of an oversized one. The pieces of a large message
    are kept as received and joined once.
    """

    __slots__ = ("_begun", "_missing", "_opened", "_oversized", "_pieces", "_skip")

    def __init__(self) -> None:
        self._begun = b""  # the beginning of a header
        self._opened = (0, 0, 0)  # id, type and flags of a frame whose data are not all here
        self._pieces: list[bytes | bytearray] = []
        self._missing = 0  # bytes of its data still to come
        self._oversized: Oversized | None = None
        self._skip = 0  # bytes of an oversized frame still to discard

    @property
    def partial(self) -> bool:
        """Whether the stream is inside a frame now."""
        return bool(self._begun) or self._missing > 0 or self._skip > 0

    def feed(self, data: bytes) -> list[Frame | Oversized]:
        """Return the frames that ``data`` completes, in order."""
        frames: list[Frame | Oversized] = []
        if self._skip:
            data = self._throw_away(data, frames)
        if self._missing:
            data = self._continue(data, frames)
        elif self._begun:
            data, self._begun = self._begun + data, b""
        end, at = len(data), 0
        while end - at >= HEADER_BYTES:
            length, stream_id, kind, flags = HEADER.unpack_from(data, at)
            at += HEADER_BYTES
            if length > MAX_DATA_BYTES:
                self._oversized, self._skip = Oversized(stream_id, kind, flags, length), length
                rest = self._throw_away(data[at:], frames)
                return frames + self.feed(rest) if rest else frames
            if at + length > end:
                self._opened, self._missing = (stream_id, kind, flags), length - (end - at)
                self._keep(data[at:])
                return frames
            frames.append(_frame((stream_id, kind, flags, data[at : at + length])))
            at += length
        self._begun = data[at:]
        return frames

    def _continue(self, data: bytes, frames: list[Frame | Oversized]) -> bytes:
        """Add to the unfinished frame, and to ``frames`` when it is complete. Return the bytes after it."""
        missing = self._missing
        if len(data) < missing:
            self._missing -= len(data)
            self._keep(data)
            return b""
        body = b"".join((*self._pieces, data if len(data) == missing else data[:missing]))
        frames.append(Frame(*self._opened, body))
        self._pieces.clear()
        self._missing = 0
        return data[missing:]

    def _keep(self, piece: bytes) -> None:
        if len(piece) >= _SMALL_BYTES:
            self._pieces.append(piece)
        elif self._pieces and isinstance(self._pieces[-1], bytearray):
            self._pieces[-1] += piece
        elif piece:
            self._pieces.append(bytearray(piece))

    def _throw_away(self, data: bytes, frames: list[Frame | Oversized]) -> bytes:
        """Drop the oversized frame's bytes; report it after the last. Return the bytes after it."""
        dropped = min(self._skip, len(data))
        self._skip -= dropped
        if not self._skip and self._oversized is not None:
            frames.append(self._oversized)
            self._oversized = None
        return data[dropped:]
