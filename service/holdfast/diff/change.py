"""Compare two trees: both are walked in step, in the order of their names' bytes.

A deleted directory is one change that implies the deletion of its contents. Files are equal when mode, owner, device,
kept xattrs, size and time are; where neither time has a fraction, an archive may have cut it off, and the content
decides. Rule and order are containerd's, so that both make the same layer of the same trees.
"""

from __future__ import annotations

import enum
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

from msgspec import Struct

from holdfast.diff.tree import FileTree, Parts, names, status

_SECOND_NS = 1_000_000_000
_CHUNK = 1 << 20
_NO_XATTR = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODATA)


class ChangeKind(enum.Enum):
    """Kind of a change."""

    SAME = "same"  # only for files with several names, as one of them may have changed
    PUT = "put"
    DELETED = "deleted"


class FileChange(Struct, frozen=True):
    """One change; ``found`` is the newer tree's file, None for a deleted one."""

    kind: ChangeKind
    parts: Parts
    found: os.stat_result | None = None


def changes(left: FileTree | None, right: FileTree, go_on: Callable[[], object] = lambda: None) -> Iterator[FileChange]:
    """Yield every change from ``left`` (None: an empty tree) to ``right``. ``go_on`` raises to stop."""
    todo: list[Iterator[FileChange]] = [_within(left, right, ())]
    while todo:
        go_on()
        change = next(todo[-1], None)
        if change is None:
            todo.pop()
        elif change.kind is not ChangeKind.DELETED and change.found is not None and stat.S_ISDIR(change.found.st_mode):
            below = left if _is_folder(left, change.parts) else None
            if change.kind is ChangeKind.PUT:
                yield change
            todo.append(_within(below, right, change.parts))
        else:
            yield change


def xattrs(tree: FileTree, parts: Parts, mode: int) -> dict[bytes, bytes]:
    """Return the xattrs that a layer keeps: capabilities and ``user.`` ones."""
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return {}  # the kernel allows neither kind there
    descriptor = tree.open(parts, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        kept = [key for key in _listed(descriptor) if key.startswith("user.") or key == "security.capability"]
        found = {}
        for key in kept:
            with suppress(OSError):  # removed since it was listed
                found[os.fsencode(key)] = os.getxattr(descriptor, key)
        return found
    finally:
        os.close(descriptor)


def _within(left: FileTree | None, right: FileTree, parts: Parts) -> Iterator[FileChange]:
    """Yield the changes of one directory's own entries; directories that stay are SAME."""
    before = _listing(left, parts) if left else {}
    after = _listing(right, parts)
    for name in sorted(before.keys() | after.keys()):
        path = (*parts, name)
        old, new = before.get(name), after.get(name)
        if new is None:
            yield FileChange(ChangeKind.DELETED, path)
        elif old is None or left is None or not _same(left, right, path, old, new):
            yield FileChange(ChangeKind.PUT, path, new)
        elif stat.S_ISDIR(new.st_mode) or new.st_nlink > 1:
            yield FileChange(ChangeKind.SAME, path, new)


def _listing(tree: FileTree, parts: Parts) -> dict[bytes, os.stat_result]:
    with tree.folder(parts) as folder:
        listed = ((name, status(folder, name)) for name in names(folder))
        return {name: found for name, found in listed if found is not None}


def _is_folder(tree: FileTree | None, parts: Parts) -> bool:
    if tree is None:
        return False
    try:
        with tree.folder(parts):
            return True
    except (FileNotFoundError, NotADirectoryError):
        return False


def _same(left: FileTree, right: FileTree, parts: Parts, old: os.stat_result, new: os.stat_result) -> bool:
    if (old.st_dev, old.st_ino) == (new.st_dev, new.st_ino):
        return True
    if (old.st_mode, old.st_uid, old.st_gid, old.st_rdev) != (new.st_mode, new.st_uid, new.st_gid, new.st_rdev):
        return False
    if xattrs(left, parts, old.st_mode) != xattrs(right, parts, new.st_mode):
        return False
    return stat.S_ISDIR(new.st_mode) or _same_file(left, right, parts, old, new)


def _same_file(left: FileTree, right: FileTree, parts: Parts, old: os.stat_result, new: os.stat_result) -> bool:
    if (old.st_size, old.st_mtime_ns // _SECOND_NS) != (new.st_size, new.st_mtime_ns // _SECOND_NS):
        return False
    if old.st_mtime_ns % _SECOND_NS or new.st_mtime_ns % _SECOND_NS:
        return old.st_mtime_ns == new.st_mtime_ns
    if stat.S_ISLNK(new.st_mode):
        return target(left, parts) == target(right, parts)
    return not stat.S_ISREG(new.st_mode) or _same_content(left, right, parts)


def target(tree: FileTree, parts: Parts) -> bytes:
    """Return a link's target."""
    with tree.folder(parts[:-1]) as folder:
        return os.readlink(parts[-1], dir_fd=folder)


def content(tree: FileTree, parts: Parts) -> Iterator[bytes]:
    """Yield a file's bytes.

    Raises:
        OSError: it is no longer a regular file.
    """
    descriptor = tree.open(parts, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        while piece := os.read(descriptor, _CHUNK):
            yield piece
    finally:
        os.close(descriptor)


def _same_content(left: FileTree, right: FileTree, parts: Parts) -> bool:
    ours, theirs = content(left, parts), content(right, parts)
    try:
        return all(piece == next(theirs, b"") for piece in ours) and not next(theirs, b"")
    finally:
        ours.close()  # type: ignore[attr-defined]
        theirs.close()  # type: ignore[attr-defined]


def _listed(descriptor: int) -> list[str]:
    try:
        return os.listxattr(descriptor)
    except OSError as error:
        if error.errno in _NO_XATTR:
            return []
        raise
