"""Container definitions. A task service, not this store, knows whether a container runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from holdfast.errors import AlreadyExists, InvalidArgument, NotFound
from holdfast.filters import parse_all
from holdfast.identifiers import check_identifier
from holdfast.store.database.database import Database, Transaction
from holdfast.store.labels import Labels, check_labels, field_of, from_text, kept, masked, to_text
from holdfast.store.objects.namespaces import ensure

T = TypeVar("T")
_COLUMNS = "id, labels, snapshotter, snapshot_key, body, created_at, updated_at"
_REPLACED = ("labels", "spec", "extensions", "image", "snapshotkey")  # by an update without a mask


class TypedBytes(Struct, frozen=True):
    """A message that is not decoded: its type's URL and its bytes."""

    type_url: str = ""
    value: bytes = b""


class Runtime(Struct, frozen=True):
    """The shim for the container, and its options."""

    name: str = ""
    options: TypedBytes | None = None


class Container(Struct, frozen=True):
    """One container. Times are nanoseconds since 1970."""

    id: str
    runtime: Runtime = field(default_factory=Runtime)
    spec: TypedBytes | None = None
    labels: Labels = field(default_factory=dict)
    image: str = ""
    snapshotter: str = ""
    snapshot_key: str = ""
    extensions: dict[str, TypedBytes] = field(default_factory=dict)
    sandbox: str = ""
    created_at: int = 0
    updated_at: int = 0

    def field(self, path: Sequence[str]) -> tuple[str, bool]:
        """The value of ``id``, ``runtime.name``, ``image`` or ``labels.<key>`` for a filter; whether it is present."""
        match path:
            case ["id", *_]:
                return self.id, bool(self.id)
            case ["runtime", "name", *_]:
                return self.runtime.name, bool(self.runtime.name)
            case ["image", *_]:
                return self.image, bool(self.image)
            case ["labels", *key]:
                return field_of(self.labels, key)
        return "", False


class _Body(Struct, frozen=True):
    """Fields that no sqlite query uses, stored in one column."""

    runtime: Runtime
    spec: TypedBytes | None
    image: str
    extensions: dict[str, TypedBytes]
    sandbox: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


