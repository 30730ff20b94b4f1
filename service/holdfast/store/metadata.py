"""The whole store, opened and closed together: the database, its tables' stores, and content on the store below."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from holdfast import log
from holdfast.store.content.interface import Backend
from holdfast.store.content.shared import SharedContent
from holdfast.store.database.database import Database
from holdfast.store.gc.collection import Collected, collect
from holdfast.store.gc.reachability import ObjectKind
from holdfast.store.objects.containers import Containers
from holdfast.store.objects.images import Images
from holdfast.store.objects.leases import Leases
from holdfast.store.objects.namespaces import Namespaces

LOG = log.named(__name__)


class MetadataStore:
    """The metadata of namespaces, leases, images, containers and content.

    ``shared`` is the policy between namespaces (see `shared.SharedContent`); ``clock`` gives nanoseconds since 1970.
    """

    def __init__(
        self, path: Path, backend: Backend, *, shared: bool = True, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self.database = Database(path)
        self.namespaces = Namespaces(self.database)
        self.leases = Leases(self.database, clock)
        self.images = Images(self.database, clock)
        self.containers = Containers(self.database, clock)
        self.content = SharedContent(self.database, backend, shared=shared, clock=clock)
        self._clock = clock
        self._leftovers = True  # a crash may have left bytes without metadata

    async def open(self) -> None:
        """Open the database; see `Database.open`."""
        await self.database.open()

    async def close(self) -> None:
        """Finish pending changes and close the database."""
        await self.database.close()
        self.content.readers.forget()

    async def collect(self) -> Collected:
        """Collect the garbage: first the metadata, then the bytes that no namespace has now."""
        removals = self.database.removals
        collected = await self.database.write(
            lambda transaction: collect(transaction, self._clock()), quiet=True, frees=True
        )
        self.database.collected(removals)
        if removals or self._leftovers or collected.removed:
            self._leftovers = True  # until the bytes are collected
            swept = await self.content.sweep()
            self._leftovers = False
            LOG.debug("content collected", blobs=swept.blobs, ingests=swept.ingests)
        LOG.debug(
            "garbage collected",
            pause_s=collected.pause_s,
            **{kind.name.lower(): collected.count(kind) for kind in ObjectKind if collected.count(kind)},
        )
        return collected
