"""Find what is still needed: everything reachable from the roots, by containerd's label rules.

A white node is not found yet, a grey one is found but not examined, a black one is examined. `reachable` starts with
the roots grey and ends when no node is grey; the nodes still white are garbage.

Roots: a lease that has not expired, and the resources it holds; an image that has not expired; a container; a blob or
snapshot labelled ``gc.root``; an ingest that has not expired. Edges: an image's target, a container's and a
snapshot's own, the blob an ingest shares, and labels:

    containerd.io/gc.ref.content[.x | /x] = digest         this needs that blob
    containerd.io/gc.ref.image[.x | /x] = name
    containerd.io/gc.ref.snapshot.<snapshotter>[/x] = key
    containerd.io/gc.bref.content|image|container[.x | /x], gc.bref.snapshot.<snapshotter>[/x]
                                                           that needs this
    containerd.io/gc.flat                                  on a lease: its resources, but not what they need
    containerd.io/gc.expire = RFC 3339                     on a lease or an image; a value that is no time never expires

Nothing here reads or writes: `Item` in, `StoredObject` out. Sources: containerd's docs/garbage-collection.md and the
behaviour of 1.6 (labels ``ref``, ``root``, ``flat``, ``expire`` on leases) and 2.x (``bref``, images).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from msgspec import Struct, field

from holdfast.store.labels import EXPIRE

PREFIX = "containerd.io/gc."
ROOT, FLAT = f"{PREFIX}root", f"{PREFIX}flat"
_REF, _BREF = f"{PREFIX}ref.", f"{PREFIX}bref."
_RFC3339 = re.compile(r"(?a:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))\Z")


class ObjectKind(IntEnum):
    """Kind of a node."""

    CONTENT = 1
    SNAPSHOT = 2
    CONTAINER = 3
    IMAGE = 4
    LEASE = 5
    INGEST = 6


class StoredObject(NamedTuple):
    """One object; a snapshot's key is ``<snapshotter>/<key>``. ``flat``: found through a flat lease."""

    kind: ObjectKind
    namespace: str
    key: str
    flat: bool = False


class Item(Struct, frozen=True):
    """One object: its gc labels, the objects it needs by itself, and when it expires unless it is needed.

    ``expires_at`` is for ingests, in nanoseconds since 1970; None: at once.
    """

    node: StoredObject
    labels: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[StoredObject, ...] = ()
    expires_at: int | None = None


_NAMED = {"content": ObjectKind.CONTENT, "image": ObjectKind.IMAGE, "container": ObjectKind.CONTAINER}
_REF_KINDS = ("content", "image")
_BREF_KINDS = ("content", "image", "container")


def expiry(labels: Mapping[str, str]) -> int | None:
    """Return when a lease or an image expires, in nanoseconds since 1970; None: never, or the label is no time."""
    text = labels.get(EXPIRE, "")
    if not _RFC3339.match(text):
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1_000_000_000)
    except (ValueError, OverflowError):  # the 31st of February
        return None


def references(node: StoredObject, labels: Mapping[str, str]) -> Iterator[StoredObject]:
    """The nodes that ``node`` needs, according to its labels."""
    return _linked(node.namespace, labels, _REF, _REF_KINDS)


def back_references(node: StoredObject, labels: Mapping[str, str]) -> Iterator[StoredObject]:
    """The nodes that need ``node``, according to its labels."""
    return _linked(node.namespace, labels, _BREF, _BREF_KINDS)


def is_root(item: Item, now: int) -> bool:
    """Whether an object is a root: needed without a reference from another."""
    match item.node.kind:
        case ObjectKind.LEASE | ObjectKind.IMAGE:
            at = expiry(item.labels)
            return at is None or at >= now
        case ObjectKind.INGEST:
            return item.expires_at is not None and item.expires_at >= now
        case ObjectKind.CONTAINER:
            return True
    return ROOT in item.labels


def reachable(items: Iterable[Item], now: int) -> set[StoredObject]:
    """Return all needed nodes, whether they exist or not. ``now`` in nanoseconds since 1970."""
    known: dict[StoredObject, Item] = {}
    back: dict[StoredObject, list[StoredObject]] = defaultdict(list)
    grey: list[StoredObject] = []
    for item in items:
        known[item.node] = item
        if is_root(item, now):
            grey.append(item.node)
        for parent in back_references(item.node, item.labels):
            back[parent].append(item.node)
    met: set[StoredObject] = set(grey)
    while grey:
        for needed in _edges(grey.pop(), known, back):
            if needed not in met:
                met.add(needed)
                grey.append(needed)
    return {node._replace(flat=False) if node.flat else node for node in met}


def _edges(
    node: StoredObject, known: Mapping[StoredObject, Item], back: Mapping[StoredObject, list[StoredObject]]
) -> Iterator[StoredObject]:
    if node in back:
        yield from back[node]
    item = known.get(node._replace(flat=False) if node.flat else node)
    if item is None:  # a dead reference
        return
    if node.kind is ObjectKind.LEASE:
        flat = FLAT in item.labels
        yield from (held._replace(flat=flat) for held in item.needs)
        return
    yield from (needed._replace(flat=node.flat) for needed in item.needs)
    if not node.flat:
        yield from references(node, item.labels)


def _linked(namespace: str, labels: Mapping[str, str], prefix: str, kinds: tuple[str, ...]) -> Iterator[StoredObject]:
    for key, value in labels.items():
        if not key.startswith(prefix):
            continue
        rest = key[len(prefix) :]
        if rest.startswith("snapshot."):
            snapshotter = rest[len("snapshot.") :].partition("/")[0]
            yield StoredObject(ObjectKind.SNAPSHOT, namespace, f"{snapshotter}/{value}")
            continue
        for name in kinds:
            if rest == name or rest.startswith((f"{name}.", f"{name}/")):
                yield StoredObject(_NAMED[name], namespace, value)
