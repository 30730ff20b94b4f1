"""System calls that Python does not have, through libc: openat2, unshare, mount, syncfs.

openat2(2) makes a walk below a directory safe: with RESOLVE_IN_ROOT every link is followed as in a chroot, with
RESOLVE_NO_SYMLINKS no link is followed, whatever other processes rename meanwhile.
"""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache

from holdfast.errors import HoldfastError, KernelRefused, ResourceExhausted

NO_MAGICLINKS = 0x02  # RESOLVE_* of linux/openat2.h
NO_SYMLINKS = 0x04
IN_ROOT = 0x10

FULL = (errno.ENOSPC, errno.EDQUOT)

CLONE_FS = 0x200
CLONE_NEWNS = 0x20000

_OPENAT2 = 437  # the same number on every architecture (since Linux 5.6)
_AGAIN = 64  # retries: a rename elsewhere makes the walk through ".." start again


def refusal(operation: str, name: str, error: OSError) -> HoldfastError:
    """Return the kernel's error as ours: `ResourceExhausted` for a full disk, which the caller can empty."""
    code = error.errno or 0
    if code in FULL:
        return ResourceExhausted(f"{operation} {name}: {os.strerror(code).lower()}")
    return KernelRefused(operation, name, code)


class _How(ctypes.Structure):
    """``struct open_how``."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """Return a descriptor of ``path`` below ``directory``; "" is the directory itself.

    Raises:
        OSError: as open(2); ELOOP and EXDEV where ``resolve`` forbids the path.
        KernelRefused: the kernel has no openat2.
    """
    how = _How(flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(_AGAIN):
        opened = int(_libc().syscall(_OPENAT2, directory, path or b".", ctypes.byref(how), ctypes.sizeof(how)))
        if opened >= 0:
            return opened
        if (code := ctypes.get_errno()) not in (errno.EAGAIN, errno.EINTR):
            break
    if code == errno.ENOSYS:
        raise KernelRefused("openat2", os.fsdecode(path), code, "Linux 5.6 or newer is needed")
    raise OSError(code, os.strerror(code), path)


def unshare(flags: int) -> None:
    """Give the calling thread its own namespaces and working directory (unshare(2))."""
    _check(_libc().unshare(flags), b"mount namespace")


def mount(source: bytes, target: bytes, kind: bytes, flags: int, data: bytes) -> None:
    """Mount ``source`` at ``target`` (mount(2))."""
    _check(_libc().mount(source, target, kind, ctypes.c_ulong(flags), data or None), source)


def syncfs(descriptor: int) -> None:
    """Write out the file system that ``descriptor`` is on (syncfs(2))."""
    _check(_libc().syncfs(descriptor), b"syncfs")


def _check(result: int, path: bytes) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
