"""The writer of a ref in one namespace: over an ingest below, or at the end of another namespace's blob."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from msgspec.structs import replace

from holdfast.errors import AlreadyExists, FailedPrecondition
from holdfast.store.content.interface import FRAME, Backend, Info, IngestStatus, Writer
from holdfast.store.content.rwlock import ReadWriteLock
from holdfast.store.labels import Labels, check_labels


class NamespaceBlobs(Protocol):
    """The blobs that a namespace sees, as far as a writer needs them."""

    @property
    def backend(self) -> Backend:
        """The store below."""

    @property
    def lock(self) -> ReadWriteLock:
        """The lock that a commit shares and a collection has alone."""

    async def shown(self, ref: str, info: Info) -> None:
        """Add a blob of the store below to the namespace, and remove the ingest ``ref``. Raises `AlreadyExists`."""


class SharedWriter:
    """A `Writer`; without one ``under`` it, its offset is the end of a blob that the store below has already."""

    def __init__(self, blobs: NamespaceBlobs, backend_ref: str, under: Writer | None, status: IngestStatus) -> None:
        self._blobs = blobs
        self._backend_ref = backend_ref
        self._under = under
        self._status = status
        self._closed = False

    @property
    def status(self) -> IngestStatus:
        """`Writer.status`."""
        return replace(self._under.status, ref=self._status.ref) if self._under else self._status

    @property
    def digest(self) -> str:
        """`Writer.digest`."""
        return self._under.digest if self._under else self._status.expected

    async def write(self, data: bytes) -> None:
        """`Writer.write`; a shared blob is copied first."""
        if data:
            under = self._under or await self._copied(self._status.offset)
            await under.write(data)

    async def truncate(self) -> None:
        """`Writer.truncate`."""
        if self._under:
            await self._under.truncate()
        else:
            await self._copied(0)

    async def commit(self, size: int = 0, expected: str = "", labels: Labels | None = None) -> None:
        """`Writer.commit`."""
        try:
            check_labels(labels or {}, "info.Labels")
            async with self._blobs.lock.shared():
                offset, digest = await self._committed(size, expected)
                await self._blobs.shown(self._status.ref, Info(digest, offset, labels or {}))
        finally:
            await self.close()

    async def close(self) -> None:
        """`Writer.close`."""
        self._closed = True
        if self._under:
            await self._under.close()

    async def _committed(self, size: int, expected: str) -> tuple[int, str]:
        """Commit in the store below; return size and digest."""
        if self._closed:
            raise FailedPrecondition("cannot commit on closed writer")
        offset = self.status.offset
        if size not in (0, offset):
            raise FailedPrecondition(f'"{self._status.ref}" failed size validation: {offset} != {size}')
        if self._under is None:
            if expected not in ("", self._status.expected):
                raise FailedPrecondition(f'"{self._status.ref}" unexpected digest')
            return offset, self._status.expected
        with suppress(AlreadyExists):  # in the store below; the namespace's row says whether it sees the blob
            await self._under.commit(offset, expected)
        return offset, self._under.digest

    async def _copied(self, size: int) -> Writer:
        """Open the ingest below, with the first ``size`` bytes of the shared blob in it."""
        backend = self._blobs.backend
        writer = await backend.writer(self._backend_ref, size)
        try:
            await writer.truncate()
            reader = await backend.reader(self._status.expected)
            try:
                while (offset := writer.status.offset) < size:
                    await writer.write(await reader.read(offset, min(FRAME, size - offset)))
            finally:
                reader.close()
        except BaseException:
            await writer.close()
            raise
        self._under = writer
        return writer
