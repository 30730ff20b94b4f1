"""Makes the lists of the API from the values of the engine, without keeping the loop for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from holdfast.plugins.node.placement.selection import Key, Selection

SLICE = 25  # items that are made before the loop serves others; one or two milliseconds with every filter

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class ListMaker:
    """Makes one long list at a time: the slices of several would add up. A list of one slice does not wait."""

    def __init__(self) -> None:
        self._long = asyncio.Lock()

    async def make(
        self,
        selection: Selection[M],
        values: Sequence[T],
        key: Callable[[T], Key],
        made: Callable[[T], M],
        order: Callable[[T], Key] | None = None,
        most: int | None = None,
    ) -> tuple[list[M], str]:
        """Return the wanted items, and the token of the next page.

        ``key`` orders pages. Without pages ``order`` orders the list (None: it is in order), and ``most`` is the number
        of items.
        """
        if len(values) <= SLICE:
            return await self._make(selection, values, key, made, order, most)
        async with self._long:
            return await self._make(selection, values, key, made, order, most)

    async def _make(
        self,
        selection: Selection[M],
        values: Sequence[T],
        key: Callable[[T], Key],
        made: Callable[[T], M],
        order: Callable[[T], Key] | None,
        most: int | None,
    ) -> tuple[list[M], str]:
        order = key if selection.is_paged else order
        items: list[M] = []
        last: Key = ()
        for at, value in enumerate(sorted(values, key=order) if order is not None else values, 1):
            if at % SLICE == 0:
                await asyncio.sleep(0)
            if selection.is_past(key(value)):
                continue
            item = made(value)
            if not selection.matches(item):
                continue
            if len(items) == (selection.size or most):
                return items, selection.token(last) if selection.is_paged else ""
            items.append(selection.masked(item))
            last = key(value)
        return items, ""
