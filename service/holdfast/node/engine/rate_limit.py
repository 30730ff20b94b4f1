"""Finds processes, or pods, that make more events than are worth examining: these wait for the rescan.

A process may rename itself, fork, or execute programs in a loop, and a pod may have containers started in a loop. Each
such event would cost an examination. The time is an argument.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from holdfast import log

LOG = log.named(__name__)
K = TypeVar("K", bound=Hashable)
WINDOW_S = 1.0
MOST_EVENTS = 200  # of one process in a window; a busy server starts fewer workers
STARTS_WINDOW_S = 10.0
MOST_STARTS = 20  # containers of one pod in a window, each of which is examined twice
MOST_NOISY = 4096  # then all are forgotten; the next events show which are noisy


class RateLimit(Generic[K]):
    """``skipped`` counts the events not served; ``noisy``: the keys whose events are not served until `begin_anew`."""

    def __init__(self, label: tuple[str, str], most: int, window_s: float) -> None:
        """Allow ``most`` events in a window for each key; ``label``: the log's word for a key, and its field."""
        self.skipped = 0
        self.slowed = 0
        self.noisy: dict[K, None] = {}  # the first of them first
        self._label, self._most, self._window_s = label, most, window_s
        self._counts: dict[K, int] = {}
        self._window_ends = 0.0

    def allows(self, key: K, now: float) -> bool:
        """Whether an event that ``key`` made is to be served; ``now`` monotonic."""
        if now >= self._window_ends:
            self._counts.clear()
            self._window_ends = now + self._window_s
        if key in self.noisy:
            self.skipped += 1
            return False
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count <= self._most:
            return True
        if len(self.noisy) >= MOST_NOISY:
            self.noisy.clear()
        self.noisy[key] = None
        self.slowed += 1
        self.skipped += 1
        said = {self._label[1]: key, "in_s": self._window_s}
        LOG.warning(f"{self._label[0]} makes too many events; only rescans examine it", **said)
        return False

    def begin_anew(self) -> None:
        """Start again after a rescan: the events of every key are served and counted again."""
        self.noisy.clear()


def of_processes() -> RateLimit[int]:
    """Return the limit by pid, for events that a process makes."""
    return RateLimit(("process", "pid"), MOST_EVENTS, WINDOW_S)


def of_starts() -> RateLimit[str]:
    """Return the limit by pod, for containers that start."""
    return RateLimit(("pod", "uid"), MOST_STARTS, STARTS_WINDOW_S)
