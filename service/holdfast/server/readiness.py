"""Plugins that the boot still waits for: they started, but need some time until they are of use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from msgspec import Struct


class Wait(Struct, eq=False):
    """One plugin's wish that the boot waits. ``is_over`` once it is ready, also after the boot's end."""

    uri: str
    what: str
    is_over: bool = False
    on_end: Callable[[], None] = lambda: None


class Readiness:
    """Plugins that the boot waits for."""

    def __init__(self) -> None:
        self._pending: list[Wait] = []
        self._changed = asyncio.Event()

    def wait_for(self, uri: str, what: str) -> Callable[[], None]:
        """Hold the boot until the returned function is called; calling it twice is harmless."""
        wait = Wait(uri, what)
        self._pending.append(wait)

        def done() -> None:
            if wait.is_over:
                return
            wait.is_over = True
            wait.on_end()
            self._changed.set()

        return done

    def asked(self, uri: str) -> bool:
        """Whether a plugin has asked the boot to wait."""
        return any(wait.uri == uri for wait in self._pending)

    async def all(self, limit_s: float) -> Iterable[Wait]:
        """Wait until nothing is pending, at most ``limit_s`` seconds (0: no limit); return what is still pending."""
        try:
            async with asyncio.timeout(limit_s or None):
                while self._left():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return self._left()
        return ()

    def _left(self) -> list[Wait]:
        return [wait for wait in self._pending if not wait.is_over]
