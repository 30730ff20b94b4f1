"""The queue between publishers and one subscriber: bounded, and ended with a reason when its reader is too slow.

A publisher only appends. When the next event would not fit, the subscription ends at once, drops its queue and gives
its reader the reason; the publisher never waits. Everything happens on the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from holdfast.errors import HoldfastError, ResourceExhausted
from holdfast.events.envelope import Event
from holdfast.filters import Filter


class QueueLimits(Struct, frozen=True):
    """Limits of one subscriber's queue.

    ``events`` is a number of events, ``size`` their bytes on the wire. Subscribers share events, so many slow ones use
    no more memory than one. A first event always fits, however large.
    """

    events: int = 16_384
    size: int = 16 * 1024 * 1024


class Subscription:
    """One subscription. Iterate over it for events; leave its ``with`` block to end it."""

    def __init__(self, filter_: Filter, limits: QueueLimits, ended: Callable[[Subscription], None]) -> None:
        self.ended_by: HoldfastError | None = None
        self._filter = None if filter_.matches_everything else filter_
        self._limits = limits
        self._ended = ended
        self._waiting: deque[Event] = deque()
        self._waiting_size = 0
        self._something = asyncio.Event()
        self._on_drop: Callable[[], object] | None = None
        self._closed = False

    def __len__(self) -> int:
        """Events waiting to be read."""
        return len(self._waiting)

    def wants(self, event: Event) -> bool:
        """Whether the filters match; False for a closed subscription."""
        return not self._closed and (self._filter is None or self._filter.match(event))

    def offer(self, event: Event) -> str:
        """Queue an event; return the name of the exceeded limit, which ends the subscription, or an empty string."""
        size = len(event.wire)
        passed = self._passed(size) if self._waiting else ""
        if passed:
            self._drop()
            return passed
        self._waiting.append(event)
        self._waiting_size += size
        self._something.set()
        return ""

    def on_drop(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` when this subscription is dropped, for a reader that is busy writing elsewhere."""
        self._on_drop = callback

    def close(self) -> None:
        """End the subscription; a waiting reader stops."""
        self._closed = True
        self._ended(self)
        self._waiting.clear()
        self._waiting_size = 0
        self._something.set()
        self._on_drop = None

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event.

        Raises:
            ResourceExhausted: the subscription was dropped because it was read too slowly.
        """
        while not self._waiting:
            if self.ended_by is not None:
                raise self.ended_by
            if self._closed:
                raise StopAsyncIteration
            self._something.clear()
            await self._something.wait()
        event = self._waiting.popleft()
        self._waiting_size -= len(event.wire)
        return event

    def _passed(self, size: int) -> str:
        if len(self._waiting) >= self._limits.events:
            return "events"
        return "bytes" if self._waiting_size + size > self._limits.size else ""

    def _drop(self) -> None:
        self.ended_by = ResourceExhausted(
            f"subscriber is too slow: {len(self._waiting)} events ({self._waiting_size} bytes) wait to be read, and "
            f"the next one passes the limit of {self._limits.events} events or {self._limits.size} bytes"
        )
        on_drop = self._on_drop
        self.close()
        if on_drop is not None:
            on_drop()
