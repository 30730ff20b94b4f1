"""Times of collections: containerd's rules, as values in and times out. Times are seconds on one clock.

A removal makes the next scheduled collection run, and so does a number of mutations; a request runs one after
``schedule_delay_s``. The interval between collections keeps their pauses within ``pause_threshold`` of the time.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import force_setattr

_INTERVAL_S = 1.0  # between checks, before the first collection has been timed


class Thresholds(Struct, frozen=True):
    """containerd's settings: a share of time, two counts (0: does not count), two delays in seconds."""

    pause_threshold: float = 0.02
    deletion_threshold: int = 0
    mutation_threshold: int = 100
    schedule_delay_s: float = 0.0
    startup_delay_s: float = 0.1

    def __post_init__(self) -> None:
        force_setattr(self, "pause_threshold", min(max(self.pause_threshold, 0.0), 0.5))
        force_setattr(self, "mutation_threshold", max(self.mutation_threshold, 0))
        force_setattr(self, "schedule_delay_s", max(self.schedule_delay_s, 0.0))


class Schedule:
    """Count changes and plan the next collection (``at``; None: nothing is scheduled)."""

    def __init__(self, thresholds: Thresholds, now: float) -> None:
        self.thresholds = thresholds
        self.at = now + thresholds.startup_delay_s if thresholds.startup_delay_s > 0 else None
        self._last: float | None = None
        self._interval_s = _INTERVAL_S
        self._pauses_s = 0.0
        self._collections = 0
        self._not_before: float | None = None  # set while nothing is scheduled because nothing happens
        self._start_counting()

    def mutated(self, now: float, removed: bool) -> None:
        """Count a change; ``removed``: something was removed since the last collection."""
        self._mutations += 1
        self._removals += removed
        if self._not_before is not None and not self._is_idle():
            self.at, self._not_before = max(now, self._not_before), None
        self._plan(now)

    def requested(self, now: float) -> None:
        """Plan a collection: a caller waits for one."""
        self._asked = True
        self._plan(now)

    def due(self, now: float) -> bool:
        """Whether to collect now that the scheduled time has come; if not, the next change with a reason plans again.

        containerd checks again after each interval, which may be milliseconds, while nothing happens.
        """
        if self._is_idle() and self._last is not None:
            self.at, self._not_before = None, now + self._interval_s
            return False
        return True

    def _is_idle(self) -> bool:
        limit = self.thresholds.mutation_threshold
        return not self._asked and not self._removals and (not limit or self._mutations < limit)

    def begin(self) -> None:
        """Start a collection: changes from now on count for the next one."""
        self._start_counting()

    def collected(self, now: float, pause_s: float) -> None:
        """Plan the next collection: one ended, during which writes waited for ``pause_s`` seconds."""
        self._pauses_s += pause_s
        self._collections += 1
        if self.thresholds.pause_threshold > 0:
            average = self._pauses_s / self._collections
            self._interval_s = average / self.thresholds.pause_threshold - average
        self._last = now
        self.at = now + self._interval_s
        if self._asked:  # while it ran
            self._plan(now)

    def failed(self, now: float) -> None:
        """Plan the next attempt after a failed collection, one second later than otherwise."""
        self._asked = True
        self._last = now
        self.at = now + self._interval_s + 1.0

    def _start_counting(self) -> None:
        self._asked = False
        self._removals = 0
        self._mutations = 0

    def _plan(self, now: float) -> None:
        limits = self.thresholds
        at_once = self._asked or (limits.deletion_threshold > 0 and self._removals >= limits.deletion_threshold)
        if self.at is None and self._not_before is None:
            at_once |= limits.deletion_threshold == 0 and self._removals > 0
            at_once |= 0 < limits.mutation_threshold <= self._mutations
        soon = now + limits.schedule_delay_s
        if at_once and (self.at is None or self.at > soon):
            self.at, self._not_before = soon, None
