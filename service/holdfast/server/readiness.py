"""Plugins that the boot still waits for: they started, but need some time until they are of use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable


class Readiness:
    """Names of plugins that hold the boot."""

    def __init__(self) -> None:
        self._pending: dict[object, str] = {}
        self._changed = asyncio.Event()

    def wait_for(self, uri: str, what: str) -> Callable[[], None]:
        """Hold the boot until the returned function is called; calling it twice is harmless."""
        key = object()
        self._pending[key] = f"{uri} ({what})" if what else uri

        def done() -> None:
            self._pending.pop(key, None)
            self._changed.set()

        return done

    def drop(self, uri: str) -> None:
        """Stop waiting for a plugin: it is not ready, although it asked the boot to wait."""
        self._pending = {key: name for key, name in self._pending.items() if name.split(" ")[0] != uri}
        self._changed.set()

    async def all(self, limit_s: float) -> Iterable[str]:
        """Wait until nothing is pending, at most ``limit_s`` seconds (0: no limit); return what is still pending."""
        try:
            async with asyncio.timeout(limit_s or None):
                while self._pending:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return tuple(self._pending.values())
        return ()
