"""Wait for disk work on other threads, so that no caller continues while the work is in progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def on_thread(executor: Executor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``work`` and wait for its end, also when the caller is cancelled: a descriptor must not be closed in use."""
    loop = asyncio.get_running_loop()
    return await finished(loop.run_in_executor(executor, partial(work, *args, **kwargs)))


async def finished(future: asyncio.Future[T]) -> T:
    """Return the result of ``future``; a cancelled caller is cancelled after the future's end."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return future.result()
    if not future.cancelled():
        future.exception()  # heard
    raise cancelled


class Gate:
    """A lock with shared and exclusive holders; a task that waits for exclusive access goes before later arrivals."""

    def __init__(self) -> None:
        self._inside = 0
        self._alone = asyncio.Lock()
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold the gate together with other shared holders."""
        async with self._alone:
            self._inside += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold the gate alone."""
        async with self._alone:
            await self._empty.wait()
            yield


class Refs:
    """Held refs and since when. ``patience_s``: seconds to wait for a held ref; ``clock`` gives seconds."""

    def __init__(self, patience_s: float, clock: Callable[[], float]) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._held: dict[str, tuple[float, asyncio.Event]] = {}

    async def hold(self, ref: str) -> float | None:
        """Take ``ref`` and return None; or return the seconds for which another holder has had it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        while ref in self._held:
            since, released = self._held[ref]
            try:
                async with asyncio.timeout_at(deadline):
                    await released.wait()
            except TimeoutError:
                return self._clock() - since
        self._held[ref] = (self._clock(), asyncio.Event())
        return None

    def release(self, ref: str) -> None:
        """Release ``ref`` to the next waiter."""
        if held := self._held.pop(ref, None):
            held[1].set()
