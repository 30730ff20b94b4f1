"""The interface of all content stores: ours on disk, ours with namespaces, and a proxied one.

A blob is named by its digest and never changes. Its bytes are written in an ingest, named by a ref that the caller
chooses.
The ingest survives its connection and the daemon: a writer that opens the ref again continues at its offset. One
writer holds a ref at a time. Sizes and offsets are bytes, times nanoseconds since 1970.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Protocol

from msgspec import Struct, field

from holdfast.store.labels import Labels, field_of

#: Bytes in one read and one message; containerd's.
FRAME = 1 << 20


class Info(Struct, frozen=True):
    """A blob."""

    digest: str
    size: int = 0
    labels: Labels = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0

    def field(self, path: Sequence[str]) -> tuple[str, bool]:
        """The value of ``digest`` or ``labels.<key>`` for a filter, and whether it is present."""
        match path:
            case ["digest", *_]:
                return self.digest, True
            case ["labels", *key]:
                return field_of(self.labels, key)
        return "", False


class IngestStatus(Struct, frozen=True):
    """An ingest. ``total`` and ``expected`` are its writer's announcement; 0 and empty without one."""

    ref: str
    offset: int = 0
    total: int = 0
    expected: str = ""
    started_at: int = 0
    updated_at: int = 0

    def field(self, path: Sequence[str]) -> tuple[str, bool]:
        """The value of ``ref`` for a filter, and whether it is present."""
        return (self.ref, True) if path and path[0] == "ref" else ("", False)


class Reader(Protocol):
    """An open blob; it stays readable to its end when it is deleted meanwhile."""

    size: int

    async def read(self, offset: int, size: int) -> bytes:
        """Return at most ``size`` bytes; fewer only at the end."""

    def close(self) -> None:
        """Release the blob; the caller does not wait for it."""


class Writer(Protocol):
    """The holder of a ref. It must be closed, also after an error and after its commit."""

    @property
    def status(self) -> IngestStatus:
        """The ingest's current status."""

    @property
    def digest(self) -> str:
        """The digest of the bytes written so far."""

    async def write(self, data: bytes) -> None:
        """Append. After an error nothing of ``data`` counts and the writer is unusable; the ref can be opened again."""

    async def truncate(self) -> None:
        """Start over at offset 0."""

    async def commit(self, size: int = 0, expected: str = "", labels: Labels | None = None) -> None:
        """Make the ingest a blob, durable before this returns, and remove the ref.

        Raises:
            FailedPrecondition: it is not ``size`` bytes long, or not ``expected``; 0 and empty are not checked.
            AlreadyExists: the blob existed; the ref is removed.
        """

    async def close(self) -> None:
        """Release the ref; the bytes written so far stay for the next writer that opens it."""


class Swept(Struct, frozen=True):
    """Numbers of blobs and ingests that a collection removed."""

    blobs: int = 0
    ingests: int = 0


class ContentStore(Protocol):
    """Blobs and ingests."""

    async def info(self, digest: str) -> Info:
        """Raises `NotFound`."""

    async def update(self, info: Info, mask: Sequence[str] = ()) -> Info:
        """Change labels: those that ``mask`` names (``labels``, ``labels.<key>``), or all."""

    def pages(self, filters: Iterable[str] = ()) -> AsyncIterator[list[Info]]:
        """Blobs that any filter matches, by digest, some hundreds at a time."""

    async def delete(self, digest: str) -> None:
        """Raises `NotFound`."""

    async def reader(self, digest: str) -> Reader:
        """Raises `NotFound`."""

    async def writer(self, ref: str, total: int = 0, expected: str = "") -> Writer:
        """Begin the ingest ``ref``, or continue it.

        Raises:
            InvalidArgument: an empty ref.
            Unavailable: another writer holds it.
            AlreadyExists: the ``expected`` blob exists.
        """

    async def status(self, ref: str) -> IngestStatus:
        """Raises `NotFound`."""

    async def statuses(self, filters: Iterable[str] = ()) -> list[IngestStatus]:
        """Ingests that any filter matches."""

    async def abort(self, ref: str) -> None:
        """Remove an ingest and its bytes. Raises `NotFound`."""


class Backend(ContentStore, Protocol):
    """A store below the one with namespaces, which alone knows which blobs are still needed."""

    async def sweep(self, digests: Collection[str], refs: Collection[str]) -> Swept:
        """Remove every blob and ingest that is not named. The caller prevents writes meanwhile."""
