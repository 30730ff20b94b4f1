"""The only module that starts the daemon's tasks. Each task has an owner (a plugin's URI, or the daemon) and a name.

A background job should run until its owner closes. A job that ends, whether it raised or returned, is logged, reported
as a fault of its owner and started again after a pause that grows; once it has run for `Pauses.well_s` the fault is
lifted. A job that may end by itself is marked ``once``. A job without which the daemon is useless is marked ``vital``:
it is not started again, the daemon ends. Closing an owner cancels its jobs and waits for them; a job that ignores its
cancellation is named, and left behind after a time (`deadline`).
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from time import perf_counter
from types import TracebackType
from typing import Any

from msgspec import Struct

from holdfast import failure, log
from holdfast.metrics import Counter, Gauge
from holdfast.server.deadline import Leavable

LOG = log.named(__name__)
Job = Callable[[], Coroutine[Any, Any, None]]
OnFault = Callable[[str, str, str], None]
OnEnd = Callable[[str], None]


class Pauses(Struct, frozen=True):
    """Seconds: before the first restart, at most before a later one, and until a restarted job counts as healthy; until
    a cancelled job is named, and until it is left behind (0: never).
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    well_s: float = 5.0
    named_s: float = 5.0
    left_s: float = 60.0


class _Running(Struct):
    """One job that runs, or waits for its restart."""

    owner: str
    name: str
    job: Job
    once: bool
    vital: bool
    is_up: bool = True
    is_left: bool = False
    began_s: float = 0.0  # by `time.perf_counter`, the latest start

    @property
    def label(self) -> str:
        return f"{self.owner}/{self.name}"


class Tasks:
    """Async context manager of the tasks: leaving it cancels those that still run, of every owner.

    ``on_fault`` is called with owner, name and the fault, which is empty when it is over; ``on_end`` with why a vital
    job ended.
    """

    def __init__(
        self, on_fault: OnFault | None = None, on_end: OnEnd | None = None, pauses: Pauses | None = None
    ) -> None:
        self._group = asyncio.TaskGroup()
        self._by_owner: dict[str, dict[asyncio.Task[None], _Running]] = defaultdict(dict)
        self._on_fault, self._on_end, self._pauses = on_fault, on_end, pauses or Pauses()
        self._running: dict[str, _Running] = {}
        self._restarts = Counter(
            "holdfast_background_job_restarts_total", "Times a background job ended and was started again.", ["name"]
        )
        self.families = (
            Gauge(
                "holdfast_background_job_up",
                "1 while a background job runs, 0 from its end until it has run well again.",
                ["name"],
                read=self._up,
            ),
            self._restarts,
        )

    async def __aenter__(self) -> Tasks:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for owner in list(self._by_owner):
            await self.cancel(owner)
        # Nothing runs now, so the group has nothing to raise; given the error it would raise an ExceptionGroup.
        await self._group.__aexit__(None, None, None)

    def start(self, owner: str, name: str, job: Job, *, once: bool = False, vital: bool = False) -> asyncio.Task[None]:
        """Run ``job()`` now, as a task called ``owner/name``, and again when it ends."""
        running = _Running(owner, name, job, once, vital)
        task = self._group.create_task(self._kept_running(running), name=running.label)
        jobs = self._by_owner[owner]
        jobs[task] = running
        task.add_done_callback(lambda task: jobs.pop(task, None))
        return task

    async def cancel(self, owner: str) -> None:
        """Cancel an owner's tasks and wait until each has ended, or is left behind."""
        jobs = {task: job for task, job in self._by_owner.pop(owner, {}).items() if task is not asyncio.current_task()}
        for task in jobs:
            task.cancel()
        left = (await asyncio.wait(jobs, timeout=self._pauses.named_s))[1] if jobs else ()
        for task in left:
            LOG.warning("background job has not ended since it was cancelled", owner=owner, job=jobs[task].name)
        if left:
            left = (await asyncio.wait(left, timeout=self._pauses.left_s or None))[1]
        for task in left:
            LOG.error("background job ignored its cancellation; it is left behind", owner=owner, job=jobs[task].name)
            jobs[task].is_left = True
            task.cancel()
        if left:
            await asyncio.wait(left)

    async def _kept_running(self, running: _Running) -> None:
        loop, pause_s = asyncio.get_running_loop(), self._pauses.first_s
        self._running[running.label] = running
        self._restarts.labels(running.label)
        try:
            while True:
                began = loop.time()
                running.began_s = perf_counter()
                mended = loop.call_later(self._pauses.well_s, self._is_well, running)
                try:
                    error = await _end_of(running)
                finally:
                    mended.cancel()
                if running.once and error is None:
                    self._is_well(running)
                    return
                about = failure.fields(error) if error is not None else {"error": "it ended, and should not"}
                error, why = None, about["error"]  # an error's traceback keeps the frames of the job alive
                if running.vital:
                    LOG.error("background job failed", owner=running.owner, job=running.name, **about)
                    self._is_faulty(running, why)
                    if self._on_end is not None:
                        self._on_end(why)
                    return
                if loop.time() - began >= self._pauses.well_s:
                    pause_s = self._pauses.first_s
                wait_s = pause_s * random.uniform(0.9, 1.1)  # noqa: S311 (so that nodes do not restart in step)
                LOG.error("background job failed", owner=running.owner, job=running.name, again_in_s=wait_s, **about)
                self._is_faulty(running, why)
                await asyncio.sleep(wait_s)
                pause_s = min(2 * pause_s, self._pauses.longest_s)
                self._restarts.inc(running.label)
        finally:
            self._running.pop(running.label, None)

    def _is_faulty(self, running: _Running, why: str) -> None:
        running.is_up = False
        if self._on_fault is not None:
            self._on_fault(running.owner, running.name, f"background job {running.name}: {why}")

    def _is_well(self, running: _Running) -> None:
        if running.is_up:
            return
        running.is_up = True
        LOG.info("background job runs again", owner=running.owner, job=running.name)
        if self._on_fault is not None:
            self._on_fault(running.owner, running.name, "")

    def _up(self) -> Iterable[tuple[tuple[str, ...], float]]:
        return [((label,), float(one.is_up)) for label, one in sorted(self._running.items())]


async def _end_of(running: _Running) -> BaseException | None:
    """Run a job; return what it raised, None if it returned. A cancellation that is not ours is an end like any
    other.
    """
    try:
        await Leavable(_whole(running.job), lambda: running.is_left)
    except BaseException as error:  # a job is a plugin author's code: it must not stop the node's daemon
        if failure.ends_the_task(error):
            raise
        return error
    return None


async def _whole(job: Job) -> None:
    await job()
