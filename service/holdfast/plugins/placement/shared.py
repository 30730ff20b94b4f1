"""One scan of the whole node for all callers at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedRun(Generic[T]):
    """A blocking function, run in a thread for one caller or many; on the loop's thread.

    Theory: a caller gets the result of a run that began after its call. At most one run is active and one waits, for
    any number of callers, so that network clients take one of the threads that all calls share, and no caller waits for
    more than two runs.
    """

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._going: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def ask(self) -> T:
        """Return the result of a run that has not begun yet, or raise its error."""
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._going))
            self._next.add_done_callback(_taken)
        return await asyncio.shield(self._next)

    async def _run(self, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait((before,))
        mine, self._next = self._next, None
        self._going = mine
        try:
            return await asyncio.to_thread(self._look)
        finally:
            if self._going is mine:
                self._going = None


def _taken(run: asyncio.Task[Any]) -> None:
    """Retrieve a run's error, so that asyncio does not log it if all callers left before."""
    if not run.cancelled():
        run.exception()
