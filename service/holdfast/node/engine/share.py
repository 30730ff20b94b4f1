"""A part of a processor that one kind of work may take; the rest of the time it waits."""

from __future__ import annotations

import time
from collections.abc import Callable

WINDOW_S = 1.0


class Share:
    """Around the work, on one thread. Within a window it first takes its part at once, then rests after each piece.

    A piece that took x seconds of the processor is followed by (``parts`` - 1) · x of rest, ``rest_s`` at the most.
    """

    def __init__(
        self,
        parts: int,
        rest_s: float,
        *,
        now: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        self._parts, self._rest_s = parts, rest_s
        self._now, self._spent, self._rest = now, spent, rest
        self._window_ends = self._used_s = self._began = 0.0

    def __enter__(self) -> None:
        if self._now() >= self._window_ends:
            self._window_ends, self._used_s = self._now() + WINDOW_S, 0.0
        self._began = self._spent()

    def __exit__(self, *unused: object) -> None:
        took = self._spent() - self._began
        self._used_s += took
        if self._used_s > WINDOW_S / self._parts:
            self._rest(min(self._rest_s, took * (self._parts - 1)))
