"""Finds processes whose events make the engine examine many others: their children, when the value was changed.

A process may write its own value over the rule's in a loop. Its events then take one part in `PARTS` of the time; for
the rest a rescan examines it. Examinations are counted, not timed: on a slow machine every one takes long. The time is
an argument.
"""

from __future__ import annotations

from holdfast import log

LOG = log.named(__name__)
MANY = 32  # processes examined for one event; usually it is one
PARTS = 20
MOST = 4096  # then all are forgotten; their next events show how many examinations they lead to


class CostLimit:
    """``skipped`` counts the events that were not served."""

    def __init__(self) -> None:
        self.skipped = 0
        self._rests: dict[int, float] = {}  # until when, monotonic
        self._told: set[int] = set()  # since the last periodic rescan

    def allows(self, pid: int, now: float) -> bool:
        """Whether a process is to be examined for an event; ``now`` monotonic."""
        if not self._rests or now >= self._rests.get(pid, 0.0):
            return True
        self.skipped += 1
        return False

    def note(self, pid: int, looks: int, took_s: float, now: float) -> None:
        """Note that one event of a process led to so many examinations, which took so many seconds of a processor."""
        if looks < MANY:
            return
        if len(self._rests) >= MOST:
            self._rests.clear()
        self._rests[pid] = now + took_s * PARTS
        if pid not in self._told and len(self._told) < MOST:
            self._told.add(pid)
            LOG.debug(
                "a process makes the engine examine many others; some of its events wait for a rescan",
                pid=pid,
                looks=looks,
            )

    def begin_anew(self) -> None:
        """Start again: a rescan examined every process."""
        self._rests.clear()
        self._told.clear()
