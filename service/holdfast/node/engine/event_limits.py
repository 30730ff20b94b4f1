"""Limits of the work that events may cause, together: by process, by user and group, by cost, and by starts of a pod.

An event that is not served, or an examination that is refused, is left to a rescan. A rescan resets the limits.
"""

from __future__ import annotations

from collections.abc import Collection

from holdfast.cgroups import Hierarchy
from holdfast.node.apply.metrics import PlacementMetrics
from holdfast.node.engine.cost_limit import CostLimit
from holdfast.node.engine.rate_limit import of_processes, of_starts
from holdfast.node.engine.user_rate_limit import UserRateLimit
from holdfast.node.proc.reader import ProcReader
from holdfast.process import OpenProcess


class EventLimits:
    """``of_event`` and ``of_start`` count events by the process and by the pod that makes them.

    ``cost`` is for noting how many examinations an event led to.
    """

    def __init__(self, reader: ProcReader, hierarchy: Hierarchy) -> None:
        self.of_event, self.of_start = of_processes(), of_starts()
        self.of_user, self.cost = UserRateLimit(reader, hierarchy), CostLimit()
        self._muted = 0

    def allows_examination(self, process: OpenProcess, now: float) -> bool:
        """Whether a process is examined for an event at once; ``now`` monotonic.

        Raises:
            ProcessGone: the process ended.
        """
        return self.cost.allows(process.pid, now) and self.of_user.allows(process, now)

    def newly_noisy(self) -> Collection[int] | None:
        """Return the processes whose events are not served, if these are others than at the last call; else None."""
        if len(self.of_event.noisy) == self._muted:
            return None
        self._muted = len(self.of_event.noisy)
        return self.of_event.noisy

    def begin_anew(self) -> None:
        """Start again after a rescan."""
        self.of_event.begin_anew()
        self.of_user.begin_anew()
        self.cost.begin_anew()
        self.of_start.begin_anew()

    def show_in(self, metrics: PlacementMetrics) -> None:
        """Let the metrics read the counts."""
        metrics.containers_slowed = lambda: self.of_start.skipped
        metrics.events_skipped = lambda: self.of_event.skipped + self.of_user.skipped + self.cost.skipped
        metrics.processes_slowed = lambda: self.of_event.slowed
        metrics.crowds_slowed = lambda: self.of_user.slowed
