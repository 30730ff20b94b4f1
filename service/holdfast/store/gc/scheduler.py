"""The loop that collects garbage when the `Schedule` requires it, and answers the waiting callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from holdfast import log
from holdfast.errors import HoldfastError
from holdfast.store.gc.collection import Collected
from holdfast.store.gc.schedule import Schedule, Thresholds

LOG = log.named(__name__)


class Collector(Protocol):
    """Interface of the scheduled collection."""

    async def collect(self) -> Collected:
        """Collect once."""


class GarbageCollectionFailed(HoldfastError):
    """Raised to the callers that waited for the collection; the reason is in the log."""


class Scheduler:
    """Run ``collector``; `run` is a task of its own. ``then`` receives the result of each collection."""

    def __init__(
        self, collector: Collector, thresholds: Thresholds, then: Callable[[Collected], None] = lambda _: None
    ) -> None:
        self._collector = collector
        self._then = then
        self._schedule: Schedule | None = None
        self._thresholds = thresholds
        self._changed = asyncio.Event()
        self._waiting: list[asyncio.Future[Collected]] = []

    def mutated(self, removed: bool) -> None:
        """Report a metadata change (see `Schedule.mutated`)."""
        if self._schedule is not None:
            self._schedule.mutated(self._now(), removed)
            self._changed.set()

    def configure(self, thresholds: Thresholds) -> None:
        """Use other thresholds from now on."""
        self._thresholds = thresholds
        if self._schedule is not None:
            self._schedule.thresholds = thresholds

    async def collect_and_wait(self) -> Collected:
        """Request a collection that starts after this call, and wait for its end.

        Raises:
            GarbageCollectionFailed: it failed.
        """
        answer: asyncio.Future[Collected] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        if self._schedule is not None:
            self._schedule.requested(self._now())
        self._changed.set()
        return await answer

    async def run(self) -> None:
        """Collect indefinitely."""
        self._schedule = schedule = Schedule(self._thresholds, self._now())
        if self._waiting:
            schedule.requested(self._now())
        try:
            while True:
                if not await self._is_time(schedule) or not schedule.due(self._now()):
                    continue
                await self._collect(schedule)
        finally:
            for answer in self._waiting:
                answer.cancel()

    async def _is_time(self, schedule: Schedule) -> bool:
        """Wait for the scheduled time (True), or until the plan changed."""
        self._changed.clear()
        if schedule.at is not None and schedule.at <= self._now():
            return True
        try:
            async with asyncio.timeout_at(schedule.at):
                await self._changed.wait()
        except TimeoutError:
            return True
        return False

    async def _collect(self, schedule: Schedule) -> None:
        waiting, self._waiting = self._waiting, []
        schedule.begin()
        try:
            collected = await self._collector.collect()
            self._then(collected)
        except asyncio.CancelledError:
            self._waiting += waiting
            raise
        except Exception as error:  # a full disk must not end collecting
            LOG.error("garbage collection failed", error=error)
            schedule.failed(self._now())
            for answer in waiting:
                if not answer.done():
                    answer.set_exception(GarbageCollectionFailed("gc failed"))
            return
        schedule.collected(self._now(), collected.pause_s)
        for answer in waiting:
            if not answer.done():
                answer.set_result(collected)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
