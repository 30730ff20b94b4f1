"""Which processes make events faster than each is worth a look: these wait for the rescan.

A process may rename itself, fork, or execute programs in a loop, and each such event would cost a look at it. The time
comes as an argument.
"""

from __future__ import annotations

from holdfast import log

LOG = log.named(__name__)
WINDOW_S = 1.0
MOST_EVENTS = 200  # of one process in a window; a busy server starts fewer workers


class Pace:
    """``skipped`` counts the events that were not served, ``noisy`` has those whose are not, until `begin_anew`."""

    def __init__(self) -> None:
        self.skipped = 0
        self.slowed = 0
        self.noisy: dict[int, None] = {}  # the first of them first
        self._counts: dict[int, int] = {}
        self._window_ends = 0.0

    def allows(self, pid: int, now: float) -> bool:
        """Whether an event that the process ``pid`` made is to be served; ``now`` monotonic."""
        if now >= self._window_ends:
            self._counts.clear()
            self._window_ends = now + WINDOW_S
        if pid in self.noisy:
            self.skipped += 1
            return False
        count = self._counts[pid] = self._counts.get(pid, 0) + 1
        if count <= MOST_EVENTS:
            return True
        self.noisy[pid] = None
        self.slowed += 1
        self.skipped += 1
        LOG.warning("process makes too many events; it is looked at by rescans only", pid=pid, in_s=WINDOW_S)
        return False

    def begin_anew(self) -> None:
        """All were looked at: from now on everybody's events count again."""
        self.noisy.clear()
