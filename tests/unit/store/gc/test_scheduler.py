from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from holdfast.store.gc.collection import Collected
from holdfast.store.gc.schedule import Thresholds
from holdfast.store.gc.scheduler import GarbageCollectionFailed, Scheduler

NEVER = Thresholds(startup_delay_s=0, mutation_threshold=0)


class Collector:
    def __init__(self) -> None:
        self.runs = 0
        self.errors: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = asyncio.Event()

    async def collect(self) -> Collected:
        self.runs += 1
        self.started.set()
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop()
        return Collected(0.001)


@asynccontextmanager
async def running(scheduler: Scheduler):
    task = asyncio.ensure_future(scheduler.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_request_is_answered_by_a_collection_that_began_after_it():
    collector, told = Collector(), []
    scheduler = Scheduler(collector, NEVER, told.append)
    collector.gate.clear()
    async with running(scheduler):
        first = asyncio.ensure_future(scheduler.collect_and_wait())
        await collector.started.wait()
        late = asyncio.ensure_future(scheduler.collect_and_wait())
        collector.gate.set()
        await asyncio.gather(first, late)
    assert 2 == collector.runs == len(told)


async def test_a_request_before_the_loop_runs_is_answered_by_it():
    scheduler = Scheduler(Collector(), NEVER)
    asked = asyncio.ensure_future(scheduler.collect_and_wait())
    await asyncio.sleep(0)
    async with running(scheduler):
        assert Collected(0.001) == await asked


async def test_a_failed_collection_is_told_and_the_next_one_runs():
    collector = Collector()
    collector.errors.append(OSError("disk"))
    scheduler = Scheduler(collector, NEVER)
    async with running(scheduler):
        with pytest.raises(GarbageCollectionFailed, match="gc failed"):
            await scheduler.collect_and_wait()
        await scheduler.collect_and_wait()
    assert collector.runs == 2


async def test_a_removal_is_collected_when_nothing_is_planned():
    collector = Collector()
    scheduler = Scheduler(collector, NEVER)
    async with running(scheduler):
        await asyncio.sleep(0)
        assert not collector.started.is_set()
        scheduler.mutated(True)
        await collector.started.wait()


async def test_who_waits_when_the_loop_ends_is_cancelled():
    collector = Collector()
    collector.gate.clear()
    scheduler = Scheduler(collector, NEVER)
    async with running(scheduler):
        first = asyncio.ensure_future(scheduler.collect_and_wait())
        await collector.started.wait()
        late = asyncio.ensure_future(scheduler.collect_and_wait())
        await asyncio.sleep(0)
    for asked in (first, late):
        with pytest.raises(asyncio.CancelledError):
            await asked
