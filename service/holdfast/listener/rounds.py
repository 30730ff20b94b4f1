"""Connections passed on to a server in rounds: a new round begins when the server has handled the last one's calls.

A connection's calls wait in gRPC's core until the server handles them, also when the connection has ended since. So the
number of connections that are open bounds nothing: a peer that connects, calls and closes again and again fills the
core's queue, whose excess the core cancels, those of other peers too. No pace in seconds helps, as a throttled or slow
machine handles less in a second. Here the server's own pace counts: in one round a peer gets as many new connections as
it may have open, all peers together half of the listener's; those beyond wait for the next round, in turns by peer. A
round whose calls kept the server busy for long makes the next one half as large, a short one twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from holdfast.listener.descriptors import ConnectionBound

Waiting = TypeVar("Waiting")

LONG_S = 0.5  # until all calls of a round are handled: a new call of any peer may wait this long
SHORT_S = LONG_S / 4
LEAST = 4  # connections of all peers in the smallest round; one peer has one


class Rounds(Generic[Waiting]):
    """The count of one round and those that wait for the next. It does no I/O and reads no clock."""

    def __init__(self, bound: ConnectionBound, barred: Callable[[str], bool] = lambda _: False) -> None:
        """``barred``: whether a peer gets no connection now, whatever room there is."""
        self._barred = barred
        self._most_per_peer, self._most = bound.per_peer, max(bound.per_peer, bound.total // 2)
        self._halvings = 0
        self._passed: Counter[str] = Counter()
        self._waiting: dict[str, dict[Waiting, None]] = {}  # the peer that was served last comes last

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._waiting)

    def take(self, peer: str) -> bool:
        """Count a connection that is passed on; False if this round has no room for it."""
        per_peer = max(1, self._most_per_peer >> self._halvings)
        total = max(min(LEAST, self._most), self._most >> self._halvings)
        if self._passed[peer] >= per_peer or self._passed.total() >= total or self._barred(peer):
            return False
        self._passed[peer] += 1
        return True

    def wait(self, peer: str, waiting: Waiting) -> None:
        """Keep it for the next round."""
        self._waiting.setdefault(peer, {})[waiting] = None

    def forget(self, peer: str, waiting: Waiting) -> None:
        """Keep it no more: it has ended."""
        mine = self._waiting.get(peer)
        if mine is not None:
            mine.pop(waiting, None)
            if not mine:
                del self._waiting[peer]

    def begin(self, took_s: float) -> list[Waiting]:
        """Begin a round; return those that waited and have room in it, in the order in which they are passed on.

        ``took_s``: how long the server took to handle the calls of the last round.
        """
        if took_s > LONG_S and self._most_per_peer >> self._halvings > 1:
            self._halvings += 1
        elif took_s < SHORT_S and self._halvings:
            self._halvings -= 1
        self._passed.clear()
        served: list[Waiting] = []
        peers = list(self._waiting)
        while peers:
            having_room = []
            for peer in peers:
                if not self.take(peer):
                    continue
                mine = self._waiting.pop(peer)
                first = next(iter(mine))
                del mine[first]
                served.append(first)
                if mine:
                    self._waiting[peer] = mine
                    having_room.append(peer)
            peers = having_room
        return served
