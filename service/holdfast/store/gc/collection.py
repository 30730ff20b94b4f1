"""One garbage collection of the metadata: needed objects are marked, the others removed, in one change.

It runs on the writer's thread: nothing can be removed or added between the mark and the removal.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator

from msgspec import Struct, field

from holdfast.store.database.database import Transaction
from holdfast.store.gc.reachability import PREFIX, Item, ObjectKind, StoredObject, reachable
from holdfast.store.labels import Labels, from_text
from holdfast.store.objects.leases import CONTENT, IMAGES, INGESTS, SNAPSHOTS

_KINDS = {
    CONTENT: ObjectKind.CONTENT,
    INGESTS: ObjectKind.INGEST,
    IMAGES: ObjectKind.IMAGE,
    SNAPSHOTS: ObjectKind.SNAPSHOT,
}
#: The collected kinds: table, and the column with the name.
_TABLES = {
    ObjectKind.LEASE: ("leases", "id"),
    ObjectKind.IMAGE: ("images", "name"),
    ObjectKind.INGEST: ("ingests", "ref"),
    ObjectKind.CONTENT: ("blobs", "digest"),
}


class Collected(Struct, frozen=True):
    """Nodes that one collection removed, and for how many seconds nothing could be written."""

    pause_s: float
    removed: dict[ObjectKind, list[StoredObject]] = field(default_factory=dict)

    def count(self, kind: ObjectKind) -> int:
        """The number of removed nodes of ``kind``."""
        return len(self.removed.get(kind, ()))


def collect(transaction: Transaction, now: int) -> Collected:
    """Remove the objects not needed at ``now``, nanoseconds since 1970."""
    started = time.monotonic()
    items = list(_items(transaction))
    needed = reachable(items, now)
    garbage: dict[ObjectKind, list[StoredObject]] = defaultdict(list)
    for item in items:
        if item.node.kind in _TABLES and item.node not in needed:
            garbage[item.node.kind].append(item.node)
    for kind, nodes in garbage.items():
        table, column = _TABLES[kind]
        transaction.executemany(
            f"DELETE FROM {table} WHERE namespace = ? AND {column} = ?",  # noqa: S608 (our own names)
            ((node.namespace, node.key) for node in nodes),
        )
    return Collected(time.monotonic() - started, dict(garbage))


def _items(transaction: Transaction) -> Iterator[Item]:
    execute = transaction.execute
    held: dict[tuple[str, str], list[StoredObject]] = defaultdict(list)
    for namespace, lease, type_, key in execute("SELECT namespace, lease, type, id FROM lease_resources"):
        kind, _, snapshotter = type_.partition("/")
        name = f"{snapshotter}/{key}" if snapshotter else key
        held[namespace, lease].append(StoredObject(_KINDS[kind], namespace, name))
    for namespace, key, labels in execute("SELECT namespace, id, labels FROM leases"):
        yield Item(
            StoredObject(ObjectKind.LEASE, namespace, key), _gc_labels(labels), tuple(held.get((namespace, key), ()))
        )
    for namespace, key, labels, digest in execute("SELECT namespace, name, labels, digest FROM images"):
        target = StoredObject(ObjectKind.CONTENT, namespace, digest)
        yield Item(StoredObject(ObjectKind.IMAGE, namespace, key), _gc_labels(labels), (target,))
    query = "SELECT namespace, id, labels, snapshotter, snapshot_key FROM containers"
    for namespace, key, labels, snapshotter, snapshot in execute(query):
        needs = (StoredObject(ObjectKind.SNAPSHOT, namespace, f"{snapshotter}/{snapshot}"),) if snapshotter else ()
        yield Item(StoredObject(ObjectKind.CONTAINER, namespace, key), _gc_labels(labels), needs)
    for namespace, key, expected, expires_at in execute("SELECT namespace, ref, expected, expires_at FROM ingests"):
        needs = (StoredObject(ObjectKind.CONTENT, namespace, expected),) if expected else ()
        yield Item(StoredObject(ObjectKind.INGEST, namespace, key), {}, needs, expires_at)
    for namespace, key, labels in execute("SELECT namespace, digest, labels FROM blobs"):
        yield Item(StoredObject(ObjectKind.CONTENT, namespace, key), _gc_labels(labels))


def _gc_labels(text: str | None) -> Labels:
    """Return only the labels that the marking uses; most labels are not decoded at all."""
    if not text or PREFIX not in text:
        return {}
    return {key: value for key, value in from_text(text).items() if key.startswith(PREFIX)}
