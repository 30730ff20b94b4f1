"""Sends the engine's reports and the OOM kills to its listeners, on the engine's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from holdfast import log
from holdfast.node.apply.metrics import PlacementMetrics
from holdfast.node.model.memory_domain import Kill
from holdfast.node.model.placement import Report

LOG = log.named(__name__)


class EngineListeners(Struct, frozen=True):
    """Called on the engine's thread; they must not block.

    ``past_kill`` is called with a kill that happened before the start and is new to the record: it is no news, and
    perhaps was never reported.
    """

    report: Callable[[Report], None]
    kill: Callable[[Kill], None]
    past_kill: Callable[[Kill], None] = lambda kill: None


class Reporter:
    """Keeps reports until `send`, so that none is sent between an event and its write."""

    def __init__(self, listeners: EngineListeners, metrics: PlacementMetrics) -> None:
        self._listeners, self._metrics = listeners, metrics
        self._waiting: list[Report] = []

    def add(self, report: Report) -> None:
        """Keep a report for the next `send`."""
        self._waiting.append(report)

    def send(self) -> None:
        """Send the reports that wait."""
        if not self._waiting:
            return
        waiting = self._waiting.copy()
        self._waiting.clear()
        for report in waiting:
            self._listeners.report(report)

    def send_kills(self, kills: Iterable[Kill], is_past: Callable[[Kill], bool]) -> None:
        """Send kills; count and log those that did not happen before the start, as ``is_past`` says."""
        for kill in kills:
            if is_past(kill):  # for the record, not news
                self._listeners.past_kill(kill)
                continue
            self._metrics.kill(kill)
            LOG.warning(
                "OOM kill", pid=kill.pid, comm=kill.comm, domain=kill.domain, cgroup=kill.group, rule=kill.rule or ""
            )
            self._listeners.kill(kill)
