"""One look at the whole node for all who ask for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedLook(Generic[T]):
    """A blocking function, run in a thread for one caller or many; on the loop's thread.

    Theory: who asks gets what began after it asked. One run goes and one waits at most, however many ask, so that
    clients of the network take one of the threads that all calls share, and nobody waits for more than two runs.
    """

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._going: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def ask(self) -> T:
        """What a run that has not begun yet will answer, or raise."""
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
    """Whoever asked may have left before an error came: asyncio is not to tell of it."""
    if not run.cancelled():
        run.exception()
