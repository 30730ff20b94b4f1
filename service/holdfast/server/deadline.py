"""A time limit that also ends code that ignores its cancellation, without a task of its own for that code.

A plugin's start and its close must be of one task (a task group that it enters must be left by the same task), so an
init runs in the daemon's main task, and only the code that drives it can leave it. `Leavable` drives a coroutine step
by step, as ``await`` does. Once it is left, the next cancellation is not passed on: the coroutine is closed, and the
task goes on without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from holdfast.errors import DeadlineExceeded

T = TypeVar("T")
GRACE_S = 2.0  # for what a cancelled init or close still awaits


async def within(limit_s: float, what: str, work: Coroutine[Any, Any, T], grace_s: float = GRACE_S) -> T:
    """Await ``work``; cancel it after ``limit_s`` seconds (0: no limit), and leave it ``grace_s`` seconds later.

    Raises:
        DeadlineExceeded: ``what`` did not end in time; the cause has the place.
    """
    cancels, leaves = asyncio.timeout(limit_s or None), asyncio.timeout(limit_s + grace_s if limit_s else None)
    try:
        async with leaves, cancels:
            return await Leavable(work, leaves.expired)
    except TimeoutError as error:
        if not cancels.expired():
            raise  # the work's own
        ignored = ", and ignored its cancellation" if leaves.expired() else ""
        raise DeadlineExceeded(f"{what} did not end within {limit_s:g}s{ignored}") from error


class Leavable(Generic[T]):
    """Awaitable of a coroutine that a cancellation leaves behind while ``is_left()``."""

    def __init__(self, work: Coroutine[Any, Any, T], is_left: Callable[[], bool]) -> None:
        self.work, self._is_left = work, is_left

    def __await__(self) -> Generator[Any, Any, T]:
        """Drive the coroutine, as ``await`` does."""
        step: Callable[[Any], Any] = self.work.send
        given: Any = None
        while True:
            try:
                waits_for = step(given)
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                step, given = self.work.send, (yield waits_for)
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and self._is_left():
                    raise error from _closed(self.work)
                step, given = self.work.throw, error


class _LeftBehind(BaseException):
    """Ends code that ignores its cancellation. GeneratorExit would not reach an async generator that it awaits."""


def _closed(work: Coroutine[Any, Any, object]) -> BaseException:
    """End a coroutine; return an error with the place in it. One that ignores this, too, stays as it is."""
    try:
        work.throw(_LeftBehind())
    except BaseException as error:
        return error
    return RuntimeError("it ignores every exception")
