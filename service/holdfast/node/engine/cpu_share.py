"""Limits one kind of work to a part of a processor; the rest of the time it waits."""

from __future__ import annotations

import time
from collections.abc import Callable


class CpuShare:
    """A context manager around each piece of work, on one thread: one part in ``parts`` of a processor in the long run.

    ``burst_s`` seconds of a processor, saved while there was less to do, are taken without a rest. A rest is never
    longer than ``rest_s``; the next piece owes the remainder. `is_over` is for ending a long piece.
    """

    def __init__(
        self,
        parts: int,
        burst_s: float,
        rest_s: float,
        *,
        now: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        self._parts, self._burst_s, self._rest_s = parts, burst_s, rest_s
        self._now, self._spent, self._rest = now, spent, rest
        self._saved_s, self._at, self._began = burst_s, now(), 0.0

    def __enter__(self) -> None:
        at = self._now()
        self._saved_s = min(self._burst_s, self._saved_s + (at - self._at) / self._parts)
        self._at, self._began = at, self._spent()

    def __exit__(self, *unused: object) -> None:
        self._saved_s -= self._spent() - self._began
        if self._saved_s < 0:
            self._rest(min(self._rest_s, -self._saved_s * self._parts))

    @property
    def is_over(self) -> bool:
        """Whether the present piece took all that was saved."""
        return self._spent() - self._began > self._saved_s
