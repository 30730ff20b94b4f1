"""The walking differ: apply a layer to mounts, and write the difference of two sets of mounts as a layer.

All blocking work runs on threads; blobs and their namespaces are left to the given content store.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct, field

from holdfast import log
from holdfast.diff import compression, kernel, mount
from holdfast.diff.archive import ArchiveReader, ArchiveWriter
from holdfast.diff.bridge import Job, Sink, chunks
from holdfast.diff.change import changes
from holdfast.diff.mount import Mount
from holdfast.diff.pack import Packing
from holdfast.diff.tree import FileTree
from holdfast.diff.unpack import Devices, Unpacking, sync
from holdfast.errors import AlreadyExists, BadLayer, HoldfastError, NotFound, ResourceExhausted

LOG = log.named(__name__)

UNCOMPRESSED = "containerd.io/uncompressed"
_DEFAULT_TYPE = f"{compression.OCI}+gzip"
_THREADS = 4  # layers at a time


class Layer(Struct, frozen=True):
    """The descriptor of a layer's blob."""

    media_type: str
    digest: str
    size: int


class Wanted(Struct, frozen=True):
    """Options of a comparison, as in containerd."""

    media_type: str = ""
    ref: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    epoch_ns: int | None = None


class LayerLimits(Struct, frozen=True):
    """Limits of a layer. ``unpacked_bytes`` of 0: no limit but the disk."""

    unpacked_bytes: int = 0
    devices: Devices = Devices.REFUSE


class BlobStore(Protocol):
    """The methods needed of a content store; `store.content.ContentStore` has them."""

    async def info(self, digest: str) -> Any:
        """Return a blob's size and labels; raises `NotFound`."""

    async def update(self, info: Any, mask: Sequence[str] = ()) -> Any:
        """Change labels."""

    async def reader(self, digest: str) -> Any:
        """Open a blob."""

    async def writer(self, ref: str, total: int = 0, expected: str = "") -> Any:
        """Begin an ingest."""

    async def abort(self, ref: str) -> None:
        """Remove an ingest."""


