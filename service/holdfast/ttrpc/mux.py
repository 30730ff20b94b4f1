"""NRI's mux: several byte streams over one socket. Bytes in, pieces out; no socket and no ttrpc call in this module.

=====  ==============  ====================================================================================
0-3    stream, u32 BE  0 is reserved; both ends agree on the use of each, nothing on the wire opens or closes one
4-7    length, u32 BE  of the payload alone; at most a whole ttrpc message
=====  ==============  ====================================================================================

A payload is a piece of a stream, not a message: Go sends 4096 bytes, then the rest. Reading in Go has two
limits that no document names (containerd/nri, pkg/net/multiplex; containerd/ttrpc, channel.go):

1. One payload is handed to one read. ttrpc reads the beginning of a message through a buffer of 4096 bytes, and a
   payload that does not fit ends the connection. So a message goes out as `split` cuts it: the first 4096 bytes of it,
   and then all the rest, which ttrpc reads into a buffer of exactly that size.
2. 256 payloads may wait unread on a stream; the next one ends the connection. Hence two pieces and not many.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from holdfast.errors import PeerBrokeProtocol
from holdfast.ttrpc.frame import HEADER_BYTES, MAX_DATA_BYTES

MUX_HEADER = struct.Struct(">II")
MAX_PAYLOAD_BYTES = HEADER_BYTES + MAX_DATA_BYTES
FIRST_PIECE_BYTES = 4096  # Go's bufio default


class Piece(NamedTuple):
    """Bytes of one stream, at least one."""

    stream: int
    data: bytes


def split(stream: int, message: bytes) -> list[bytes]:
    """Return one ttrpc frame, with its header, as mux frames that Go can read."""
    head = MUX_HEADER.pack(stream, min(len(message), FIRST_PIECE_BYTES))
    if len(message) <= FIRST_PIECE_BYTES:
        return [head + message]
    rest = MUX_HEADER.pack(stream, len(message) - FIRST_PIECE_BYTES)
    return [head + message[:FIRST_PIECE_BYTES], rest + message[FIRST_PIECE_BYTES:]]


class MuxReader:
    """Cut received bytes into pieces at once: the received part of an incomplete payload is a piece.

    So the reader keeps at most an unfinished header (7 bytes), whatever lengths the peer claims.
    """

    __slots__ = ("_begun", "_missing", "_stream")

    def __init__(self) -> None:
        self._begun = b""  # the beginning of a header
        self._stream = 0
        self._missing = 0  # bytes of the payload still to come

    @property
    def partial(self) -> bool:
        """Whether the byte stream is inside a frame now."""
        return bool(self._begun) or self._missing > 0

    def feed(self, data: bytes) -> list[Piece]:
        """Return the pieces in ``data``, in order.

        Raises:
            PeerBrokeProtocol: a length that no peer may claim; nothing after it can be read.
        """
        if self._begun:
            data, self._begun = self._begun + data, b""
        pieces: list[Piece] = []
        end, at = len(data), 0
        while at < end:
            if not self._missing:
                if end - at < MUX_HEADER.size:
                    self._begun = data[at:]
                    break
                self._stream, self._missing = MUX_HEADER.unpack_from(data, at)
                at += MUX_HEADER.size
                if self._missing > MAX_PAYLOAD_BYTES:
                    raise PeerBrokeProtocol(
                        f"mux: payload of {self._missing} bytes on stream {self._stream}: at most {MAX_PAYLOAD_BYTES}"
                    )
            taken = min(self._missing, end - at)
            if taken:
                pieces.append(Piece(self._stream, data[at : at + taken]))
                self._missing -= taken
                at += taken
        return pieces
