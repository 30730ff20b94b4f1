"""An answer that is kept for a moment and read again when a page needs it: any number of readers cost one read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Generic, TypeVar

from holdfast.errors import HoldfastError

T = TypeVar("T")
FIRST_S = 5.0  # for the first answer; a page without it is of little use
WAIT_S = 0.5  # for a fresher one, when an older one is there


class Reading(Generic[T]):
    """The latest answer of ``ask``. `follow` runs as a job; `latest` is for the pages. Loop thread only."""

    def __init__(self, ask: Callable[[], Awaitable[T]], keep_s: float) -> None:
        self._ask, self._keep_s = ask, keep_s
        self._wanted, self._read = asyncio.Event(), asyncio.Event()
        self.value: T | None = None
        self.error = ""  # of the last read, if it failed
        self._at = 0.0

    @property
    def age_s(self) -> float:
        """Seconds since the answer was read."""
        return monotonic() - self._at

    async def latest(self) -> T | None:
        """Return an answer at most ``keep_s`` old; an older one, or None, if a new one takes too long."""
        if self.value is None or self.age_s > self._keep_s:
            read = self._read
            self._wanted.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_S if self.value is None else WAIT_S):
                    await read.wait()
        return self.value

    async def follow(self) -> None:
        """Read when an answer is wanted, indefinitely."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                self.value, self.error = await self._ask(), ""
                self._at = monotonic()
            except HoldfastError as error:
                self.error = str(error)
            done, self._read = self._read, asyncio.Event()
            done.set()
