"""The one place where the daemon's tasks start. Each has an owner (a plugin's URI, or the daemon) and a name.

A job that raises is logged and reported; it does not end the daemon. Closing an owner cancels its jobs and waits.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from holdfast import log

LOG = log.named(__name__)
Job = Callable[[], Coroutine[Any, Any, None]]
OnFailure = Callable[[str, str, BaseException], None]


class Tasks:
    """An async context manager: leaving it cancels what still runs, whoever owns it."""

    def __init__(self, on_failure: OnFailure | None = None) -> None:
        self._group = asyncio.TaskGroup()
        self._by_owner: dict[str, set[asyncio.Task[None]]] = defaultdict(set)
        self._on_failure = on_failure

    async def __aenter__(self) -> Tasks:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for owner in list(self._by_owner):
            await self.cancel(owner)
        # Nothing runs any more, so the group has nothing to say; given the error it would wrap it in an ExceptionGroup.
        await self._group.__aexit__(None, None, None)

    def start(self, owner: str, name: str, job: Job) -> asyncio.Task[None]:
        """Run ``job()`` now, as a task called ``owner/name``."""
        task = self._group.create_task(self._guarded(owner, name, job), name=f"{owner}/{name}")
        self._by_owner[owner].add(task)
        task.add_done_callback(self._by_owner[owner].discard)
        return task

    async def cancel(self, owner: str) -> None:
        """Cancel an owner's tasks and wait until each has ended."""
        tasks = [task for task in self._by_owner.pop(owner, ()) if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _guarded(self, owner: str, name: str, job: Job) -> None:
        try:
            await job()
        except Exception as error:  # a job is a plugin author's code: one broken job must not stop the node's daemon
            LOG.error("background job failed", owner=owner, job=name, error=f"{type(error).__name__}: {error}")
            if self._on_failure is not None:
                self._on_failure(owner, name, error)