class Containers:
    """The containers of one database. ``clock`` gives nanoseconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], int] = time.time_ns) -> None:
        self._database = database
        self._clock = clock

    async def get(self, namespace: str, container_id: str) -> Container:
        """Return one container.

        Raises:
            NotFound: there is none.
        """
        missing = NotFound(f'container "{container_id}" in namespace "{namespace}"')
        return await self._database.read(lambda found: _found(found.execute, namespace, container_id, missing))

    async def matching(self, namespace: str, filters: Iterable[str] = ()) -> list[Container]:
        """The containers that any filter matches, by id.

        Raises:
            InvalidArgument: a broken filter.
        """
        wanted = parse_all(filters)
        query = f"SELECT {_COLUMNS} FROM containers WHERE namespace = ? ORDER BY id"  # noqa: S608
        rows = await self._database.read(lambda connection: connection.execute(query, (namespace,)).fetchall())
        return [container for container in map(_container, rows) if wanted.match(container)]

    async def create(self, namespace: str, container: Container) -> Container:
        """Create a container.

        Raises:
            InvalidArgument: a field; the message names it.
            AlreadyExists: the id is in use.
        """
        check_container(container, "create container failed validation")
        now = self._clock()
        created = replace(container, labels=kept(container.labels), created_at=now, updated_at=now)

        def change(transaction: Transaction) -> None:
            ensure(transaction, namespace)
            if not _write(transaction, "INSERT OR IGNORE", namespace, created):
                raise AlreadyExists(f'container "{container.id}"')

        await self._database.write(change)
        return created

    async def update(self, namespace: str, container: Container, mask: Sequence[str] = ()) -> Container:
        """Change the fields that ``mask`` names, or all that may change.

        Raises:
            InvalidArgument: no id, a path or a field that cannot be changed, or a result that is no container.
            NotFound: there is none.
        """
        if not container.id:
            raise InvalidArgument("must specify a container id")

        def change(transaction: Transaction) -> Container:
            missing = NotFound(f'container "{container.id}"')
            if _is_empty(transaction, namespace):
                missing = NotFound(f'cannot update container "{container.id}" in namespace "{namespace}"')
            current = _found(transaction.execute, namespace, container.id, missing)
            updated = changed(current, container, mask)
            check_container(updated, "update failed validation")
            updated = replace(updated, labels=kept(updated.labels), updated_at=self._clock())
            _write(transaction, "REPLACE", namespace, updated)
            return updated

        return await self._database.write(change)

    async def delete(self, namespace: str, container_id: str) -> None:
        """Remove a container.

        Raises:
            NotFound: there is none.
        """

        def change(transaction: Transaction) -> None:
            if _is_empty(transaction, namespace):
                raise NotFound(f'cannot delete container "{container_id}" in namespace "{namespace}"')
            query = "DELETE FROM containers WHERE namespace = ? AND id = ?"
            if not transaction.execute(query, (namespace, container_id)).rowcount:
                raise NotFound(f"container {container_id}")
            transaction.removed = True

        await self._database.write(change, frees=True)


def check_container(container: Container, location: str) -> None:
    """Refuse an invalid container.

    Raises:
        InvalidArgument: the message begins with ``location`` and names the field.
    """
    try:
        _check(container)
    except InvalidArgument as error:
        raise InvalidArgument(f"{location}: {error.message}") from None


def _check(container: Container) -> None:
    try:
        check_identifier(container.id)
    except InvalidArgument as error:
        raise InvalidArgument(f"container.ID: {error.message}") from None
    if "" in container.extensions:
        raise InvalidArgument("container.Extension keys must not be zero-length")
    check_labels(container.labels, "containers.Labels")
    if not container.runtime.name:
        raise InvalidArgument("container.Runtime.Name must be set")
    if container.spec is None:
        raise InvalidArgument("container.Spec must be set")
    if container.snapshot_key and not container.snapshotter:
        raise InvalidArgument("container.Snapshotter must be set if container.SnapshotKey is set")


def changed(current: Container, wanted: Container, mask: Sequence[str]) -> Container:
    """Return ``current`` after an update.

    Raises:
        InvalidArgument: a field that cannot be changed.
    """
    if not mask:
        if current.snapshotter != wanted.snapshotter:
            raise InvalidArgument("container.Snapshotter field is immutable")
        if current.runtime.name != wanted.runtime.name:
            raise InvalidArgument("container.Runtime.Name field is immutable")
    for path in mask or _REPLACED:
        current = _changed_at(path, current, wanted)
    return current


def _changed_at(path: str, current: Container, wanted: Container) -> Container:
    match path.split(".", 1):
        case ["labels", *_] if (labels := masked(current.labels, wanted.labels, path)) is not None:
            return replace(current, labels=labels)
        case ["extensions"]:
            return replace(current, extensions=wanted.extensions)
        case ["extensions", key]:
            extension = wanted.extensions.get(key, TypedBytes())
            return replace(current, extensions={**current.extensions, key: extension})
        case ["spec"]:
            return replace(current, spec=wanted.spec)
        case ["image"]:
            return replace(current, image=wanted.image)
        case ["snapshotkey"]:
            return replace(current, snapshot_key=wanted.snapshot_key)
    raise InvalidArgument(f'cannot update "{path}" field on "{wanted.id}"')


def _is_empty(transaction: Transaction, namespace: str) -> bool:
    query = "SELECT 1 FROM containers WHERE namespace = ? LIMIT 1"
    return transaction.execute(query, (namespace,)).fetchone() is None


def _found(execute: Callable[..., Any], namespace: str, container_id: str, missing: NotFound) -> Container:
    query = f"SELECT {_COLUMNS} FROM containers WHERE namespace = ? AND id = ?"  # noqa: S608
    row = execute(query, (namespace, container_id)).fetchone()
    if row is None:
        raise missing
    return _container(row)


def _container(row: tuple[Any, ...]) -> Container:
    container_id, labels, snapshotter, snapshot_key, encoded, created_at, updated_at = row
    body = _decode(encoded)
    return Container(
        container_id,
        body.runtime,
        body.spec,
        from_text(labels),
        body.image,
        snapshotter,
        snapshot_key,
        body.extensions,
        body.sandbox,
        created_at,
        updated_at,
    )


def _write(transaction: Transaction, verb: str, namespace: str, item: Container) -> int:
    body = _Body(item.runtime, item.spec, item.image, item.extensions, item.sandbox)
    return transaction.execute(
        f"{verb} INTO containers (namespace, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            namespace,
            item.id,
            to_text(item.labels),
            item.snapshotter,
            item.snapshot_key,
            _encode(body),
            item.created_at,
            item.updated_at,
        ),
    ).rowcount
