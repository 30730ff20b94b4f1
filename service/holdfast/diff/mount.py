"""Mounts as in containerd's API, and the root they make together.

Other processes never see these mounts: a thread takes its own mount namespace, mounts there, opens the root and ends.
Only the descriptor keeps the mounts alive; closing it, or kill -9, ends them. (containerd mounts in a temporary
directory of the host and leaves it there when it is killed.)

Kinds are ``bind`` and ``overlay``, which snapshotters of directories return. Without the right to mount, a single
writable bind is opened at its source.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

from msgspec import Struct
from msgspec.structs import replace

from holdfast.diff import kernel
from holdfast.errors import InvalidArgument, KernelRefused, Unimplemented

RDONLY, REMOUNT, BIND, REC, PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000  # MS_* of linux/mount.h
_PAGE = 4096  # bytes of a mount's data that the kernel accepts

#: fstab option: the flag it sets, or clears.
_SETS = {
    "ro": RDONLY,
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "sync": 0x10,
    "dirsync": 0x80,
    "noatime": 0x400,
    "nodiratime": 0x800,
    "bind": BIND,
    "rbind": BIND | REC,
    "relatime": 0x200000,
    "strictatime": 0x1000000,
}
_CLEARS = {"rw": RDONLY, "suid": 0x2, "dev": 0x4, "exec": 0x8, "async": 0x10, "atime": 0x400, "diratime": 0x800}
_NOTHING = {"defaults"}


class Mount(Struct, frozen=True):
    """One mount, as in fstab but without a target."""

    kind: str
    source: str
    options: tuple[str, ...] = ()

    def parsed(self) -> tuple[int, list[str]]:
        """Return the flags for mount(2), and the remaining options for the file system.

        Raises:
            Unimplemented: an unsupported kind or option.
        """
        if self.kind not in ("bind", "rbind", "overlay", ""):
            raise Unimplemented(f'mount type "{self.kind}"')
        flags = 0 if self.kind == "overlay" else BIND
        data = []
        for option in self.options:
            if option == "loop":
                raise Unimplemented("mount option loop")
            if option in _SETS:
                flags |= _SETS[option]
            elif option in _CLEARS:
                flags &= ~_CLEARS[option]
            elif option not in _NOTHING:
                data.append(option)
        return flags, data

    def read_only(self) -> Mount:
        """Return a read-only copy of the mount: an overlay's upper directory becomes its first lower one."""
        options = [option for option in self.options if option not in ("rw", "ro")]
        if self.kind == "overlay":
            upper = [option[9:] for option in options if option.startswith("upperdir=")]
            lower = [option[9:] for option in options if option.startswith("lowerdir=")]
            options = [option for option in options if not option.startswith(("upperdir=", "lowerdir=", "workdir="))]
            options.append(f"lowerdir={':'.join(upper + lower)}")
        return replace(self, options=(*options, "ro"))


def opened(mounts: Sequence[Mount], place: Path) -> int:
    """Return a descriptor of the root that ``mounts`` make, one over the other; ``place`` is an empty folder.

    Raises:
        InvalidArgument: no mounts, or options longer than the kernel accepts.
        Unimplemented: see `Mount.parsed`.
        KernelRefused: a mount failed.
    """
    if not mounts:
        raise InvalidArgument("mounts must not be empty")
    parsed = [(mount, *mount.parsed()) for mount in mounts]  # all are checked before the first is mounted
    result: list[int | BaseException] = []

    def away() -> None:
        try:
            result.append(_opened_here(parsed, os.fsencode(place)))
        except BaseException as error:  # handed to the caller's thread
            result.append(error)

    thread = Thread(target=away, name="diff-mount")
    thread.start()
    thread.join()
    match result[0]:
        case int(descriptor):
            return descriptor
        case OSError() as error:
            return _unmounted(mounts, parsed[0][1], error)
        case error:
            raise error


def _opened_here(parsed: Sequence[tuple[Mount, int, list[str]]], place: bytes) -> int:
    """Mount and open the root; runs on a thread that ends afterwards, and its namespace with it."""
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_FS)
    kernel.mount(b"none", b"/", b"", REC | PRIVATE, b"")
    for mount, flags, data in parsed:
        _mount(mount, flags, data, place)
    return os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _mount(mount: Mount, flags: int, data: list[str], place: bytes) -> None:
    if sum(map(len, data)) + len(data) > _PAGE - 512:
        data = _shortened(data)
    joined = os.fsencode(",".join(data))
    if len(joined) >= _PAGE:
        raise InvalidArgument(f"mount options are too long: {len(joined)} bytes")
    kind = b"overlay" if mount.kind == "overlay" else b""
    kernel.mount(os.fsencode(mount.source or "none"), place, kind, flags, joined)
    if flags & BIND and flags & RDONLY:  # a bind's flags need a second call
        kernel.mount(b"none", place, b"", flags | REMOUNT, b"")


def _shortened(data: list[str]) -> list[str]:
    """Make an overlay's many lower directories relative to their common path; this thread changes to that path."""
    lower = next((option[9:].split(":") for option in data if option.startswith("lowerdir=")), [])
    if not lower or not all(path.startswith("/") for path in lower):
        return data
    shared = os.path.commonpath([os.path.dirname(path) for path in lower])
    os.chdir(shared)
    relative = ":".join(os.path.relpath(path, shared) for path in lower)
    return [f"lowerdir={relative}" if option.startswith("lowerdir=") else option for option in data]


def _unmounted(mounts: Sequence[Mount], flags: int, error: OSError) -> int:
    """Open a single writable bind whose mount is not permitted; for anything else, raise the kernel's error."""
    source = mounts[0].source
    if error.errno == errno.EPERM and len(mounts) == 1 and flags & BIND and not flags & RDONLY:
        try:
            return os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as refused:
            raise KernelRefused("open", source, refused.errno or 0) from refused
    name = os.fsdecode(error.filename or b"")
    remedy = "CAP_SYS_ADMIN is needed" if error.errno == errno.EPERM else ""
    raise KernelRefused("mount", name, error.errno or 0, remedy) from error
