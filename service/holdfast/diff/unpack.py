"""Unpack a layer's entries into files, as OCI says (https://github.com/opencontainers/image-spec/blob/main/layer.md).

Rules:
- Files outside the tree are out of reach, whatever names and links an archive holds and whatever changes the tree
  meanwhile (`FileTree`). A name or a hard link that points outside is refused, not changed.
- An entry replaces a file of its name; a directory over a directory only changes its attributes. Nothing is written
  through a link: files are created with O_EXCL.
- Attributes are set on an open file, in the order owner, xattrs, mode, times: a change of owner clears the two in the
  middle. Directories' times are set last, as later entries change them.
- A device node is refused unless the operator allows it (`Devices`): in a container's root it gives access to a disk.
"""

from __future__ import annotations

import enum
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from holdfast import log
from holdfast.diff import header, kernel
from holdfast.diff.archive import ArchiveReader
from holdfast.diff.header import ArchiveEntry
from holdfast.diff.tree import FOLDER, FileTree, Parts, parts_of, status
from holdfast.errors import BadLayer

LOG = log.named(__name__)

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_LATEST_NS = 2**63 - 1
_DEVICES = {header.CHARACTER: stat.S_IFCHR, header.BLOCK_DEVICE: stat.S_IFBLK}
_SINGLE = {header.REGULAR, header.LINK, header.SYMLINK, header.FIFO, header.DIRECTORY, *_DEVICES}
_UNSUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP)


class Devices(enum.Enum):
    """Treatment of a device node in a layer."""

    REFUSE = "refuse"
    SKIP = "skip"
    CREATE = "create"


