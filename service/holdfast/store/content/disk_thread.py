"""Run disk work on other threads; a caller does not continue, not even cancelled, while its work is in progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
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
        future.exception()  # marked as retrieved
    raise cancelled
