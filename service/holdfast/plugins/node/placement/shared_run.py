"""One scan of the whole node for all callers at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedRun(Generic[T]):
    """A blocking function, run in a thread for one caller or many; on the loop's thread.

    Theory: a caller gets the result of a run that began after its call. At most one run is active and one waits, for
    any number of callers, so that network clients take one of the threads that all calls share, and no caller waits for
    more than two runs. There is no task: a run is a future of the thread, and its end begins the run that waits.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._is_active = False
        self._next: asyncio.Future[T] | None = None

    async def ask(self) -> T:
        """Return the result of a run that has not begun yet, or raise its error."""
        if self._next is None:
            loop = asyncio.get_running_loop()
            self._next = loop.create_future()
            self._next.add_done_callback(retrieve_error)
            if not self._is_active:
                self._is_active = True
                loop.call_soon(self._begin)  # so that all callers of this turn share the run
        return await asyncio.shield(self._next)

    def _begin(self) -> None:
        result, self._next = self._next, None
        if result is None:
            self._is_active = False
            return

        def end(run: asyncio.Future[T]) -> None:
            if run.cancelled():
                result.cancel()
            elif (error := run.exception()) is not None:
                result.set_exception(error)
            else:
                result.set_result(run.result())
            self._begin()

        asyncio.get_running_loop().run_in_executor(None, copy_context().run, self._work).add_done_callback(end)


def retrieve_error(result: asyncio.Future[Any]) -> None:
    """Retrieve the error of a result, so that asyncio does not log it if all callers left before."""
    if not result.cancelled():
        result.exception()
