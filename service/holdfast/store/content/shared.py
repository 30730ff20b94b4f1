"""Content with namespaces: which namespace sees which blob of the store below, its labels, and the lease that holds it.

The store below has each blob once. With the policy ``shared``, a writer that names the digest of a blob that exists
in any namespace is finished at once; with ``isolated`` it must send every byte, unless a namespace that has the blob
is labelled ``containerd.io/namespace.shareable`` = ``true`` (containerd 2).

A commit has two steps: the store below commits, then one transaction adds the blob to the namespace, removes the
ingest and lets the lease hold the blob. After a kill between the two, no namespace has the blob: the next collection
removes it, or the next writer of the blob finds it. A delete removes the namespace's row; a collection removes the
bytes when no namespace has a row.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from holdfast.errors import AlreadyExists, InvalidArgument, NotFound
from holdfast.filters import parse_all
from holdfast.store.content.interface import Backend, Info, IngestStatus, Reader, Swept
from holdfast.store.content.reader_cache import ReaderCache
from holdfast.store.content.rwlock import ReadWriteLock
from holdfast.store.content.shared_writer import SharedWriter
from holdfast.store.database.database import Database, Transaction
from holdfast.store.labels import Labels, check_labels, from_text, kept, masked, to_text
from holdfast.store.objects.leases import CONTENT, INGESTS, Resource, hold, release
from holdfast.store.objects.namespaces import ensure

#: containerd's label of a namespace whose content every other namespace may use by digest, whatever the policy.
SHAREABLE = "containerd.io/namespace.shareable"

_PAGE = 1000
_COLUMNS = "digest, size, labels, created_at, updated_at"
_STALE_NS = 24 * 3600 * 1_000_000_000  # an ingest without a lease may be collected after a day, as in containerd


class SharedContent:
    """All namespaces' content. ``clock`` gives nanoseconds since 1970."""

    def __init__(
        self, database: Database, backend: Backend, *, shared: bool = True, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self.database = database
        self.backend = backend
        self.shared = shared
        self.clock = clock
        self.lock = ReadWriteLock()
        self.readers = ReaderCache()
        database.on_change(self.readers.forget)

    def within(self, namespace: str, lease: str = "") -> NamespaceContent:
        """Return one namespace's content; ``lease`` holds the written blobs."""
        return NamespaceContent(self, namespace, lease)

    async def sweep(self) -> Swept:
        """Remove from the store below what no namespace has; no ingest begins or commits meanwhile."""
        async with self.lock.exclusive():
            digests, refs = await self.database.read(_needed)
            return await self.backend.sweep(digests, refs)


class _Claim(Struct, frozen=True):
    """Metadata of a ref that is being opened."""

    backend_ref: str = ""
    exists: bool = False


class NamespaceContent:
    """The `ContentStore` of one namespace."""

    def __init__(self, content: SharedContent, namespace: str, lease: str) -> None:
        self._content = content
        self._database = content.database
        self._namespace = namespace
        self._lease = lease

    async def info(self, digest: str) -> Info:
        """`ContentStore.info`."""
        return await self._database.read(lambda connection: self._found(connection.execute, digest))

    async def update(self, info: Info, mask: Sequence[str] = ()) -> Info:
        """`ContentStore.update`.

        Raises:
            InvalidArgument: a label is invalid, or a path is not about labels.
        """

        def change(transaction: Transaction) -> Info:
            current = self._found(transaction.execute, info.digest)
            labels = _changed(current, info, mask)
            check_labels(labels, "info.Labels")
            updated = replace(current, labels=kept(labels), updated_at=self._content.clock())
            transaction.execute(
                "UPDATE blobs SET labels = ?, updated_at = ? WHERE namespace = ? AND digest = ?",
                (to_text(updated.labels), updated.updated_at, self._namespace, info.digest),
            )
            return updated

        return await self._database.write(change)

    async def pages(self, filters: Iterable[str] = ()) -> AsyncIterator[list[Info]]:
        """`ContentStore.pages`."""
        wanted = parse_all(filters)
        query = f"SELECT {_COLUMNS} FROM blobs WHERE namespace = ? AND digest > ? ORDER BY digest LIMIT {_PAGE}"  # noqa: S608
        last = ""
        while True:
            rows = await self._database.read(partial(_rows, query, (self._namespace, last)))
            infos = map(_info, rows)
            yield list(infos) if wanted.matches_everything else [info for info in infos if wanted.match(info)]
            if len(rows) < _PAGE:
                return
            last = rows[-1][0]

    async def delete(self, digest: str) -> None:
        """`ContentStore.delete`."""

        def change(transaction: Transaction) -> None:
            query = "DELETE FROM blobs WHERE namespace = ? AND digest = ?"
            if not transaction.execute(query, (self._namespace, digest)).rowcount:
                raise NotFound(f"content digest {digest}")
            release(transaction, self._namespace, self._lease, Resource(CONTENT, digest))
            transaction.removed = True

        await self._database.write(change, frees=True)

    async def reader(self, digest: str) -> Reader:
        """`ContentStore.reader`."""

        async def opening() -> Reader:
            await self.info(digest)
            return await self.backend.reader(digest)

        return await self._content.readers.reader((self._namespace, digest), opening)

    async def writer(self, ref: str, total: int = 0, expected: str = "") -> SharedWriter:
        """`ContentStore.writer`."""
        if not ref:
            raise InvalidArgument("ref must not be empty")
        async with self.lock.shared():
            found = await self._in_backend(expected) if expected and await self._may_share(expected) else None
            if found is not None and total not in (0, found.size):
                found = None  # the sizes disagree; the commit finds the wrong one
            claim = await self._database.write(partial(self._claim, ref, expected, found is not None))
            if claim.exists:
                raise AlreadyExists(f"content {expected}")
            under = None if found else await self.backend.writer(claim.backend_ref, total)
        now = self._content.clock()
        status = IngestStatus(ref, found.size, found.size, expected, now, now) if found else IngestStatus(ref)
        return SharedWriter(self, claim.backend_ref, under, status)

    async def status(self, ref: str) -> IngestStatus:
        """`ContentStore.status`."""
        backend_ref = await self._database.read(lambda connection: self._backend_ref(connection.execute, ref))
        return replace(await self.backend.status(backend_ref), ref=ref)

    async def statuses(self, filters: Iterable[str] = ()) -> list[IngestStatus]:
        """`ContentStore.statuses`."""
        wanted = parse_all(filters)
        query = "SELECT ref, backend_ref FROM ingests WHERE namespace = ? ORDER BY ref"
        rows = await self._database.read(lambda found: found.execute(query, (self._namespace,)).fetchall())
        statuses = []
        for ref, backend_ref in rows:
            try:
                status = replace(await self.backend.status(backend_ref), ref=ref)
            except NotFound:  # it shares an existing blob, or is being committed
                continue
            if wanted.match(status):
                statuses.append(status)
        return statuses

    async def abort(self, ref: str) -> None:
        """`ContentStore.abort`."""
        async with self.lock.shared():
            backend_ref = await self._database.read(lambda connection: self._backend_ref(connection.execute, ref))
            with suppress(NotFound):  # it shared a blob, or a commit was cut short
                await self.backend.abort(backend_ref)
            await self._database.write(partial(self._forget_ingest, ref), frees=True)

    async def shown(self, ref: str, info: Info) -> None:
        """Add the blob of the store below to the namespace, and remove the ingest.

        Raises:
            AlreadyExists: the namespace has the blob already; the ingest is removed all the same.
        """

        def change(transaction: Transaction) -> bool:
            now = self._content.clock()
            ensure(transaction, self._namespace)
            row = (self._namespace, info.digest, to_text(kept(info.labels)), info.size, now, now)
            fresh = transaction.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?, ?, ?, ?)", row).rowcount
            self._forget_ingest(ref, transaction)
            hold(transaction, self._namespace, self._lease, Resource(CONTENT, info.digest))
            return fresh > 0

        if not await self._database.write(change):
            raise AlreadyExists(f"content {info.digest}")

    @property
    def backend(self) -> Backend:
        """The store below."""
        return self._content.backend

    @property
    def lock(self) -> ReadWriteLock:
        """The lock that all namespaces share."""
        return self._content.lock

    def _claim(self, ref: str, expected: str, shared: bool, transaction: Transaction) -> _Claim:
        if expected and self._sees(transaction, expected):
            hold(transaction, self._namespace, self._lease, Resource(CONTENT, expected))
            return _Claim(exists=True)
        ensure(transaction, self._namespace)
        leased = hold(transaction, self._namespace, self._lease, Resource(INGESTS, ref))
        expires_at = None if leased else self._content.clock() + _STALE_NS
        row = transaction.execute(
            "SELECT backend_ref, expected FROM ingests WHERE namespace = ? AND ref = ?", (self._namespace, ref)
        ).fetchone()
        backend_ref = row[0] if row else self._new_ref(transaction, ref)
        blob = expected if shared else row[1] if row else ""
        transaction.execute(
            "REPLACE INTO ingests (namespace, ref, backend_ref, expected, expires_at) VALUES (?, ?, ?, ?, ?)",
            (self._namespace, ref, backend_ref, blob, expires_at),
        )
        return _Claim(backend_ref)

    def _new_ref(self, transaction: Transaction, ref: str) -> str:
        number = transaction.execute("INSERT INTO ingest_numbers DEFAULT VALUES").lastrowid
        transaction.execute("DELETE FROM ingest_numbers")
        return f"{self._namespace}/{number}/{ref}"

    def _sees(self, transaction: Transaction, digest: str) -> bool:
        query = "SELECT 1 FROM blobs WHERE namespace = ? AND digest = ?"
        return transaction.execute(query, (self._namespace, digest)).fetchone() is not None

    async def _may_share(self, digest: str) -> bool:
        return self._content.shared or await self._database.read(partial(_shareable, digest))

    async def _in_backend(self, digest: str) -> Info | None:
        try:
            return await self.backend.info(digest)
        except (NotFound, InvalidArgument):
            return None

    def _forget_ingest(self, ref: str, transaction: Transaction) -> None:
        transaction.execute("DELETE FROM ingests WHERE namespace = ? AND ref = ?", (self._namespace, ref))
        release(transaction, self._namespace, self._lease, Resource(INGESTS, ref))

    def _backend_ref(self, execute: Callable[..., Any], ref: str) -> str:
        query = "SELECT backend_ref FROM ingests WHERE namespace = ? AND ref = ?"
        row = execute(query, (self._namespace, ref)).fetchone()
        if row is None:
            raise NotFound(f"reference {ref}")
        return str(row[0])

    def _found(self, execute: Callable[..., Any], digest: str) -> Info:
        query = f"SELECT {_COLUMNS} FROM blobs WHERE namespace = ? AND digest = ?"  # noqa: S608
        row = execute(query, (self._namespace, digest)).fetchone()
        if row is None:
            raise NotFound(f"content digest {digest}")
        return _info(row)


