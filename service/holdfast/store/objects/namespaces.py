"""Namespaces: created by their first object or by name, deleted only when empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from holdfast.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from holdfast.identifiers import check_identifier
from holdfast.store.database.database import Database, Transaction
from holdfast.store.labels import Labels, check_labels, from_text, kept, masked, to_text

#: Tables whose objects prevent a namespace's deletion, in the order of the message; leases and ingests are deleted too.
_KEEPERS = ("images", "blobs", "containers")
_CONTENTS = (*_KEEPERS, "leases", "ingests")


class Namespace(Struct, frozen=True):
    """A namespace's name and labels."""

    name: str
    labels: Labels = field(default_factory=dict)


def ensure(transaction: Transaction, namespace: str) -> None:
    """Create ``namespace`` if it is missing, at the first use by an object."""
    transaction.execute("INSERT OR IGNORE INTO namespaces (name) VALUES (?)", (namespace,))


class Namespaces:
    """The namespaces of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def labels(self, name: str) -> Labels:
        """The labels of a namespace; none for one that does not exist, as containerd answers."""
        row = await self._database.read(
            lambda connection: connection.execute("SELECT labels FROM namespaces WHERE name = ?", (name,)).fetchone()
        )
        return from_text(row[0]) if row else {}

    async def all(self) -> list[Namespace]:
        """Return all namespaces, by name."""
        rows = await self._database.read(
            lambda connection: connection.execute("SELECT name, labels FROM namespaces ORDER BY name").fetchall()
        )
        return [Namespace(name, from_text(labels)) for name, labels in rows]

    async def create(self, namespace: Namespace) -> None:
        """Create a namespace.

        Raises:
            InvalidArgument: its name or a label is invalid.
            AlreadyExists: it exists; also when an object created it.
        """
        name = check_identifier(namespace.name)
        check_labels(namespace.labels, "namespace.Labels")

        def change(transaction: Transaction) -> None:
            cursor = transaction.execute(
                "INSERT OR IGNORE INTO namespaces VALUES (?, ?)", (name, to_text(kept(namespace.labels)))
            )
            if not cursor.rowcount:
                raise AlreadyExists(f'namespace "{name}"')

        await self._database.write(change)

    async def update(self, namespace: Namespace, mask: Sequence[str] = ()) -> None:
        """Set the labels that ``mask`` names, or replace all of them; a missing namespace is created.

        Raises:
            InvalidArgument: its name or a label is invalid, or a path is not ``labels.<key>``.
        """
        name = check_identifier(namespace.name)

        def change(transaction: Transaction) -> None:
            ensure(transaction, name)
            (text,) = transaction.execute("SELECT labels FROM namespaces WHERE name = ?", (name,)).fetchone()
            labels = changed(from_text(text), namespace.labels, mask)
            check_labels(labels, "namespace.Labels")
            transaction.execute("UPDATE namespaces SET labels = ? WHERE name = ?", (to_text(kept(labels)), name))

        await self._database.write(change)

    async def delete(self, name: str) -> None:
        """Delete an empty namespace, with its leases and ingests.

        Raises:
            NotFound: there is none.
            FailedPrecondition: it still has objects; the message names their kinds.
        """

        def change(transaction: Transaction) -> None:
            left = [kind for kind in _KEEPERS if _has(transaction, kind, name)]
            if left:
                raise FailedPrecondition(f'namespace "{name}" must be empty, but it still has {", ".join(left)}')
            if not transaction.execute("DELETE FROM namespaces WHERE name = ?", (name,)).rowcount:
                raise NotFound(f'namespace "{name}"')
            for table in _CONTENTS:
                gone = transaction.execute(f"DELETE FROM {table} WHERE namespace = ?", (name,)).rowcount  # noqa: S608
                transaction.removed |= gone > 0

        await self._database.write(change)


def changed(current: Labels, wanted: Mapping[str, str], mask: Sequence[str]) -> Labels:
    """Return the labels after an update; a namespace's mask may name single labels only."""
    if not mask:
        return dict(wanted)
    for path in mask:
        labels = None if path == "labels" else masked(current, wanted, path)
        if labels is None:
            raise InvalidArgument(f'cannot update "{path}" field')
        current = labels
    return current


def _has(transaction: Transaction, table: str, namespace: str) -> bool:
    query = f"SELECT 1 FROM {table} WHERE namespace = ? LIMIT 1"  # noqa: S608 (one of our own table names)
    return transaction.execute(query, (namespace,)).fetchone() is not None
