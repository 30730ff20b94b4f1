"""Run at once: a handler's first step, and a caller whose response came, run where the bytes were read.

asyncio would make both wait for the next turn of the loop. A turn costs an epoll_wait(2) and some ten microseconds, and
its frames are written only after it; with one call at a time that is a third of the round trip. Nothing runs at once
while a task is running already (a transport that a task feeds): two tasks cannot run at once.

Python 3.12 can start a task eagerly, but not in a group (3.14 can), and 3.11 not at all. So the callback by which a new
task schedules its first step is caught and called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


class Starter:
    """Create the tasks of one group, on one loop."""

    __slots__ = ("_catch", "_group", "_loop", "_steps")

    def __init__(self, group: asyncio.TaskGroup, loop: asyncio.AbstractEventLoop) -> None:
        self._group = group
        self._loop = loop
        self._steps: list[tuple[Callable[[], object], Context]] = []  # caught, not begun: one, or none
        self._catch = self._caught

    def create_task(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Return a task, run until it first waits; from then on it belongs to the group.

        A task that never waits is done before the group gets it, and costs neither bookkeeping nor a callback.
        """
        loop = self._loop
        if asyncio.current_task(loop) is not None:
            return self._group.create_task(coroutine, name=name)
        loop.call_soon = self._catch  # type: ignore[method-assign, assignment]
        try:
            task = asyncio.Task(coroutine, loop=loop, name=name)
        finally:
            del loop.call_soon
        step, context = self._steps.pop()
        context.run(step)
        if not task.done() or task.cancelled() or task.exception() is not None:
            self._adopt(task, name)
        return task

    def _caught(self, step: Callable[[], object], *, context: Context) -> None:
        self._steps.append((step, context))

    def _adopt(self, task: asyncio.Task[None], name: str) -> None:
        owned = _owned(task)
        try:
            self._group.create_task(owned, name=name)
        except RuntimeError:  # the group is over: nothing may outlive it
            owned.close()
            task.cancel()
            raise


async def _owned(task: asyncio.Task[None]) -> None:
    """The group's task for another task: wait for it, cancel it when cancelled, fail as it fails."""
    await task


class Waiter(asyncio.Future[None]):
    """A future on which one task waits; `wake` resumes the task without a turn of the loop between."""

    _wakeup: Callable[..., object] | None = None
    _within: Context | None = None

    def add_done_callback(self, callback: Callable[..., object], /, *, context: Context | None = None) -> None:
        """Keep the task's own callback, which resumes it."""
        self._wakeup, self._within = callback, context

    def wake(self) -> None:
        """Resume the task, now if possible; do nothing if it was resumed already."""
        if self.done():
            return
        self.set_result(None)
        loop = self.get_loop()
        if self._wakeup is None or self._within is None or asyncio.current_task(loop) is not None:
            self._later()
        else:
            self._within.run(self._wakeup, self)

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the task: it is resumed in the next turn, as from any future."""
        if not super().cancel(msg):
            return False
        self._later()
        return True

    def _later(self) -> None:
        if self._wakeup is not None:
            self.get_loop().call_soon(self._wakeup, self, context=self._within)