def _changed(current: Info, wanted: Info, mask: Sequence[str]) -> Labels:
    if not mask:
        return wanted.labels
    labels = current.labels
    for path in mask:
        changed = masked(labels, wanted.labels, path)
        if changed is None:
            raise InvalidArgument(f'cannot update "{path}" field on content info "{wanted.digest}"')
        labels = changed
    return labels


def _rows(query: str, parameters: tuple[str, ...], connection: sqlite3.Connection) -> list[Any]:
    return connection.execute(query, parameters).fetchall()


def _info(row: tuple[Any, ...]) -> Info:
    digest, size, labels, created_at, updated_at = row
    return Info(digest, size, from_text(labels), created_at, updated_at)


def _shareable(digest: str, connection: sqlite3.Connection) -> bool:
    """Whether a shareable namespace has the blob."""
    found = connection.execute("SELECT name, labels FROM namespaces WHERE labels IS NOT NULL").fetchall()
    givers = [name for name, labels in found if from_text(labels).get(SHAREABLE) == "true"]
    query = "SELECT 1 FROM blobs WHERE namespace = ? AND digest = ?"
    return any(connection.execute(query, (name, digest)).fetchone() for name in givers)


def _needed(connection: sqlite3.Connection) -> tuple[set[str], set[str]]:
    digests = "SELECT digest FROM blobs UNION SELECT expected FROM ingests"
    return (
        {digest for (digest,) in connection.execute(digests)},
        {ref for (ref,) in connection.execute("SELECT backend_ref FROM ingests")},
    )
