"""Images: a name for content, which keeps the content from collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from holdfast.errors import AlreadyExists, InvalidArgument, NotFound
from holdfast.filters import parse_all
from holdfast.store.database.database import Database, Transaction
from holdfast.store.digest import check_digest
from holdfast.store.labels import EXPIRE, Labels, check_labels, field_of, from_text, kept, masked, to_text
from holdfast.store.objects.leases import IMAGES, Resource, hold, release
from holdfast.store.objects.namespaces import ensure

_COLUMNS = "name, labels, media_type, digest, size, annotations, created_at, updated_at"


class Descriptor(Struct, frozen=True):
    """Media type, digest, size and annotations of some content; ``size`` in bytes."""

    media_type: str = ""
    digest: str = ""
    size: int = 0
    annotations: Labels = field(default_factory=dict)


class Image(Struct, frozen=True):
    """One image. Times are nanoseconds since 1970."""

    name: str
    target: Descriptor
    labels: Labels = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0

    def field(self, path: Sequence[str]) -> tuple[str, bool]:
        """Return the value of a filter's field, and whether it is present.

        Fields: ``name``, ``target.digest``, ``target.mediatype``, labels, annotations.
        """
        match path:
            case ["name", *_]:
                return self.name, bool(self.name)
            case ["target", "digest", *_]:
                return self.target.digest, bool(self.target.digest)
            case ["target", "mediatype", *_]:
                return self.target.media_type, bool(self.target.media_type)
            case ["labels", *key]:
                return field_of(self.labels, key)
            case ["annotations", *key]:
                return field_of(self.target.annotations, key)
        return "", False


class Images:
    """The images of one database. ``clock`` gives nanoseconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], int] = time.time_ns) -> None:
        self._database = database
        self._clock = clock

    async def get(self, namespace: str, name: str) -> Image:
        """Return one image.

        Raises:
            NotFound: there is none.
        """
        return await self._database.read(lambda connection: _found(connection.execute, namespace, name))

    async def matching(self, namespace: str, filters: Iterable[str] = ()) -> list[Image]:
        """The images that any filter matches, by name.

        Raises:
            InvalidArgument: a broken filter.
        """
        wanted = parse_all(filters)
        query = f"SELECT {_COLUMNS} FROM images WHERE namespace = ? ORDER BY name"  # noqa: S608
        rows = await self._database.read(lambda connection: connection.execute(query, (namespace,)).fetchall())
        return [image for image in map(_image, rows) if wanted.match(image)]

    async def create(self, namespace: str, image: Image, lease: str = "") -> Image:
        """Create an image; ``image.created_at`` is kept when it is given. ``lease`` holds an image that can expire.

        Raises:
            InvalidArgument: the image's name, a label or its target is invalid.
            AlreadyExists: the name is in use.
            NotFound: the lease is gone.
        """
        check_image(image)
        now = image.created_at or self._clock()
        created = _stored(replace(image, created_at=now, updated_at=now))

        def change(transaction: Transaction) -> None:
            ensure(transaction, namespace)
            if not _write(transaction, "INSERT OR IGNORE", namespace, created):
                raise AlreadyExists(f'image "{image.name}"')
            if EXPIRE in created.labels:
                hold(transaction, namespace, lease, Resource(IMAGES, image.name))

        await self._database.write(change)
        return created

    async def update(self, namespace: str, image: Image, mask: Sequence[str] = ()) -> Image:
        """Change the fields that ``mask`` names, or replace all but the creation time.

        Raises:
            InvalidArgument: no name, a path that cannot be changed, or a result that is no image.
            NotFound: there is none.
        """
        if not image.name:
            raise InvalidArgument("image name is required for update")

        def change(transaction: Transaction) -> Image:
            current = _found(transaction.execute, namespace, image.name)
            updated = check_image(changed(current, image, mask))
            updated = _stored(
                replace(updated, created_at=current.created_at, updated_at=image.updated_at or self._clock())
            )
            _write(transaction, "REPLACE", namespace, updated)
            return updated

        return await self._database.write(change)

    async def delete(self, namespace: str, name: str, target: str = "", lease: str = "") -> None:
        """Remove the name; its content is collected later. ``target`` is the digest it must still have.

        Raises:
            NotFound: there is none, or it points elsewhere.
        """

        def change(transaction: Transaction) -> None:
            current = _found(transaction.execute, namespace, name)
            if target and current.target.digest != target:
                raise NotFound(f'image "{name}" has target {current.target.digest}, not {target}')
            transaction.execute("DELETE FROM images WHERE namespace = ? AND name = ?", (namespace, name))
            release(transaction, namespace, lease, Resource(IMAGES, name))
            transaction.removed = True

        await self._database.write(change, frees=True)


def check_image(image: Image) -> Image:
    """Return ``image`` if it is valid.

    Raises:
        InvalidArgument: the message names the field.
    """
    if not image.name:
        raise InvalidArgument("image name must not be empty")
    check_labels(image.labels, "image.Labels")
    target = image.target
    check_digest(target.digest, f'Target.Digest "{target.digest}" invalid: {{}}')
    if target.size <= 0:
        raise InvalidArgument("Target.Size must be greater than zero")
    if not target.media_type:
        raise InvalidArgument("Target.MediaType must be set")
    return image


def changed(current: Image, wanted: Image, mask: Sequence[str]) -> Image:
    """Return ``current`` after an update."""
    if not mask:
        return wanted
    for path in mask:
        if path == "target":
            current = replace(current, target=wanted.target)
        elif (labels := masked(current.labels, wanted.labels, path)) is not None:
            current = replace(current, labels=labels)
        elif (notes := masked(current.target.annotations, wanted.target.annotations, path, "annotations")) is not None:
            current = replace(current, target=replace(current.target, annotations=notes))
        else:
            raise InvalidArgument(f'cannot update "{path}" field on image "{wanted.name}"')
    return current


def _stored(image: Image) -> Image:
    target = replace(image.target, annotations=kept(image.target.annotations))
    return replace(image, labels=kept(image.labels), target=target)


def _found(execute: Callable[..., Any], namespace: str, name: str) -> Image:
    query = f"SELECT {_COLUMNS} FROM images WHERE namespace = ? AND name = ?"  # noqa: S608
    row = execute(query, (namespace, name)).fetchone()
    if row is None:
        raise NotFound(f'image "{name}"')
    return _image(row)


def _image(row: tuple[Any, ...]) -> Image:
    name, labels, media_type, digest, size, annotations, created_at, updated_at = row
    target = Descriptor(media_type, digest, size, from_text(annotations))
    return Image(name, target, from_text(labels), created_at, updated_at)


def _write(transaction: Transaction, verb: str, namespace: str, image: Image) -> int:
    target = image.target
    return transaction.execute(
        f"{verb} INTO images (namespace, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            namespace,
            image.name,
            to_text(image.labels),
            target.media_type,
            target.digest,
            target.size,
            to_text(target.annotations),
            image.created_at,
            image.updated_at,
        ),
    ).rowcount
