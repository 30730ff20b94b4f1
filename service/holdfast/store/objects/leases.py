"""Leases: while a lease exists, its resources (content, ingests, snapshots, images) are not collected."""

from __future__ import annotations

import base64
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct, field

from holdfast.errors import AlreadyExists, NotFound, Unimplemented
from holdfast.errors import InvalidArgument as Invalid
from holdfast.filters import parse_all
from holdfast.store.database.database import Database, Transaction
from holdfast.store.digest import check_digest
from holdfast.store.labels import Labels, field_of, from_text, kept, to_text
from holdfast.store.objects.namespaces import ensure

CONTENT, INGESTS, IMAGES, SNAPSHOTS = "content", "ingests", "images", "snapshots"


class Lease(Struct, frozen=True):
    """One lease; ``created_at`` in nanoseconds since 1970."""

    id: str
    labels: Labels = field(default_factory=dict)
    created_at: int = 0

    def field(self, path: Sequence[str]) -> tuple[str, bool]:
        """The value of ``id`` or ``labels.<key>`` for a filter, and whether it is present."""
        match path:
            case ["id", *_]:
                return self.id, bool(self.id)
            case ["labels", *key]:
                return field_of(self.labels, key)
        return "", False


class Resource(Struct, frozen=True):
    """One thing a lease holds: ``content``, ``ingests``, ``images`` or ``snapshots/<snapshotter>``, and its name."""

    type: str
    id: str


def random_id(now: int) -> str:
    """Return a random id in containerd's form: nanoseconds of the second, and three random bytes."""
    return f"{now % 1_000_000_000}-{base64.urlsafe_b64encode(os.urandom(3)).decode()}"


class Leases:
    """The leases of one database. ``clock`` gives nanoseconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], int] = time.time_ns) -> None:
        self._database = database
        self._clock = clock

    async def create(self, namespace: str, lease_id: str = "", labels: Labels | None = None) -> Lease:
        """Create a lease, with a random id when none is given.

        Raises:
            AlreadyExists: that id is in use.
        """
        now = self._clock()
        lease = Lease(lease_id or random_id(now), kept(labels or {}), now)

        def change(transaction: Transaction) -> None:
            ensure(transaction, namespace)
            row = (namespace, lease.id, to_text(lease.labels), now)
            if not transaction.execute("INSERT OR IGNORE INTO leases VALUES (?, ?, ?, ?)", row).rowcount:
                raise AlreadyExists(f'lease "{lease.id}"')

        await self._database.write(change)
        return lease

    async def delete(self, namespace: str, lease_id: str) -> None:
        """Remove a lease and release its resources.

        Raises:
            NotFound: there is none.
        """

        def change(transaction: Transaction) -> None:
            query = "DELETE FROM leases WHERE namespace = ? AND id = ?"
            if not transaction.execute(query, (namespace, lease_id)).rowcount:
                raise NotFound(f'lease "{lease_id}"')
            transaction.removed = True

        await self._database.write(change, frees=True)

    async def matching(self, namespace: str, filters: Iterable[str] = ()) -> list[Lease]:
        """The leases that any filter matches, by id.

        Raises:
            InvalidArgument: a broken filter.
        """
        wanted = parse_all(filters)
        query = "SELECT id, labels, created_at FROM leases WHERE namespace = ? ORDER BY id"
        rows = await self._database.read(lambda connection: connection.execute(query, (namespace,)).fetchall())
        found = (Lease(id_, from_text(labels), created_at) for id_, labels, created_at in rows)
        return [lease for lease in found if wanted.match(lease)]

    async def add(self, namespace: str, lease_id: str, resource: Resource) -> None:
        """Hold ``resource``, whether it exists or not.

        Raises:
            NotFound: no such lease.
            InvalidArgument, Unimplemented: not something a lease can hold.
        """

        def change(transaction: Transaction) -> None:
            _check_lease(transaction.execute, namespace, lease_id)
            hold(transaction, namespace, lease_id, checked(resource))

        await self._database.write(change)

    async def remove(self, namespace: str, lease_id: str, resource: Resource) -> None:
        """Release ``resource``; releasing a resource that the lease does not have is no error.

        Raises:
            NotFound: no such lease.
            InvalidArgument, Unimplemented: not something a lease can hold.
        """

        def change(transaction: Transaction) -> None:
            _check_lease(transaction.execute, namespace, lease_id)
            release(transaction, namespace, lease_id, checked(resource))
            transaction.removed = True

        await self._database.write(change, frees=True)

    async def resources(self, namespace: str, lease_id: str) -> list[Resource]:
        """Return the lease's resources, by type and name.

        Raises:
            NotFound: no such lease.
        """

        def query(connection: sqlite3.Connection) -> list[Resource]:
            _check_lease(connection.execute, namespace, lease_id)
            rows = connection.execute(
                "SELECT type, id FROM lease_resources WHERE namespace = ? AND lease = ? ORDER BY type, id",
                (namespace, lease_id),
            )
            return [Resource(*row) for row in rows]

        return await self._database.read(query)


def checked(resource: Resource) -> Resource:
    """Return ``resource`` if a lease can hold it.

    Raises:
        InvalidArgument: a type with too many or too few parts, or content that is not a digest.
        Unimplemented: another type.
    """
    kind, *rest = resource.type.split("/")
    if kind in (CONTENT, INGESTS, IMAGES):
        if rest:
            raise Invalid(f"invalid resource type {resource.type}")
        if kind == CONTENT:
            check_digest(resource.id, f"invalid content resource id {resource.id}: {{}}")
    elif kind == SNAPSHOTS:
        if len(rest) != 1:
            raise Invalid(f"invalid snapshot resource type {resource.type}")
    else:
        raise Unimplemented(f"resource type {resource.type} not supported yet")
    return resource


def hold(transaction: Transaction, namespace: str, lease: str, resource: Resource) -> bool:
    """Let the caller's lease hold ``resource``; False without a lease.

    Raises:
        NotFound: the lease does not exist, or no longer.
    """
    if not lease:
        return False
    query = "SELECT 1 FROM leases WHERE namespace = ? AND id = ?"
    if transaction.execute(query, (namespace, lease)).fetchone() is None:
        raise NotFound("lease does not exist")
    row = (namespace, lease, resource.type, resource.id)
    transaction.execute("INSERT OR IGNORE INTO lease_resources VALUES (?, ?, ?, ?)", row)
    return True


def release(transaction: Transaction, namespace: str, lease: str, resource: Resource) -> None:
    """Release ``resource``, if the lease has it."""
    transaction.execute(
        "DELETE FROM lease_resources WHERE namespace = ? AND lease = ? AND type = ? AND id = ?",
        (namespace, lease, resource.type, resource.id),
    )


def _check_lease(execute: Callable[..., sqlite3.Cursor], namespace: str, lease_id: str) -> None:
    query = "SELECT 1 FROM leases WHERE namespace = ? AND id = ?"
    if execute(query, (namespace, lease_id)).fetchone() is None:
        raise NotFound(f'lease "{lease_id}"')
