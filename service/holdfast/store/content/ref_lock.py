"""Locks of ingest refs: one writer at a time has a ref."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class RefLocks:
    """Locked refs, and since when. ``patience_s``: seconds to wait for a locked ref; ``clock`` gives seconds."""

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
