"""What the boot still waits for: plugins that started but said they need a while until they are of use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable


class Readiness:
    """Names of plugins that hold the boot."""

    def __init__(self) -> None:
        self._pending: dict[object, str] = {}
        self._changed = asyncio.Event()

    def wait_for(self, uri: str, what: str) -> Callable[[], None]:
        """Hold the boot until the answer is called; calling it twice is harmless."""
        key = object()
        self._pending[key] = f"{uri} ({what})" if what else uri

        def done() -> None:
            self._pending.pop(key, None)
            self._changed.set()

        return done

    def drop(self, uri: str) -> None:
        """Forget what a plugin held: it failed after it asked to be waited for."""
        self._pending = {key: name for key, name in self._pending.items() if name.split(" ")[0] != uri}
        self._changed.set()

    async def all(self, limit_s: float) -> Iterable[str]:
        """Wait until nothing is pending, at the most ``limit_s`` seconds (0: for ever); give what still is."""
        try:
            async with asyncio.timeout(limit_s or None):
                while self._pending:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return tuple(self._pending.values())
        return ()
