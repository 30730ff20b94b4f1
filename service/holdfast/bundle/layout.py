"""An OCI image layout on disk: a directory, or a tar archive of one.

The layout is not trusted: names are followed part by part and never through a link, only plain files are opened, sizes
are checked before bytes are read, and a blob that does not match its digest is refused.
Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, Protocol

from holdfast.bundle.manifest import (
    INDEX,
    MANIFEST,
    MAX_MANIFEST,
    BlobReference,
    Contents,
    Index,
    contents,
    parsed,
)
from holdfast.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, reason_of
from holdfast.store.digest import check_digest

TAG = "org.opencontainers.image.ref.name"
FRAME = 1 << 20
_MAX_MEMBERS = 10_000  # of an archive; a bundle has at most some hundred blobs


class Files(Protocol):
    """The files of a layout by their names in it."""

    where: str

    def opened(self, name: str) -> AbstractContextManager[tuple[IO[bytes], int]]:
        """Open a file for reading; with its size in bytes.

        Raises:
            NotFound: there is none.
            InvalidArgument: it is a link, or no plain file.
        """


@contextmanager
def layout(path: Path) -> Iterator[Files]:
    """Open the layout at ``path``; a link there is followed, as an operator named the path.

    Raises:
        NotFound, InvalidArgument: there is none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise NotFound(f"{path}: {reason_of(error)}") from error
    with ExitStack() as stack:
        stack.callback(os.close, descriptor)
        files: Files
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            files = _Folder(str(path), descriptor)
        else:
            archive = stack.enter_context(os.fdopen(os.dup(descriptor), "rb"))
            try:
                files = _Archive(str(path), stack.enter_context(tarfile.open(fileobj=archive, mode="r:")))
            except (tarfile.TarError, OSError) as error:
                raise InvalidArgument(f"{path}: neither a directory nor a tar archive: {error}") from error
        _check_version(files)
        yield files


def find(files: Files, reference: str) -> BlobReference:
    """Return the manifest that ``reference`` (a digest or a tag) names; for an empty reference the only one there is.

    Raises:
        NotFound: there is none, or several and no reference; the message lists the existing ones.
    """
    known = parsed(_small(files, "index.json"), Index, f"{files.where}: index.json").manifests
    found = [one for one in known if reference in ("", one.digest, one.note(TAG))]
    if len({one.digest for one in found}) != 1:
        names = ", ".join(one.note(TAG) or one.digest for one in known) or "none"
        if found:
            raise InvalidArgument(f"{files.where}: {reference or 'which one'}? there are {names}")
        raise NotFound(f'{files.where}: "{reference}" is not in index.json; there are {names}')
    chosen = found[0]
    if chosen.media_type == INDEX:
        raise InvalidArgument(
            f"{files.where}: {chosen.digest}: an index of several manifests; a bundle is one manifest"
        )
    if chosen.media_type != MANIFEST:
        raise InvalidArgument(f"{files.where}: {chosen.digest}: mediaType: {chosen.media_type} is not {MANIFEST}")
    return chosen


def read_contents(files: Files, manifest: BlobReference) -> Contents:
    """Return the bundle's contents from its manifest, checked.

    Raises:
        HoldfastError: the manifest is missing, does not match its digest, or is no bundle.
    """
    if manifest.size > MAX_MANIFEST:
        raise ResourceExhausted(f"{files.where}: {manifest.digest}: {manifest.size} bytes are more than {MAX_MANIFEST}")
    return contents(manifest.digest, read_blob(files, manifest.digest, manifest.size))


def read_blob(files: Files, digest: str, size: int) -> bytes:
    """Return one small blob as a whole.

    Raises:
        HoldfastError: as `blob`.
    """
    return b"".join(blob(files, digest, size))


def blob(files: Files, digest: str, size: int) -> Iterator[bytes]:
    """Yield one blob in frames; the last frame comes only if the blob matches ``digest`` and ``size``.

    Raises:
        NotFound, InvalidArgument: it does not exist, or is no plain file.
        FailedPrecondition: it does not match.
    """
    check_digest(digest, f'{files.where}: "{digest}": {{}}')
    algorithm, _, encoded = digest.partition(":")
    hasher, left = hashlib.new(algorithm), size
    with files.opened(f"blobs/{algorithm}/{encoded}") as (file, found):
        if found != size:
            raise FailedPrecondition(f"{files.where}: {digest}: is of {found} bytes, not of {size}")
        while left > 0 and (frame := file.read(min(FRAME, left))):
            hasher.update(frame)
            left -= len(frame)
            if left == 0:
                break
            yield frame
        else:
            frame = b""
    if left or hasher.hexdigest() != encoded:
        raise FailedPrecondition(f"{files.where}: {digest}: its bytes are {algorithm}:{hasher.hexdigest()}")
    yield frame


def _check_version(files: Files) -> None:
    text = _small(files, "oci-layout")
    version = parsed(text, dict[str, object], f"{files.where}: oci-layout").get("imageLayoutVersion")
    if version != "1.0.0":
        raise InvalidArgument(f"{files.where}: oci-layout: version {version} is not 1.0.0")


def _small(files: Files, name: str) -> bytes:
    with files.opened(name) as (file, size):
        if size > MAX_MANIFEST:
            raise ResourceExhausted(f"{files.where}: {name}: {size} bytes are more than {MAX_MANIFEST}")
        return file.read(MAX_MANIFEST)


class _Folder:
    """A layout in a directory."""

    def __init__(self, location: str, descriptor: int) -> None:
        self.where = location
        self._descriptor = descriptor

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """`Files.opened`."""
        *folders, last = name.split("/")
        with ExitStack() as stack:
            parent = self._descriptor
            for folder in folders:
                parent = self._open(parent, folder, os.O_DIRECTORY, name)
                stack.callback(os.close, parent)
            descriptor = self._open(parent, last, os.O_NONBLOCK, name)
            file = stack.enter_context(os.fdopen(descriptor, "rb"))
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise InvalidArgument(f"{self.where}: {name}: not a plain file")
            yield file, about.st_size

    def _open(self, parent: int, name: str, how: int, whole: str) -> int:
        try:
            return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | how, dir_fd=parent)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise NotFound(f"{self.where}: {whole}") from error
            link = error.errno in (errno.ELOOP, errno.ENOTDIR)
            words = f'"{name}" is a link or no directory' if link else reason_of(error)
            raise InvalidArgument(f"{self.where}: {whole}: {words}") from error


class _Archive:
    """A layout in an uncompressed tar archive; its files are read in place."""

    def __init__(self, location: str, archive: tarfile.TarFile) -> None:
        self.where = location
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        for count, member in enumerate(archive):
            if count >= _MAX_MEMBERS:
                raise ResourceExhausted(f"{location}: more than {_MAX_MEMBERS} members")
            self._members[member.name.removeprefix("./")] = member

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """`Files.opened`."""
        member = self._members.get(name)
        if member is None:
            raise NotFound(f"{self.where}: {name}")
        file = self._archive.extractfile(member) if member.isreg() and not member.issparse() else None
        if file is None:  # a link would name another member
            raise InvalidArgument(f"{self.where}: {name}: not a plain file")
        with file:
            yield file, member.size
