"""Cost of a client's HTTP/2 frames to the daemon: the calls that they begin, those that they cut, and the frames alone.

The relay sees the heads of frames (RFC 9113, 4.1) unless they are encrypted. Two things cost more than the client pays:

- grpc.aio never frees 100 to 200 bytes of each call that the client resets, or leaves before the answer
  (grpc/grpc#43360): a peer that resets calls in a loop adds 0.4 MiB to the daemon's memory every second. A peer beyond
  its share of `CUT_CALLS` loses its connection, and waits.
- A call takes the daemon half a millisecond, a KiB of a call's headers as long, and a frame without a meaning, 9 bytes
  of the client, some microseconds; so does each read, if the client sends byte by byte. A peer beyond its share of
  `WORK` is read more slowly.

With TLS the bytes are counted, as nothing else can be seen.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.listener.shares import Share

CUT_CALLS = Share(256, 4)  # calls; less than 3 MiB an hour are lost
WORK = Share(1024, 256)  # in calls: about a tenth of a processor
FRAME_COST = 1 / 20  # of a call, for each frame that begins none, for each read, and for each `LARGE` bytes
LARGE = 32 << 10
HEADERS_CALL = 1 << 10  # bytes of frames that are not DATA count as one call: each byte may be a header, and none is
ENCRYPTED_CALL = 64  # bytes that count as one call: one that repeats the call before it has less than 100

_HEAD, _PREFACE = 9, 24  # bytes
_DATA, _HEADERS, _RST_STREAM = 0, 1, 3
_END_STREAM = 1


class ClientFrames:
    """The calls of one connection and what they cost, by the heads of its frames in both directions."""

    def __init__(self) -> None:
        self._asked, self._answered = _Heads(_PREFACE), _Heads(0)
        self._open = 0
        self._reset = 0
        self._work = 0.0

    def sent(self, data: memoryview) -> None:
        """Count in bytes of the client, which were read at once."""
        before = self._asked.of_headers
        self._work += _cost_of_reading(data)
        for kind, _ in self._asked.feed(data):
            self._work += 1 if kind == _HEADERS else FRAME_COST
            if kind == _HEADERS:
                self._open += 1
            elif kind == _RST_STREAM:
                self._reset += 1
                self._end()
        self._work += (self._asked.of_headers - before) / HEADERS_CALL

    def received(self, data: memoryview) -> None:
        """Count in bytes of the server."""
        for kind, flags in self._answered.feed(data):
            if kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                self._end()

    def take_reset(self) -> int:
        """Return the number of calls that the client reset since this was called last."""
        reset, self._reset = self._reset, 0
        return reset

    def take_work(self) -> float:
        """Return what the client's frames cost since this was called last, in calls."""
        work, self._work = self._work, 0.0
        return work

    def leave(self) -> int:
        """Return the number of calls that end with the connection."""
        left, self._open = self._open, 0
        return left + self.take_reset()

    def _end(self) -> None:
        self._open = max(0, self._open - 1)


class EncryptedFrames(ClientFrames):
    """The frames of one connection with TLS, by their bytes alone: which calls are cut is not known."""

    def sent(self, data: memoryview) -> None:
        """Count in bytes of the client, which were read at once."""
        self._work += _cost_of_reading(data)

    def received(self, data: memoryview) -> None:
        """Ignore bytes of the server."""


class SmallEncryptedFrames(EncryptedFrames):
    """Frames of a connection with TLS whose requests are small: every few bytes may be a call."""

    def sent(self, data: memoryview) -> None:
        """Count in bytes of the client, which were read at once."""
        super().sent(data)
        self._work += len(data) / ENCRYPTED_CALL


def _cost_of_reading(data: memoryview) -> float:
    return FRAME_COST * (1 + len(data) / LARGE)


class _Heads:
    """The heads of frames in a stream of bytes, wherever it is cut; ``skip`` bytes come before the first."""

    def __init__(self, skip: int) -> None:
        self._skip = skip
        self._head = b""
        self._kind = _DATA
        self.of_headers = 0  # bytes so far in the payloads of frames that are not DATA

    def feed(self, data: memoryview) -> Iterator[tuple[int, int]]:
        """Yield the type and the flags of each frame that begins in ``data``."""
        at = 0
        while at < len(data):
            if self._skip:
                passed = min(self._skip, len(data) - at)
                self._skip -= passed
                at += passed
                if self._kind != _DATA:
                    self.of_headers += passed
                continue
            part = bytes(data[at : at + _HEAD - len(self._head)])
            self._head += part
            at += len(part)
            if len(self._head) == _HEAD:
                self._skip = int.from_bytes(self._head[:3])
                self._kind, flags, self._head = self._head[3], self._head[4], b""
                yield self._kind, flags
