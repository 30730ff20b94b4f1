"""The content store on a local disk: files, no labels, no namespaces. The caller decides which blobs are needed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from holdfast import log
from holdfast.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from holdfast.filters import parse_all
from holdfast.store.content import ingest
from holdfast.store.content.disk_thread import finished, on_thread
from holdfast.store.content.interface import Info, IngestStatus, Swept
from holdfast.store.content.ref_lock import RefLocks
from holdfast.store.digest import check_digest, complaint
from holdfast.store.labels import Labels

LOG = log.named(__name__)
_THREADS = 4
_PAGE = 1000
_SMALL = 128 << 10  # bytes that are copied on the loop; more would keep others waiting
_LARGE = 128 << 10  # bytes from which hashing beside writing pays for the second thread (measured: 64 to 256 KiB)


class LocalStore:
    """A `Backend` in the folder ``root``. ``patience_s``: seconds that an open waits for a held ref."""

    def __init__(self, root: Path, patience_s: float = 0.5) -> None:
        self.layout = ingest.Layout(root)
        self._threads = ThreadPoolExecutor(_THREADS, "store-content")
        self._refs = RefLocks(patience_s, time.monotonic)

    async def open(self) -> None:
        """Create the folders."""
        await on_thread(self._threads, self.layout.make)

    async def close(self) -> None:
        """Wait for the work in progress."""
        await asyncio.to_thread(self._threads.shutdown)

    async def info(self, digest: str) -> Info:
        """`ContentStore.info`; both times are the commit's."""
        check_digest(digest, "calculating blob info path: cannot calculate blob path from invalid digest: {}")
        found = await on_thread(self._threads, _info, self.layout.blob(digest), digest)
        if found is None:
            raise NotFound(f"content {digest}")
        return found

    async def update(self, info: Info, mask: Sequence[str] = ()) -> Info:
        """Raise: this store has no labels."""
        raise FailedPrecondition("update not supported on immutable content store")

    async def pages(self, filters: Iterable[str] = ()) -> AsyncIterator[list[Info]]:
        """`ContentStore.pages`."""
        wanted = parse_all(filters)
        digests = iter(await on_thread(self._threads, lambda: sorted(_digests(self.layout))))
        while names := list(islice(digests, _PAGE)):
            infos = await on_thread(self._threads, _infos, self.layout, names)
            yield [info for info in infos if wanted.match(info)]

    async def delete(self, digest: str) -> None:
        """`ContentStore.delete`."""
        check_digest(digest, "calculating blob path for delete: cannot calculate blob path from invalid digest: {}")
        try:
            await on_thread(self._threads, os.unlink, self.layout.blob(digest))
        except FileNotFoundError as error:
            raise NotFound(f"content {digest}") from error

    async def reader(self, digest: str) -> FileReader:
        """`ContentStore.reader`."""
        check_digest(digest, "calculating blob path for ReaderAt: cannot calculate blob path from invalid digest: {}")
        try:
            descriptor = await on_thread(self._threads, os.open, self.layout.blob(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound(f"content {digest}") from error
        return FileReader(descriptor, self._threads)

    async def writer(self, ref: str, total: int = 0, expected: str = "") -> FileWriter:
        """`ContentStore.writer`."""
        if not ref:
            raise InvalidArgument("ref must not be empty")
        if expected:
            check_digest(expected, "calculating expected blob path for writer: invalid digest: {}")
        if (held_s := await self._refs.hold(ref)) is not None:
            since = datetime.now(UTC) - timedelta(seconds=held_s)
            raise Unavailable(f"ref {ref} locked for {held_s:.3f}s (since {since:%Y-%m-%dT%H:%M:%S.%fZ})")
        try:
            opened = await self._opened(ref, total, expected)
            return FileWriter(opened, self._threads, self._refs)
        except BaseException:
            self._refs.release(ref)
            raise

    async def status(self, ref: str) -> IngestStatus:
        """`ContentStore.status`."""
        return await on_thread(self._threads, ingest.status_of, self.layout.ingest(ref))

    async def statuses(self, filters: Iterable[str] = ()) -> list[IngestStatus]:
        """`ContentStore.statuses`."""
        wanted = parse_all(filters)
        found = await on_thread(self._threads, lambda: list(_statuses(self.layout)))
        return [status for status in found if wanted.match(status)]

    async def abort(self, ref: str) -> None:
        """`ContentStore.abort`; a writer that holds the ref will find nothing to commit."""
        if not await on_thread(self._threads, ingest.remove, self.layout.ingest(ref)):
            raise NotFound(f'ingest ref "{ref}"')

    async def sweep(self, digests: Collection[str], refs: Collection[str]) -> Swept:
        """`Backend.sweep`."""
        return await on_thread(self._threads, _sweep, self.layout, digests, refs)

    async def _opened(self, ref: str, total: int, expected: str) -> ingest.Ingest:
        if expected:
            there = await on_thread(self._threads, _info, self.layout.blob(expected), expected)
            if there is not None:
                raise AlreadyExists(f"content {expected}")
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(self._threads, ingest.open_ingest, self.layout, ref, total)
        try:
            return await finished(opening)
        except asyncio.CancelledError:
            if opening.exception() is None:  # the caller is gone and cannot close it
                opening.result().close()
            raise


class FileReader:
    """A `Reader` of one file."""

    def __init__(self, descriptor: int, threads: ThreadPoolExecutor) -> None:
        self._descriptor = descriptor
        self._threads = threads
        self.size = os.fstat(descriptor).st_size

    async def read(self, offset: int, size: int) -> bytes:
        """`Reader.read`: small cached data at once; on a thread where the read may wait for the disk."""
        if size <= _SMALL and (data := self._cached(offset, size)):
            return data
        return await on_thread(self._threads, os.pread, self._descriptor, size, offset)

    def close(self) -> None:
        """`Reader.close`; on a thread, as the last close of a deleted blob frees its blocks."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            self._threads.submit(os.close, descriptor)
        except RuntimeError:  # the store is closed, its threads are gone
            os.close(descriptor)

    def _cached(self, offset: int, size: int) -> bytes:
        """Return the bytes if all are readable without waiting (preadv2(2), RWF_NOWAIT); otherwise empty bytes."""
        buffer = bytearray(min(size, max(self.size - offset, 0)))
        try:
            read = os.preadv(self._descriptor, [buffer], offset, os.RWF_NOWAIT)
        except OSError:  # EAGAIN; EOPNOTSUPP where the file system cannot
            return b""
        return bytes(buffer) if read == len(buffer) else b""


class FileWriter:
    """A `Writer` of one ingest."""

    def __init__(self, opened: ingest.Ingest, threads: ThreadPoolExecutor, refs: RefLocks) -> None:
        self._ingest = opened
        self._threads = threads
        self._refs = refs
        self._broken = False
        self._closed = False

    @property
    def status(self) -> IngestStatus:
        """`Writer.status`."""
        return self._ingest.status

    @property
    def digest(self) -> str:
        """`Writer.digest`."""
        return self._ingest.digest

    async def write(self, data: bytes) -> None:
        """`Writer.write`; memory does not grow with the blob, large data are hashed beside the write."""
        self._check()
        self._broken = True  # until all of it is written: after an error the digest is ahead of the file
        if len(data) < _LARGE:
            await on_thread(self._threads, self._append, data)
        else:
            loop = asyncio.get_running_loop()
            hashed = loop.run_in_executor(self._threads, self._ingest.digested, data)
            try:
                await on_thread(self._threads, self._ingest.append, data)
            finally:
                await finished(hashed)
        self._broken = False

    async def truncate(self) -> None:
        """`Writer.truncate`."""
        self._check()
        await on_thread(self._threads, self._ingest.truncate)

    async def commit(self, size: int = 0, expected: str = "", labels: Labels | None = None) -> None:
        """`Writer.commit`; ``labels`` are ignored."""
        self._check()
        try:
            await on_thread(self._threads, self._ingest.commit, size, expected)
        finally:
            await self.close()

    async def close(self) -> None:
        """`Writer.close`."""
        if self._closed:
            return
        self._closed = True
        try:
            await on_thread(self._threads, self._ingest.close)
        finally:
            self._refs.release(self.status.ref)

    def _append(self, data: bytes) -> None:
        self._ingest.append(data)
        self._ingest.digested(data)

    def _check(self) -> None:
        if self._closed:
            raise FailedPrecondition("cannot commit on closed writer")
        if self._broken:
            raise FailedPrecondition(f"ref {self.status.ref}: a write failed; open it again")


def _info(path: Path, digest: str) -> Info | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return Info(digest, found.st_size, {}, found.st_mtime_ns, found.st_mtime_ns)


def _infos(layout: ingest.Layout, digests: Iterable[str]) -> list[Info]:
    return [info for digest in digests if (info := _info(layout.blob(digest), digest)) is not None]


def _digests(layout: ingest.Layout) -> Iterator[str]:
    """Every blob's digest; files with other names are not ours."""
    for folder in layout.blobs.iterdir():
        with os.scandir(folder) as entries:
            for entry in entries:
                if not complaint(digest := f"{folder.name}:{entry.name}"):
                    yield digest


def _statuses(layout: ingest.Layout) -> Iterator[IngestStatus]:
    for folder in layout.ingests.iterdir():
        try:
            yield ingest.status_of(folder)
        except NotFound:  # being committed or removed right now
            continue


def _sweep(layout: ingest.Layout, digests: Collection[str], refs: Collection[str]) -> Swept:
    blobs = ingests = 0
    for digest in [digest for digest in _digests(layout) if digest not in digests]:
        os.unlink(layout.blob(digest))
        blobs += 1
        LOG.debug("removed content", digest=digest)
    kept = {layout.ingest(ref).name for ref in refs}
    for folder in [folder for folder in layout.ingests.iterdir() if folder.name not in kept]:
        ingest.remove(folder)
        ingests += 1
        LOG.debug("removed ingest", folder=folder.name)
    return Swept(blobs, ingests)
