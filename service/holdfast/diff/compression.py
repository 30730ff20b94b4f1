"""Media types of layers and their compression. zstd is imported when a layer needs it."""

from __future__ import annotations

import importlib
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from holdfast.errors import BadLayer, Unimplemented

OCI = "application/vnd.oci.image.layer.v1.tar"
OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
DOCKER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"

#: Media types that `Diff` writes, and their compression.
WRITTEN = {
    OCI: "",
    f"{OCI}+gzip": "gzip",
    f"{OCI}+zstd": "zstd",
    DOCKER: "",
    f"{DOCKER}.gzip": "gzip",
    f"{DOCKER}.zstd": "zstd",
}

_CHUNK = 1 << 20
_GZIP = 31  # zlib's window bits for a gzip header; its time is 0, so that the digest is reproducible
_LEVEL = 6


class Packer(Protocol):
    """Interface of a stream's compressor."""

    def compress(self, data: bytes, /) -> bytes:
        """Return packed bytes, possibly none yet."""

    def flush(self) -> bytes:
        """Return the remaining packed bytes."""


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def packer(media_type: str) -> Packer:
    """Return the packer for a layer of this media type.

    Raises:
        Unimplemented: there is none.
    """
    match WRITTEN.get(media_type):
        case "":
            return _Plain()
        case "gzip":
            return zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        case "zstd":
            made: Packer = _zstd().ZstdCompressor()
            return made
    raise Unimplemented(f"unsupported diff media type: {media_type}")


def may_be_packed(media_type: str) -> bool:
    """Whether a layer's first bytes must be examined; an OCI type without a compression is a plain tar.

    Raises:
        Unimplemented: not the type of a layer.
    """
    base, *more = media_type.split("+")
    if base in (OCI, OCI_FOREIGN):
        return sorted(more)[-1:] in (["gzip"], ["zstd"])
    # Docker's types were written for packed and unpacked layers alike.
    if base in (
        DOCKER,
        DOCKER_FOREIGN,
        *(f"{name}.{packing}" for name in (DOCKER, DOCKER_FOREIGN) for packing in ("gzip", "zstd")),
    ):
        return not more
    raise Unimplemented(f"failed to get stream processor for {media_type}: no processor for media-type")


def unpacked(chunks: Iterator[bytes], media_type: str) -> Iterator[bytes]:
    """Yield the tar in ``chunks``, in pieces of at most 1 MiB: at any compression ratio, memory does not grow.

    Raises:
        BadLayer: the data are corrupt or truncated.
        Unimplemented: see `may_be_packed`.
    """
    if not may_be_packed(media_type):
        return chunks
    head = b""
    while len(head) < 8 and (more := next(chunks, None)) is not None:
        head += more
    rest = _with(head, chunks)
    if head[:3] == b"\x1f\x8b\x08":
        return _members(rest, "gzip", lambda: zlib.decompressobj(_GZIP), zlib.error)
    if head[:4] == b"\x28\xb5\x2f\xfd" or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        zstd = _zstd()
        return _members(rest, "zstd", lambda: _Zstd(zstd), zstd.ZstdError)
    return rest


def _with(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from chunks


class _Zstd:
    """A zstd frame's decompressor with zlib's interface; it keeps unconsumed input."""

    unconsumed_tail = b""

    def __init__(self, zstd: Any) -> None:
        self._frame = zstd.ZstdDecompressor()

    def decompress(self, data: bytes, most: int) -> bytes:
        unpacked: bytes = self._frame.decompress(data, most)
        return unpacked

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    @property
    def unused_data(self) -> bytes:
        unused: bytes = self._frame.unused_data
        return unused


class _More(bytes):
    """Empty bytes that are true: the input given already has more output."""

    def __bool__(self) -> bool:
        return True


_MORE = _More()


def _members(chunks: Iterator[bytes], name: str, new: Callable[[], Any], failure: type[Exception]) -> Iterator[bytes]:
    """The members (gzip) or frames (zstd) of a stream, one after the other."""
    member: Any = None
    for chunk in chunks:
        data = chunk
        while data:
            if member is None:
                if name == "gzip" and not data.strip(b"\0"):
                    break  # padding, as gzip(1) allows
                member = new()
            try:
                piece = member.decompress(data, _CHUNK)
            except failure as error:
                raise BadLayer(f"the {name} stream is broken: {error}") from error
            if piece:
                yield piece
            if member.eof:
                data = member.unused_data
            else:  # after a piece of full length, more output may be left
                data = member.unconsumed_tail or (_MORE if len(piece) == _CHUNK else b"")
            if member.eof:
                member = None
    if member is not None:
        raise BadLayer(f"the {name} stream ends early")


def _zstd() -> Any:
    """Return Python's own zstd module from 3.14 on, and its backport before."""
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unimplemented(f"zstd: {name} cannot be imported ({error}); pip install backports.zstd") from error
