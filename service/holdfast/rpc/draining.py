"""Calls in flight, and how they end when the daemon does.

While open, a call costs one addition. Draining refuses new calls with UNAVAILABLE (a client goes to another node or
tries again), ends the streams that would never end by themselves, and waits for the rest.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from holdfast.errors import Unavailable

SHUTTING_DOWN = "holdfast is shutting down"


class Gate:
    """What every wrapped call passes through."""

    def __init__(self) -> None:
        self.closed = False
        self._running = 0
        self._streams: set[asyncio.Task[object]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def running(self) -> int:
        """Calls in flight."""
        return self._running

    def __enter__(self) -> None:
        if self.closed:
            raise Unavailable(SHUTTING_DOWN)
        self._running += 1
        if self._running == 1:
            self._empty.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running -= 1
        if self._running == 0:
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

    async def drain(self, grace_s: float) -> int:
        """Close the gate and wait; the number of calls still running after ``grace_s`` seconds."""
        self.closed = True
        for task in tuple(self._streams):
            task.cancel(SHUTTING_DOWN)
        try:
            async with asyncio.timeout(grace_s):
                await self._empty.wait()
        except TimeoutError:
            pass
        return self._running