class Unpacking:
    """One layer being unpacked into ``tree``. ``go_on`` raises to stop."""

    def __init__(
        self, tree: FileTree, devices: Devices = Devices.REFUSE, go_on: Callable[[], object] = lambda: None
    ) -> None:
        self._tree = tree
        self._devices = devices
        self._go_on = go_on
        self._fresh: set[int] = set()  # hashes of this layer's own paths, which an opaque marker keeps
        self._folders: dict[Parts, tuple[int, int]] = {}
        self._at: tuple[Parts, int] | None = None  # the directory of the last entry, often also of the next

    def run(self, archive: ArchiveReader) -> None:
        """Unpack all entries, and read the stream to its end.

        Raises:
            BadLayer: an entry is refused; entries before it stay unpacked.
            KernelRefused, ResourceExhausted: the file system refused an operation.
        """
        try:
            for entry in archive.entries():
                self._go_on()
                with _named(entry):
                    self._apply(entry, archive.data())
            self._set_times()
        finally:
            self._leave()
        archive.drain()

    def _apply(self, entry: ArchiveEntry, data: Iterator[bytes]) -> None:
        parts = parts_of(entry.name)
        if parts is None:
            raise BadLayer(f"entry {entry.shown}: leads out of the root")
        if not parts:
            return  # the root itself belongs to the snapshotter
        if entry.kind not in _SINGLE:
            raise BadLayer(f"entry {entry.shown}: a kind of entry that is not known: {entry.kind!r}")
        if entry.kind in _DEVICES and self._devices is not Devices.CREATE:
            if self._devices is Devices.SKIP:
                LOG.warning("device node left out", entry=entry.shown)
                return
            raise BadLayer(f"entry {entry.shown}: a device node; see device_nodes of the walking differ")
        *above, name = parts
        directory = self._directory(tuple(above))
        if name == OPAQUE:
            self._empty(tuple(above))
        elif name.startswith(WHITEOUT):
            hidden = name[len(WHITEOUT) :]
            if hidden in (b"", b".", b".."):
                raise BadLayer(f"entry {entry.shown}: invalid whiteout name")
            self._remove(directory, hidden)
        else:
            self._place(entry, parts, directory, data)

    def _place(self, entry: ArchiveEntry, parts: Parts, directory: int, data: Iterator[bytes]) -> None:
        name = parts[-1]
        there = status(directory, name)
        kept = there is not None and stat.S_ISDIR(there.st_mode) and entry.kind == header.DIRECTORY
        if there is not None and not kept:
            self._remove(directory, name)
            directory = self._directory(parts[:-1])
        self._make(entry, directory, name, data, kept=kept)
        self._brought(parts)
        if entry.kind == header.DIRECTORY:
            self._folders[parts] = _times(entry)

    def _make(self, entry: ArchiveEntry, directory: int, name: bytes, data: Iterator[bytes], *, kept: bool) -> None:
        match entry.kind:
            case header.REGULAR:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(name, flags, 0o600, dir_fd=directory)
                try:
                    self._fill(descriptor, data)
                    _dress(entry, descriptor)
                finally:
                    os.close(descriptor)
                return
            case header.DIRECTORY:
                if not kept:
                    os.mkdir(name, 0o700, dir_fd=directory)
            case header.SYMLINK:
                os.symlink(entry.link, name, dir_fd=directory)
            case header.LINK:
                self._link(entry, directory, name)
            case header.FIFO:
                os.mkfifo(name, 0o600, dir_fd=directory)
            case _:
                os.mknod(name, 0o600 | _DEVICES[entry.kind], os.makedev(*entry.device), dir_fd=directory)
        _dress_named(entry, directory, name)

    def _fill(self, descriptor: int, data: Iterator[bytes]) -> None:
        for piece in data:
            self._go_on()
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]

    def _link(self, entry: ArchiveEntry, directory: int, name: bytes) -> None:
        parts = parts_of(entry.link)
        if not parts:
            raise BadLayer(f"entry {entry.shown}: a hard link out of the root")
        folder = self._tree.find_folder(parts[:-1])
        try:
            os.link(parts[-1], name, src_dir_fd=folder, dst_dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(folder)

    def _directory(self, parts: Parts) -> int:
        """Return the directory at ``parts``; create it and its parents if missing."""
        if self._at is not None and self._at[0] == parts:
            return self._at[1]
        descriptor = self._tree.make_folders(parts)
        self._leave()
        self._at = parts, descriptor
        return descriptor

    def _brought(self, parts: Parts) -> None:
        """Remember that this layer has a file at ``parts``, and so below each of its parents."""
        while parts and hash(parts) not in self._fresh:
            self._fresh.add(hash(parts))
            parts = parts[:-1]

    def _leave(self) -> None:
        if self._at is not None:
            os.close(self._at[1])
            self._at = None

    def _remove(self, directory: int, name: bytes) -> None:
        self._tree.remove(directory, name)
        self._leave()  # a name on its path may belong to another file now

    def _empty(self, folder: Parts) -> None:
        """Remove the files that a directory had before this layer."""
        left = [folder]
        while left:
            self._go_on()
            path = left.pop()
            with self._tree.folder(path, follow=True) as directory:
                for name in map(os.fsencode, os.listdir(directory)):
                    child = (*path, name)
                    if hash(child) not in self._fresh:
                        self._tree.remove(directory, name)
                        continue
                    found = status(directory, name)
                    if found is not None and stat.S_ISDIR(found.st_mode):
                        left.append(child)
        self._leave()

    def _set_times(self) -> None:
        for parts, times in self._folders.items():
            try:
                with self._tree.folder(parts, follow=True) as directory:
                    os.utime(directory, ns=times)
            except (FileNotFoundError, NotADirectoryError):  # a later entry replaced it
                continue


def _times(entry: ArchiveEntry) -> tuple[int, int]:
    """Return access and modification time; a time that the kernel cannot store becomes 1970."""
    atime, mtime = (time if 0 <= time <= _LATEST_NS else 0 for time in (entry.atime_ns, entry.mtime_ns))
    return max(atime, mtime), mtime


def _dress_named(entry: ArchiveEntry, directory: int, name: bytes) -> None:
    """Set the attributes of ``name`` without following it."""
    if entry.kind == header.DIRECTORY:
        descriptor = os.open(name, FOLDER | os.O_CLOEXEC, dir_fd=directory)
    else:
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISLNK(mode):
            os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
            _set_xattrs(entry, f"/proc/self/fd/{directory}/{os.fsdecode(name)}", follow=False)
            os.utime(name, ns=_times(entry), dir_fd=directory, follow_symlinks=False)
        elif stat.S_ISDIR(mode):
            _dress(entry, descriptor)
        else:
            _dress(entry, f"/proc/self/fd/{descriptor}")  # the only way for an O_PATH descriptor
    finally:
        os.close(descriptor)


def _dress(entry: ArchiveEntry, target: int | str) -> None:
    os.chown(target, entry.uid, entry.gid)
    _set_xattrs(entry, target)
    os.chmod(target, entry.mode & 0o7777)
    os.utime(target, ns=_times(entry))


def _set_xattrs(entry: ArchiveEntry, target: int | str, *, follow: bool = True) -> None:
    for key, value in entry.xattrs.items():
        if key.startswith(b"trusted."):
            LOG.warning("xattr left out: only the administrator sets it", entry=entry.shown, key=os.fsdecode(key))
            continue
        try:
            os.setxattr(target, key, value, follow_symlinks=follow)
        except OSError as error:
            special = entry.kind not in (header.REGULAR, header.DIRECTORY) and key.startswith(b"user.")
            if error.errno in _UNSUPPORTED or (error.errno == errno.EPERM and special):
                LOG.warning("xattr left out: not supported here", entry=entry.shown, key=os.fsdecode(key))
                continue
            raise


@contextmanager
def _named(entry: ArchiveEntry) -> Iterator[None]:
    """Turn the kernel's error into ours, with the entry's name."""
    try:
        yield
    except OSError as error:
        raise kernel.refusal("unpack entry", entry.shown, error) from error
    except (ValueError, OverflowError) as error:  # a zero byte in an xattr's name, a device number beyond the kernel's
        raise BadLayer(f"entry {entry.shown}: {error}") from error


def sync(tree: FileTree) -> None:
    """Make the unpacked files durable."""
    descriptor = tree.open((), os.O_RDONLY | os.O_DIRECTORY, kernel.NO_SYMLINKS)
    try:
        kernel.syncfs(descriptor)
    finally:
        os.close(descriptor)
