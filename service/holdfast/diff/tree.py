"""A directory tree held by a descriptor, with walks that no process outside can lead out of the tree.

Every path given to the kernel starts at a descriptor inside the tree: names are looked up by openat2 with
RESOLVE_IN_ROOT or RESOLVE_NO_SYMLINKS, and every operation acts on a name in an open directory, without following it.
A link that is swapped in meanwhile leads into the tree, or to an error.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from holdfast.diff import kernel

Parts = tuple[bytes, ...]

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_LINKS_MAX = 40  # the kernel's limit


def parts_of(path: bytes) -> Parts | None:
    """Return ``path`` below a root, without ``.``, ``..`` and a leading slash; None when it leads above the root."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            if not parts:
                return None
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return tuple(parts)


class FileTree:
    """The tree below ``root``, a directory's descriptor that `close` closes."""

    def __init__(self, root: int) -> None:
        self.root = root

    def close(self) -> None:
        """Close the descriptor; mounts that only it kept alive end."""
        root, self.root = self.root, -1
        if root >= 0:
            os.close(root)

    def open(self, parts: Sequence[bytes], flags: int, resolve: int = kernel.NO_SYMLINKS) -> int:
        """Return a descriptor of the file at ``parts``.

        Raises:
            OSError: as open(2); ELOOP for a link on the path that ``resolve`` does not follow.
        """
        return kernel.openat2(self.root, b"/".join(parts), flags, kernel.IN_ROOT | kernel.NO_MAGICLINKS | resolve)

    @contextmanager
    def folder(self, parts: Sequence[bytes], *, follow: bool = False) -> Iterator[int]:
        """Open a directory for its names and for listing; ``follow``: follow links on the path, inside the tree."""
        resolve = kernel.IN_ROOT if follow else kernel.NO_SYMLINKS
        flags = os.O_RDONLY | os.O_DIRECTORY | (0 if follow else os.O_NOFOLLOW)
        descriptor = self.open(parts, flags, resolve)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def make_folders(self, parts: Parts) -> int:
        """Open the directory at ``parts``, creating missing directories.

        A link is followed inside the tree, also one whose target must be created.

        Raises:
            OSError: a part of the path is no directory, or links form a loop.
        """
        with suppress(FileNotFoundError):
            return self.open(parts, os.O_RDONLY | os.O_DIRECTORY, kernel.IN_ROOT)
        return self.open(self._walked(parts, self._step), FOLDER)

    def find_folder(self, parts: Parts) -> int:
        """Open the directory at ``parts``, following links inside the tree; ``..`` may follow a missing name.

        For a link to ``missing/../etc`` the kernel requires ``missing``; containerd and this method do not.

        Raises:
            OSError: as `make_folders`, and when the directory does not exist.
        """
        with suppress(FileNotFoundError):
            return self.open(parts, os.O_RDONLY | os.O_DIRECTORY, kernel.IN_ROOT)
        return self.open(self._walked(parts, self._target), FOLDER)

    def remove(self, directory: int, name: bytes) -> None:
        """Remove ``name`` in ``directory`` and all below it; do nothing if it does not exist.

        Only names in open directories are removed: a directory that is swapped for a link meanwhile stays, or the
        link itself is removed.
        """
        if _unlinked(directory, name):
            return
        top = FileTree(directory)
        left: list[Parts] = [(name,)]
        while left:
            path = left[-1]
            below = []
            with suppress(FileNotFoundError), top.folder(path) as folder:
                below = [child for child in names(folder) if not _unlinked(folder, child)]
            if below:
                left += [(*path, child) for child in below]
                continue
            left.pop()
            with suppress(FileNotFoundError), top.folder(path[:-1]) as parent:
                os.rmdir(path[-1], dir_fd=parent)

    def _walked(self, parts: Parts, step: Callable[[Sequence[bytes], bytes], bytes | None]) -> list[bytes]:
        """Return ``parts`` without links and ``..``; ``step`` returns the target of a link."""
        done: list[bytes] = []
        left = list(parts)
        links = 0
        while left:
            name = left.pop(0)
            if name == b"..":
                del done[-1:]
            elif name not in (b"", b"."):
                target = step(done, name)
                if target is None:
                    done.append(name)
                else:
                    links += 1
                    left = target.split(b"/") + left
                    if target.startswith(b"/"):
                        done = []
            if links > _LINKS_MAX:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return done

    def _target(self, done: Sequence[bytes], name: bytes) -> bytes | None:
        """Return the target of ``name`` in ``done``; None if it is no link or does not exist."""
        with suppress(FileNotFoundError), self.folder(done) as parent:
            found = status(parent, name)
            return os.readlink(name, dir_fd=parent) if found is not None and stat.S_ISLNK(found.st_mode) else None
        return None

    def _step(self, done: Sequence[bytes], name: bytes) -> bytes | None:
        """Create the directory ``name`` in ``done`` if it is missing; return the target if it is a link."""
        with self.folder(done) as parent:
            try:
                os.mkdir(name, 0o755, dir_fd=parent)
            except FileExistsError:
                mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
                if stat.S_ISLNK(mode):
                    return os.readlink(name, dir_fd=parent)
                if not stat.S_ISDIR(mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
                return None
            descriptor = os.open(name, FOLDER | os.O_CLOEXEC, dir_fd=parent)
            try:
                os.fchmod(descriptor, 0o755)  # whatever our umask is
            finally:
                os.close(descriptor)
            return None


def names(directory: int) -> list[bytes]:
    """Return the names in an open directory, in the order of their bytes."""
    return sorted(map(os.fsencode, os.listdir(directory)))


def status(directory: int, name: bytes) -> os.stat_result | None:
    """Return the stat of ``name`` in ``directory``, not following a link; None when it does not exist."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _unlinked(directory: int, name: bytes) -> bool:
    """Remove ``name`` unless it is a directory; False for a directory."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except (IsADirectoryError, PermissionError):
        found = status(directory, name)
        if found is None:
            return True
        if not stat.S_ISDIR(found.st_mode):
            raise
        return False
    return True
