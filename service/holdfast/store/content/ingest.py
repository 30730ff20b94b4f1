"""One ingest on disk, and its commit to a blob. Everything here blocks: it runs on the content store's threads.

    ingest/<sha256 of the ref>/about.json    ref, total, time; written whole, before there is data
                               data          the bytes written; its length is the offset
    blobs/<algorithm>/<hex>                  complete and durable from the moment the name exists

Steps of a commit: fsync the data, rename it to the blob's name, fsync that folder, remove the ingest's folder. After a
kill between any two, the store holds the unchanged ingest or the blob; never half of one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from holdfast.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted, reason_of
from holdfast.store.content.interface import FRAME, IngestStatus
from holdfast.store.digest import CANONICAL

_FULL = (errno.ENOSPC, errno.EDQUOT)


class About(msgspec.Struct, frozen=True):
    """Ref, total size and start of an ingest, known before there is data."""

    ref: str
    total: int
    started_at: int


_about = msgspec.json.Decoder(About)


@contextmanager
def disk(action: str) -> Iterator[None]:
    """Turn the error of a full disk into `ResourceExhausted`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ResourceExhausted(f"{action}: {reason_of(error)}") from error
        raise


class Layout(Struct, frozen=True):
    """Paths below a store's root."""

    root: Path

    @property
    def blobs(self) -> Path:
        """The folder of the algorithms' folders."""
        return self.root / "blobs"

    @property
    def ingests(self) -> Path:
        """The folder of the ingests' folders."""
        return self.root / "ingest"

    def blob(self, digest: str) -> Path:
        """A blob's file; ``digest`` was checked."""
        algorithm, _, encoded = digest.partition(":")
        return self.blobs / algorithm / encoded

    def ingest(self, ref: str) -> Path:
        """An ingest's folder: a name of constant length, whatever the ref."""
        return self.ingests / hashlib.sha256(ref.encode()).hexdigest()

    def make(self) -> None:
        """Create the folders that a commit needs."""
        for folder in (self.blobs / CANONICAL, self.ingests):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            sync(folder.parent)
        sync(self.root)


def sync(path: Path) -> None:
    """Make a folder's names, or a file's bytes, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_about(folder: Path) -> About:
    """Return the description in an ingest's folder (``about.json``).

    Raises:
        NotFound: the file cannot be read or decoded.
    """
    try:
        return _about.decode((folder / "about.json").read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise NotFound(f"ingest {folder.name}: {error}") from error


def status_of(folder: Path) -> IngestStatus:
    """Return the status of an ingest from its folder.

    Raises:
        NotFound: it has no data: its creation was not finished, or it is a blob by now.
    """
    about = read_about(folder)
    try:
        data = os.stat(folder / "data")
    except FileNotFoundError as error:
        raise NotFound(f"ingest {about.ref}: no data") from error
    return IngestStatus(
        about.ref, data.st_size, about.total, "", about.started_at, max(about.started_at, data.st_mtime_ns)
    )


def remove(folder: Path) -> bool:
    """Remove an ingest: its ``about.json`` last, so that a half-removed ingest still has its ref."""
    with suppress(FileNotFoundError):
        os.unlink(folder / "data")
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return False
    return True


class Ingest:
    """An open ingest; one thread at a time, but `append` and `digested` may run side by side."""

    def __init__(self, layout: Layout, folder: Path, descriptor: int, status: IngestStatus, digest: Any) -> None:
        self._layout = layout
        self._folder = folder
        self._descriptor = descriptor
        self._hash = digest
        self.status = status

    @property
    def digest(self) -> str:
        """The digest of everything given to `digested`."""
        return f"{CANONICAL}:{self._hash.copy().hexdigest()}"

    def digested(self, data: bytes) -> None:
        """Add ``data`` to the digest."""
        self._hash.update(data)

    def append(self, data: bytes) -> None:
        """Append all of ``data``; after an error the file is as before."""
        end, view = self.status.offset, memoryview(data)
        try:
            with disk(f"write {self.status.ref}"):
                while view:
                    view = view[os.pwrite(self._descriptor, view, end + len(data) - len(view)) :]
        except BaseException:
            os.ftruncate(self._descriptor, end)
            raise
        self._moved_to(end + len(data))

    def truncate(self) -> None:
        """Start again at offset 0."""
        os.ftruncate(self._descriptor, 0)
        self._hash = hashlib.sha256()
        self._moved_to(0)

    def close(self) -> None:
        """Keep the written bytes for the next writer, durable across a power cut."""
        if self._descriptor < 0:
            return
        self._close_data()
        with disk(f"sync {self.status.ref}"), suppress(FileNotFoundError):  # it may be aborted
            sync(self._folder / "about.json")
            sync(self._folder)
            sync(self._folder.parent)

    def commit(self, size: int, expected: str) -> None:
        """Make the ingest a blob (steps: see the module).

        Raises:
            FailedPrecondition: it is closed, or its size or digest is not the announced one; the ingest stays.
            AlreadyExists: the blob exists; the ingest is removed.
        """
        if self._descriptor < 0:
            raise FailedPrecondition("cannot commit on closed writer")
        self._close_data()
        offset, digest = self.status.offset, self.digest
        if size > 0 and size != offset:
            raise FailedPrecondition(f"unexpected commit size {offset}, expected {size}")
        if expected and expected != digest:
            raise FailedPrecondition(f"unexpected commit digest {digest}, expected {expected}")
        target = self._layout.blob(digest)
        if target.exists():
            remove(self._folder)
            raise AlreadyExists(f"content {digest}")
        with disk(f"commit {self.status.ref}"):
            try:
                os.rename(self._folder / "data", target)
            except FileNotFoundError as error:
                raise NotFound(f'ingest ref "{self.status.ref}"') from error  # it was aborted meanwhile
            now = time.time_ns()  # the kernel's own stamp is up to a tick old
            os.utime(target, ns=(now, now))
            os.chmod(target, 0o444)
            sync(target.parent)
        remove(self._folder)

    def _close_data(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        try:
            with disk(f"sync {self.status.ref}"):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _moved_to(self, offset: int) -> None:
        old = self.status
        self.status = IngestStatus(old.ref, offset, old.total, "", old.started_at, time.time_ns())


def open_ingest(layout: Layout, ref: str, total: int) -> Ingest:
    """Begin ``ref``, or continue it: existing bytes are read once, for the digest.

    An ingest that announced another total, or has no readable description, starts again.
    """
    folder = layout.ingest(ref)
    with disk(f"open {ref}"):
        try:
            status = status_of(folder)
            fresh = status.ref != ref or (total > 0 and status.total not in (0, total))
        except NotFound:
            fresh = True
        if fresh:
            _describe(folder, About(ref, total, time.time_ns()))
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if fresh else 0)
        descriptor = os.open(folder / "data", flags, 0o644)
    try:
        digest = hashlib.sha256()
        offset = 0
        while chunk := os.pread(descriptor, FRAME, offset):
            digest.update(chunk)
            offset += len(chunk)
        status = status_of(folder)
    except BaseException:
        os.close(descriptor)
        raise
    return Ingest(layout, folder, descriptor, status, digest)


def _describe(folder: Path, about: About) -> None:
    remove(folder)
    folder.mkdir(mode=0o755)
    temporary = folder / "about.tmp"
    temporary.write_bytes(msgspec.json.encode(about))
    os.rename(temporary, folder / "about.json")
