"""A task that begins at once: its first step runs here, not in the next turn of the loop.

Most handlers answer without waiting for anything. A turn of the loop costs an epoll_wait(2) and some ten microseconds,
and the answer would be written only after it. Python 3.12 can start a task eagerly, but not in a group (3.14 can), and
3.11 not at all; so the group makes its task as ever, and the callback by which a new task asks the loop for its first
step is caught and called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

Step = tuple[Callable[..., object], tuple[Any, ...], Context | None]


def create_task(
    group: asyncio.TaskGroup, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None], name: str
) -> asyncio.Task[None]:
    """The group's task, run up to where it first waits; as ``group.create_task`` where another task is running."""
    if asyncio.current_task(loop) is not None:  # two tasks at once are impossible
        return group.create_task(coroutine, name=name)
    steps: list[Step] = []

    def caught(callback: Callable[..., object], *args: Any, context: Context | None = None) -> None:
        steps.append((callback, args, context))

    ask = loop.call_soon
    loop.call_soon = caught  # type: ignore[method-assign, assignment]
    try:
        task = group.create_task(coroutine, name=name)
    finally:
        del loop.call_soon
    for callback, args, context in steps:
        if context is not None and len(steps) == 1:
            context.run(callback, *args)
        else:  # a task of another making: let it begin as it likes
            ask(callback, *args, context=context)
    return task
