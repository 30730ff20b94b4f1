"""Open files and directories below a mount, through real directories only, never outside the mount.

A group's path comes from ``/proc/PID/cgroup``, a rule or the journal, and names directories below the hierarchy's
mount. openat2(2) resolves the path from a descriptor of the mount and refuses links, and mounts below it; ``..`` is
refused before.
Where the kernel (before 5.6) or a container's seccomp filter has no openat2, the path is resolved one component after
the other.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from contextlib import suppress

_OPENAT2 = 437  # on every architecture
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x01, 0x02, 0x04, 0x08
_RESOLVE = _NO_XDEV | _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH
_HOW = struct.Struct("=QQQ")  # struct open_how: flags, mode, resolve
_NO_GROUPS = frozenset((".", ".."))
_ABSENT = (errno.ENOSYS, errno.EPERM)  # errors of an old kernel and of a seccomp filter
DIRECTORY = os.O_PATH | os.O_DIRECTORY


class Beneath:
    """One mount, opened at first use. For any thread."""

    def __init__(self, mount: str) -> None:
        self.mount = mount
        self._descriptor = -1
        self._openat2 = True

    def open(self, path: str, flags: int) -> int:
        """Open ``path`` (``/`` is the mount itself); the caller closes the descriptor.

        Raises:
            OSError: as open(2); ELOOP or EXDEV for a link or another mount, EXDEV for ``..``.
        """
        parts = path.split("/")
        if not _NO_GROUPS.isdisjoint(parts) or "\0" in path:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        if self._descriptor < 0:
            self._descriptor = os.open(self.mount, DIRECTORY | os.O_CLOEXEC)
        flags |= os.O_CLOEXEC
        if self._openat2:
            try:
                return _openat2(self._descriptor, path.strip("/") or ".", flags)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
            self._openat2 = _has_openat2()
        return walk(self._descriptor, [part for part in parts if part], flags)

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


def _openat2(base: int, path: str, flags: int) -> int:
    how = _HOW.pack(flags, 0, _RESOLVE)
    opened: int = _libc().syscall(_OPENAT2, base, path.encode("utf-8", "surrogateescape"), how, _HOW.size)
    if opened < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return opened


def _has_openat2() -> bool:
    """Whether openat2 works: an EPERM came from the kernel for a file, not from a seccomp filter for the call."""
    try:
        os.close(_openat2(_AT_FDCWD, ".", DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in _ABSENT
    return True


_AT_FDCWD = -100
_loaded: list[ctypes.CDLL] = []


def _libc() -> ctypes.CDLL:
    if not _loaded:
        _loaded.append(ctypes.CDLL(None, use_errno=True))
    return _loaded[0]


def walk(base: int, parts: list[str], flags: int) -> int:
    """Open without openat2: one component after the other, no link followed, the result on the base's file system."""
    *folders, last = parts or ["."]
    at = os.dup(base)
    try:
        device = os.fstat(base).st_dev
        for folder in folders:
            below = os.open(folder, DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        found = os.open(last, flags | os.O_NOFOLLOW, dir_fd=at)
        if os.fstat(found).st_dev != device:
            os.close(found)
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), "/".join(parts))
        return found
    finally:
        os.close(at)
