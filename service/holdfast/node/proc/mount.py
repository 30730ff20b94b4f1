"""The mounts of pid 1's namespace as they are now, and those of a process's own namespace.

The kernel reuses the number of a mount as soon as the mount is gone, so a table that was read before may name another
one. `InitMounts` reads it again whenever the kernel reports a change, which poll(2) of ``mountinfo`` does
(proc_pid_mounts(5)). The number of a mount that a descriptor of ours keeps is then that mount's alone.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable
from itertools import islice

from msgspec import Struct

from holdfast import kernel_text
from holdfast.process import ProcRoot

MOST_MOUNTS = 4096  # of a process's own namespace that are searched for its program's: a user makes 100,000

#: File systems where every read may wait for a server or another process.
_REMOTE = ("autofs", "fuse", "nfs", "cifs", "smb3", "ceph", "afs", "9p", "ncpfs", "coda", "ocfs2", "gfs2", "glusterfs")
_MOUNTINFO = "1/mountinfo"


class Mount(Struct, frozen=True):
    """One mount. ``device`` is its file system's number, as printed: two mounts of one file system have the same."""

    kind: bytes
    device: bytes
    nosuid: bool
    is_root: bool = False

    @property
    def is_remote(self) -> bool:
        """Whether a read of its files may wait for a server or another process."""
        return self.kind.decode(errors="replace").startswith(_REMOTE)


class InitMounts:
    """The mounts of pid 1's namespace. For one thread."""

    def __init__(self, proc: ProcRoot) -> None:
        self._proc, self._descriptor = proc, -1
        self._change = select.poll()
        self._mounts: dict[int, Mount] = {}
        self._devices: frozenset[bytes] = frozenset()

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def refresh(self) -> bool:
        """Read the table again if it has changed since the last call; return whether it has.

        Raises:
            OSError, KernelRefused: it cannot be read.
        """
        if self._descriptor < 0:
            self._descriptor = os.open(_MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc.fd)
            self._change.register(self._descriptor, select.POLLPRI)
        elif not self._change.poll(0):
            return False
        self._mounts = mounts_of(kernel_text.each_line(_MOUNTINFO, self._proc.fd))
        self._devices = frozenset(mount.device for mount in self._mounts.values() if not mount.is_remote)
        return True

    def get(self, number: int) -> Mount | None:
        """The mount of this number, as of the last `refresh`; None: it is in another namespace."""
        return self._mounts.get(number)

    def has_file_system_of(self, mount: Mount) -> bool:
        """Whether the file system of a mount of any namespace is mounted here, too, where only root mounts."""
        return mount.device in self._devices


def mounts_of(mountinfo: Iterable[bytes]) -> dict[int, Mount]:
    """Mounts by their number, from the lines of mountinfo: proc_pid_mountinfo(5)."""
    return dict(filter(None, map(_mount, mountinfo)))


def mount_among(mountinfo: Iterable[bytes], number: int) -> Mount | None:
    """The mount of this number among the first `MOST_MOUNTS`; None without it."""
    for line in islice(mountinfo, MOST_MOUNTS):
        if line.startswith(b"%d " % number) and (found := _mount(line)):
            return found[1]
    return None


def _mount(line: bytes) -> tuple[int, Mount] | None:
    # 29 1 254:1 / / rw,nosuid,relatime shared:1 - ext4 /dev/vda1 rw
    left, dash, right = line.partition(b" - ")
    if not dash:
        return None
    words = left.split(b" ")
    return int(words[0]), Mount(right.split(b" ", 1)[0], words[2], b"nosuid" in words[5].split(b","), words[4] == b"/")
