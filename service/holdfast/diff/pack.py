"""Write changes as a layer: OCI whiteouts for deleted files, each directory before its contents.

Equal trees give equal bytes: names in order, owners as numbers, times in whole seconds, a whiteout at 1970, no names of
users, nothing of the host. containerd 2 writes the same bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator

from holdfast.diff import header
from holdfast.diff.archive import ArchiveWriter
from holdfast.diff.change import ChangeKind, FileChange, content, target, xattrs
from holdfast.diff.header import ArchiveEntry
from holdfast.diff.tree import FileTree, Parts, status
from holdfast.diff.unpack import WHITEOUT

_SECOND_NS = 1_000_000_000
_KINDS = {
    stat.S_IFREG: header.REGULAR,
    stat.S_IFDIR: header.DIRECTORY,
    stat.S_IFLNK: header.SYMLINK,
    stat.S_IFCHR: header.CHARACTER,
    stat.S_IFBLK: header.BLOCK_DEVICE,
    stat.S_IFIFO: header.FIFO,
}


class Packing:
    """One layer being written from ``tree``. No time in it is later than ``epoch_ns``."""

    def __init__(
        self,
        tree: FileTree,
        archive: ArchiveWriter,
        epoch_ns: int | None = None,
        go_on: Callable[[], object] = lambda: None,
    ) -> None:
        self._tree = tree
        self._archive = archive
        self._epoch_ns = epoch_ns
        self._go_on = go_on
        self._folders: set[Parts] = {()}  # directories that are in the layer
        self._first: dict[tuple[int, int], bytes] = {}  # the name in the layer of a file with several names
        self._others: dict[tuple[int, int], list[Parts]] = {}  # unchanged names of a file that may still change

    def run(self, changes: Iterable[FileChange]) -> None:
        """Write the whole layer.

        Raises:
            BadLayer: a file changed while it was read.
        """
        for change in changes:
            if change.found is None:
                self._above(change.parts)
                *above, name = change.parts
                self._archive.add(ArchiveEntry(b"/".join((*above, WHITEOUT + name))), plain=True)
            else:
                self._put(change.parts, change.found, changed=change.kind is ChangeKind.PUT)
        self._archive.end()

    def _put(self, parts: Parts, found: os.stat_result, *, changed: bool) -> None:
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None:
            return  # a socket is useless without its process
        identity = (found.st_dev, found.st_ino)
        others: list[Parts] = []
        first = None
        if kind != header.DIRECTORY and found.st_nlink > 1:
            first = self._first.get(identity)
            if first is None and not changed:
                self._others.setdefault(identity, []).append(parts)
                return
            if first is None:
                self._first[identity] = b"/".join(parts)
                others = self._others.pop(identity, [])
        elif not changed:
            return
        entry = self._entry(parts, found, kind)
        if first is not None:
            entry.kind, entry.link, entry.size = header.LINK, first, 0
        self._add(parts, entry)
        for other in others:
            entry.name, entry.kind, entry.link, entry.size = b"/".join(other), header.LINK, b"/".join(parts), 0
            self._add(other, entry)

    def _add(self, parts: Parts, entry: ArchiveEntry) -> None:
        self._above(parts)
        if entry.kind == header.DIRECTORY:
            self._folders.add(parts)
        self._archive.add(entry, self._content(parts) if entry.size else iter(()))

    def _content(self, parts: Parts) -> Iterator[bytes]:
        for piece in content(self._tree, parts):
            self._go_on()
            yield piece

    def _above(self, parts: Parts) -> None:
        """Add the directories above to the layer, with their current attributes."""
        above = parts[:-1]
        if above in self._folders:
            return
        with self._tree.folder(above[:-1]) as folder:
            found = status(folder, above[-1])
        if found is None:
            raise FileNotFoundError(2, os.strerror(2), b"/".join(above))
        self._folders.add(above)
        self._put(above, found, changed=True)

    def _entry(self, parts: Parts, found: os.stat_result, kind: bytes) -> ArchiveEntry:
        mtime_ns = found.st_mtime_ns if self._epoch_ns is None else min(found.st_mtime_ns, self._epoch_ns)
        mtime_ns -= mtime_ns % _SECOND_NS
        name = b"/".join(parts)
        entry = ArchiveEntry(name, kind, found.st_mode & 0o7777, found.st_uid, found.st_gid, mtime_ns=mtime_ns)
        if kind == header.DIRECTORY:
            entry.name += b"/"
        elif kind == header.REGULAR:
            entry.size = found.st_size
        elif kind == header.SYMLINK:
            entry.link = target(self._tree, parts)
        elif kind in (header.CHARACTER, header.BLOCK_DEVICE):
            entry.device = os.major(found.st_rdev), os.minor(found.st_rdev)
        entry.xattrs = xattrs(self._tree, parts, found.st_mode)
        return entry
