"""Calls in flight: how many there may be, and how they end when the daemon does.

While open, a call costs one addition. Draining refuses new calls with UNAVAILABLE (a client goes to another node or
tries again), ends the streams that would never end by themselves, and waits for the rest.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from holdfast.errors import ResourceExhausted, Unavailable

SHUTTING_DOWN = "holdfast is shutting down"


class Gate:
    """What every wrapped call passes through. ``limit`` is the most calls at a time, 0 for any number."""

    def __init__(self, limit: int = 0) -> None:
        self.closed = False
        self.running = 0
        self._limit = limit
        self._streams: set[asyncio.Task[object]] = set()
        self._cut: set[asyncio.Task[object]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __enter__(self) -> None:
        """Let one call in.

        Raises:
            Unavailable: the daemon drains.
            ResourceExhausted: as many calls as may run are running.
        """
        if self.closed:
            raise Unavailable(SHUTTING_DOWN)
        if self._limit and self.running >= self._limit:
            raise ResourceExhausted(f"more than {self._limit} concurrent calls (grpc.max_concurrent_rpcs)")
        self.running += 1
        if self.running == 1:
            self._empty.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.running -= 1
        if self.running == 0:
            self._empty.set()

    def add_stream(self) -> asyncio.Task[object]:
        """Remember this task as a stream that is ended by the drain; give it back to `drop_stream`."""
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        return task

    def drop_stream(self, task: asyncio.Task[object]) -> None:
        """The stream ended."""
        self._streams.discard(task)
        self._cut.discard(task)

    def was_cut(self) -> bool:
        """Whether it was the drain that cancelled this task, and not the caller."""
        return asyncio.current_task() in self._cut

    async def drain(self, grace_s: float) -> int:
        """Close the gate and wait; the number of calls still running after ``grace_s`` seconds."""
        self.closed = True
        self._cut |= self._streams
        for task in tuple(self._streams):
            task.cancel(SHUTTING_DOWN)
        try:
            async with asyncio.timeout(grace_s):
                await self._empty.wait()
        except TimeoutError:
            pass
        return self.running
