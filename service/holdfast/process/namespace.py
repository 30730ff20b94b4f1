"""Enter a namespace of another process, with the calling thread only (setns(2); Python has it from 3.12)."""

from __future__ import annotations

import ctypes
import os

from holdfast.errors import KernelRefused

NETWORK = 0x40000000  # CLONE_NEWNET
CGROUP = 0x02000000  # CLONE_NEWCGROUP


def enter(path: str, kind: int) -> None:
    """Move the calling thread, and threads it starts from now on, into the namespace at ``path``.

    Raises:
        KernelRefused: opening it (pid 1 has a capability that we lack) or entering it (CAP_SYS_ADMIN) is not permitted.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelRefused("open", path, error.errno or 0, "hostPID, and the capabilities of pid 1") from error
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, kind):
            raise KernelRefused("setns", path, ctypes.get_errno(), "CAP_SYS_ADMIN is needed")
    finally:
        os.close(descriptor)
