"""Readers that stay open between calls: clients read a blob in many small calls, each naming it again.

A kept reader is valid until anything in the metadata changes, so no lookup has to check that a namespace still sees a
blob. (``ctr content get`` makes a call for every 32 KiB: 0.4 ms a call without the look-up and the open.)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from holdfast.store.content.interface import Reader

Key = tuple[str, str]
_KEPT = 32


class _Kept:
    """A reader and the count of its users; the last user closes it when it is no longer kept."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.users = 0
        self.dropped = False

    def drop(self) -> None:
        self.dropped = True
        self._close_if_unused()

    def leave(self) -> None:
        self.users -= 1
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self.dropped and not self.users:
            self.reader.close()


class CachedReader:
    """A `Reader` that shares the one below it."""

    def __init__(self, kept: _Kept) -> None:
        self._kept: _Kept | None = kept
        kept.users += 1
        self.size = kept.reader.size
        self.read = kept.reader.read

    def close(self) -> None:
        """`Reader.close`."""
        if self._kept is not None:
            self._kept.leave()
            self._kept = None


class ReaderCache:
    """Cache of the readers that were used last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._changes = 0

    async def reader(self, key: Key, opening: Callable[[], Awaitable[Reader]]) -> Reader:
        """Return the kept reader of ``key``, or open a new one."""
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return CachedReader(kept)
        changes = self._changes
        reader = await opening()
        if changes != self._changes or key in self._kept:  # the result of the lookup may be out of date
            return reader
        kept = self._kept[key] = _Kept(reader)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)[1].drop()
        return CachedReader(kept)

    def forget(self) -> None:
        """Drop all kept readers: the metadata changed."""
        self._changes += 1
        while self._kept:
            self._kept.popitem()[1].drop()
