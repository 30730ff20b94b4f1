"""Calls that a client cuts: it resets them, or leaves before their answers. Each peer may cut few.

grpc.aio never frees 100 to 200 bytes of each call that is cut (grpc/grpc#43360): a peer that resets calls in a loop
adds 0.4 MiB to the daemon's memory every second. The relay sees the heads of HTTP/2 frames (RFC 9113, 4.1) unless they
are encrypted, so it counts the calls that each peer cuts. A peer beyond its share loses its connection and waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

BURST = 256  # calls that a peer may cut at once
RATE = 4.0  # and per second: less than 3 MiB an hour are lost
MOST_PEERS = 1024

_HEAD, _PREFACE = 9, 24  # bytes
_DATA, _HEADERS, _RST_STREAM = 0, 1, 3
_END_STREAM = 1


class CutCalls:
    """How many calls each peer has cut, less what its share has forgiven since."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._peers: dict[str, tuple[float, float]] = {}  # calls, and at which time; the one that cut last comes last

    def add(self, peer: str, number: int) -> None:
        """Count ``number`` calls that ``peer`` cut."""
        if not number:
            return
        now = self._now()
        cut = self._left(peer, now) + number
        self._peers.pop(peer, None)
        self._peers[peer] = (cut, now)
        if len(self._peers) > MOST_PEERS:
            del self._peers[next(iter(self._peers))]

    def exceeded(self, peer: str) -> bool:
        """Whether ``peer`` has to wait before it may cut another one."""
        if peer not in self._peers:
            return False
        left = self._left(peer, self._now())
        if not left:
            del self._peers[peer]
        return left >= BURST

    def _left(self, peer: str, now: float) -> float:
        cut, at = self._peers.get(peer, (0.0, now))
        return max(0.0, cut - RATE * (now - at))


class OpenCalls:
    """The calls of one connection, by the heads of its frames in both directions."""

    def __init__(self) -> None:
        self._asked, self._answered = _Heads(_PREFACE), _Heads(0)
        self._open = 0
        self._reset = 0

    def sent(self, data: memoryview) -> None:
        """Count in bytes of the client."""
        for kind, _ in self._asked.feed(data):
            if kind == _HEADERS:
                self._open += 1
            elif kind == _RST_STREAM:
                self._reset += 1
                self._end()

    def received(self, data: memoryview) -> None:
        """Count in bytes of the server."""
        for kind, flags in self._answered.feed(data):
            if kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                self._end()

    def take_reset(self) -> int:
        """Return the number of calls that the client reset since this was called last."""
        reset, self._reset = self._reset, 0
        return reset

    def leave(self) -> int:
        """Return the number of calls that end with the connection."""
        left, self._open = self._open, 0
        return left + self.take_reset()

    def _end(self) -> None:
        self._open = max(0, self._open - 1)


class _Heads:
    """The heads of frames in a stream of bytes, wherever it is cut; ``skip`` bytes come before the first."""

    def __init__(self, skip: int) -> None:
        self._skip = skip
        self._head = b""

    def feed(self, data: memoryview) -> Iterator[tuple[int, int]]:
        """Yield the type and the flags of each frame that begins in ``data``."""
        at = 0
        while at < len(data):
            if self._skip:
                passed = min(self._skip, len(data) - at)
                self._skip -= passed
                at += passed
                continue
            part = bytes(data[at : at + _HEAD - len(self._head)])
            self._head += part
            at += len(part)
            if len(self._head) == _HEAD:
                self._skip = int.from_bytes(self._head[:3])
                kind, flags, self._head = self._head[3], self._head[4], b""
                yield kind, flags
