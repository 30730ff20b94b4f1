"""Turns of an HTTP listener's peers: the CPU time that each takes of the loop, and which connection is read next.

While its peer is within `PEER` and all peers together are within `ALL`, a connection is read at once. Beyond either it
waits for a turn. Turns go round: each peer that waits and is within its own share has one read of one connection. So a
flood from any number of addresses takes `ALL` of a processor, and a peer beside it waits for one turn of each.

The time is measured where it is spent, in each step of a connection's task. Work before the first step, and the loop's
own for a step, have a fixed price.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from time import monotonic, thread_time
from typing import Any

from holdfast.listener.shares import Share, Shares

PEER = Share(300, 100)  # ms of a processor, at once and per second; a browser's first page takes 100
ALL = Share(600, 200)  # more than one peer can take: it alone makes no other wait
DEBT_MS = 100.0  # more is forgotten: a second after a flood its address is served again
ACCEPT_MS = 0.03  # for a connection that is accepted and closed, or is given a task
STEP_MS = 0.02  # for a step, beside what it measures: the loop wakes up for it


class Turns:
    """Turns of the peers of one listener. Loop thread only.

    ``paused`` is called for each wait; ``now`` is the clock, in seconds.
    """

    def __init__(self, paused: Callable[[], object], now: Callable[[], float] = monotonic) -> None:
        self._paused = paused
        self._peers = Shares(*PEER, now, PEER.burst + DEBT_MS)
        self._all = Shares(*ALL, now, ALL.burst + DEBT_MS)
        #: Reads that wait, by peer: the peer whose turn is next comes first, and of each peer the read that is.
        self._waiting: dict[str, dict[asyncio.Future[None], None]] = {}
        self._next: asyncio.Handle | None = None

    def accepted(self, peer: str) -> None:
        """Charge a connection of ``peer``, whether it is kept or closed.

        Others do not pay for it: a peer that only connects would use up the time of all.
        """
        self._peers.add(peer, ACCEPT_MS)

    def took(self, peer: str, ms: float) -> None:
        """Charge so many milliseconds of CPU time."""
        self._peers.add(peer, ms)
        self._all.add("", ms)

    def charged(self, peer: str, work: Awaitable[None]) -> Awaitable[None]:
        """Return an awaitable that does ``work``, and charges what it takes of the loop."""
        return _Charged(work, partial(self.took, peer))

    async def wait(self, peer: str) -> None:
        """Return when ``peer`` may be read: after the others that are ready, while it is within its share."""
        await asyncio.sleep(0)  # also ends the step, so that it is charged: a peer that sends on would never wait
        if not self._wait_s(peer):
            return
        self._paused()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(peer, {})[turn] = None
        self._plan()
        try:
            await turn
        finally:
            self._forget(peer, turn)

    def _wait_s(self, peer: str) -> float:
        return max(self._peers.wait_s(peer), self._all.wait_s(""))

    def _plan(self) -> None:
        """Set the time of the next turn."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._waiting:
            self._next = asyncio.get_running_loop().call_later(self._wait_s(self._first()), self._give)

    def _first(self) -> str:
        return min(self._waiting, key=self._peers.wait_s)  # of equal ones, the first

    def _give(self) -> None:
        self._next = None
        if self._waiting and not self._wait_s(peer := self._first()):
            mine = self._waiting.pop(peer)
            turn = next(iter(mine))
            del mine[turn]
            if mine:
                self._waiting[peer] = mine  # it is the last now
            if not turn.done():  # its connection was cut
                turn.set_result(None)
        self._next = asyncio.get_running_loop().call_soon(self._plan)  # once this turn has its price

    def _forget(self, peer: str, turn: asyncio.Future[None]) -> None:
        mine = self._waiting.get(peer, {})
        mine.pop(turn, None)
        if not mine:
            self._waiting.pop(peer, None)


class _Charged:
    """Awaitable that does ``work``, and reports the CPU time of each of its steps in milliseconds."""

    def __init__(self, work: Awaitable[None], took: Callable[[float], object]) -> None:
        self._work, self._took = work, took

    def __await__(self) -> Generator[Any, Any, None]:
        work = self._work.__await__()
        step: Callable[[], Any] = partial(work.send, None)
        while True:
            began = thread_time()
            try:
                awaited = step()
            except StopIteration:
                return
            finally:
                self._took((thread_time() - began) * 1000 + STEP_MS)
            try:
                yield awaited
            except BaseException as error:
                step = partial(work.throw, error)
            else:
                step = partial(work.send, None)
