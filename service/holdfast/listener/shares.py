"""Shares of peers: how much each may take of something, at once and per second, and how long one beyond that waits."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import NamedTuple

MOST_PEERS = 1024


class Share(NamedTuple):
    """Most that one peer may take at once, and per second."""

    burst: float
    rate: float


class Shares:
    """How much each peer has taken, less its share since. It does no I/O."""

    def __init__(self, burst: float, rate: float, now: Callable[[], float] = monotonic, most: float = inf) -> None:
        """``burst``: a peer may take so much at once; ``rate``: and per second; what is above ``most`` is forgotten."""
        self.burst, self.rate, self.most = burst, rate, most
        self._now = now
        self._peers: dict[str, tuple[float, float]] = {}  # taken, and at which time; the one that took last comes last

    def add(self, peer: str, number: float) -> None:
        """Record that ``peer`` took ``number`` more."""
        if not number:
            return
        now = self._now()
        taken = min(self.most, self._left(peer, now) + number)
        self._peers.pop(peer, None)
        self._peers[peer] = (taken, now)
        if len(self._peers) > MOST_PEERS:
            del self._peers[next(iter(self._peers))]

    def exceeded(self, peer: str) -> bool:
        """Whether ``peer`` has to wait before it may take more."""
        return self.wait_s(peer) > 0

    def wait_s(self, peer: str) -> float:
        """Return for how many seconds ``peer`` has to wait; 0 if it may take more now."""
        if peer not in self._peers:
            return 0.0
        left = self._left(peer, self._now())
        if not left:
            del self._peers[peer]
        return (left - self.burst + 1) / self.rate if left >= self.burst else 0.0

    def _left(self, peer: str, now: float) -> float:
        taken, at = self._peers.get(peer, (0.0, now))
        return max(0.0, taken - self.rate * (now - at))