class WalkingDiffer:
    """Differ that walks mounted trees; ``place`` is an empty folder of ours for mounts that no other process sees."""

    def __init__(self, place: Path, limits: Callable[[], LayerLimits]) -> None:
        self._place = place
        self._limits = limits
        self._threads = ThreadPoolExecutor(_THREADS, "diff")

    async def close(self) -> None:
        """Wait for the work in progress."""
        await asyncio.to_thread(self._threads.shutdown)

    async def apply(self, content: BlobStore, layer: Layer, mounts: Sequence[Mount], *, durable: bool = False) -> Layer:
        """Unpack ``layer`` onto ``mounts``; return the tar inside, whose digest is the diff id.

        Raises:
            NotFound: the namespace has no such blob.
            BadLayer: an entry is refused; entries before it stay unpacked.
            Unimplemented: an unsupported media type or mount.
            KernelRefused, ResourceExhausted: the kernel refused an operation.
        """
        compression.may_be_packed(layer.media_type)
        with _saying("failed to get reader from content store"):
            reader = await content.reader(layer.digest)
        job = Job()
        began = time.monotonic()
        try:
            applied = await job.run(self._threads, lambda: self._applied(job, reader, layer, mounts, durable))
        except (BadLayer, ResourceExhausted) as error:
            raise type(error)(f"layer {layer.digest}: {error.message}") from error
        finally:
            reader.close()
        LOG.debug("diff applied", digest=layer.digest, size=layer.size, seconds=round(time.monotonic() - began, 3))
        return applied

    async def compare(self, content: BlobStore, left: Sequence[Mount], right: Sequence[Mount], wanted: Wanted) -> Layer:
        """Write the changes from ``left`` to ``right`` as a blob.

        Raises:
            Unimplemented, KernelRefused, ResourceExhausted, BadLayer: see `apply`.
            Unavailable: another writer holds the ref.
        """
        media_type = wanted.media_type or _DEFAULT_TYPE
        packer = compression.packer(media_type)
        async with _ingest(content, wanted.ref) as writer:
            job = Job()
            work = lambda: self._packed(job, writer, packer, (left, right), wanted.epoch_ns)  # noqa: E731
            uncompressed = await job.run(self._threads, work)
            labels = dict(wanted.labels)
            if compression.WRITTEN[media_type]:
                labels[UNCOMPRESSED] = uncompressed
            digest = writer.digest
            with suppress(AlreadyExists), _saying("failed to commit"):
                await writer.commit(0, digest, labels)
        info = await content.info(digest)
        if compression.WRITTEN[media_type] and UNCOMPRESSED not in info.labels:  # another writer made the blob
            info.labels[UNCOMPRESSED] = uncompressed
            await content.update(info, (f"labels.{UNCOMPRESSED}",))
        return Layer(media_type, digest, info.size)

    def _applied(self, job: Job, reader: Any, layer: Layer, mounts: Sequence[Mount], durable: bool) -> Layer:
        limits = self._limits()
        measure = _Measure(limits.unpacked_bytes)
        archive = ArchiveReader(measure.through(compression.unpacked(chunks(job, reader), layer.media_type)))
        tree = FileTree(mount.opened(mounts, self._place))
        try:
            Unpacking(tree, limits.devices, job.go_on).run(archive)
            if durable:
                sync(tree)
        except OSError as error:
            raise kernel.refusal("unpack", layer.digest, error) from error
        finally:
            tree.close()
        return Layer(compression.OCI, measure.digest, measure.size)

    def _packed(
        self,
        job: Job,
        writer: Any,
        packer: compression.Packer,
        sides: tuple[Sequence[Mount], Sequence[Mount]],
        epoch_ns: int | None,
    ) -> str:
        """Write the layer; return the digest of the tar inside."""
        sink, digest = Sink(job, writer), hashlib.sha256()

        def write(data: bytes) -> None:
            digest.update(data)
            sink.write(packer.compress(data))

        try:
            with ExitStack() as stack:
                left, right = (self._read_only(side, stack) for side in sides)
                archive = ArchiveWriter(write)
                if right is None:
                    archive.end()
                else:
                    Packing(right, archive, epoch_ns, job.go_on).run(changes(left, right, job.go_on))
        except OSError as error:
            raise kernel.refusal("read", os.fsdecode(error.filename or b"the tree"), error) from error
        sink.write(packer.flush())
        sink.flush()
        return f"sha256:{digest.hexdigest()}"

    def _read_only(self, mounts: Sequence[Mount], stack: ExitStack) -> FileTree | None:
        """Return the read-only tree that mounts make; None for no mounts, an empty tree."""
        if not mounts:
            return None
        tree = FileTree(mount.opened([one.read_only() for one in mounts], self._place))
        stack.callback(tree.close)
        return tree


class _Measure:
    """Size and digest of the bytes that pass through."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sha256 = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._sha256.hexdigest()}"

    def through(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._sha256.update(piece)
            self.size += len(piece)
            if self._limit and self.size > self._limit:
                raise BadLayer(f"unpacks to more than {self._limit} bytes; see max_unpacked of the walking differ")
            yield piece


@asynccontextmanager
async def _ingest(content: BlobStore, ref: str) -> AsyncIterator[Any]:
    """Open an ingest at its start; one with a ref of our own is removed after an error."""
    name = ref or f"{time.time_ns()}-{base64.urlsafe_b64encode(os.urandom(3)).decode()}"
    with _saying("failed to open writer"):
        writer = await content.writer(name)
    try:
        if ref:
            await writer.truncate()
        yield writer
    except BaseException:
        await writer.close()
        if not ref:
            with suppress(NotFound):
                await content.abort(name)
        raise
    finally:
        await writer.close()


@contextmanager
def _saying(prefix: str) -> Iterator[None]:
    """Put containerd's words before those of the content store."""
    try:
        yield
    except HoldfastError as error:
        raise type(error)(f"{prefix}: {error.message}") from error
