"""The bytes of a cgroup file system: raw reads and writes, and what its errnos mean in an operator's words.

cgroupfs answers in the return value of write(2) alone. A buffered write whose flush fails in a destructor reports
success where nothing moved, so everything here is ``os.write`` on a raw descriptor.

What the errnos mean was met on a machine where noted (see the table), else read in kernel/cgroup/cgroup.c.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Collection

from holdfast.cgroups.face import levels
from holdfast.errors import KernelRefused, ProcessGone

PROCS = "cgroup.procs"
_READ_AT_ONCE = 65536
_KEPT = 64  # open cgroup.procs files: a kept one takes a move in 5 µs, opening it costs 8 µs more

#: errno of a write to ``cgroup.procs`` → what to do about it.
JOIN_REMEDIES: dict[int, str] = {
    errno.EBUSY: "the group has controllers enabled for its children and takes no processes; use a group below it",
    errno.EOPNOTSUPP: "the group is threaded or `domain invalid`; use a group outside that threaded subtree",
    errno.ENOSPC: "its cpuset.cpus or cpuset.mems is empty; set both first",
    errno.EINVAL: "a kernel thread, or a real-time process into a cpu group whose cpu.rt_runtime_us is 0; leave it",
    errno.EACCES: "write access is needed to the cgroup.procs of both groups and of what is above them",
    errno.EPERM: "write access is needed to the cgroup.procs of both groups and of what is above them",
    errno.ENOENT: "the group is gone, or beyond our cgroup namespace's root; run in the host's cgroup namespace",
    errno.EAGAIN: "a limit of the group (pids.max) is reached; raise it",
    errno.EROFS: "the cgroup file system is mounted read-only; mount it read-write into the container",
}
#: errno of mkdir → what to do about it.
MKDIR_REMEDIES: dict[int, str] = {
    errno.EAGAIN: "cgroup.max.descendants or cgroup.max.depth above it is reached; raise it",
    errno.EROFS: "the cgroup file system is mounted read-only; mount it read-write into the container",
    errno.EACCES: "root, or a delegated directory, is needed",
    errno.EPERM: "root, or a delegated directory, is needed",
}
#: errno of a write to ``cgroup.subtree_control`` → what to do about it.
ENABLE_REMEDIES: dict[int, str] = {
    errno.EBUSY: "the group holds processes itself; move them into a child group first (no-internal-process rule)",
    errno.ENOENT: "the controller is not enabled above it; enable it in the parents' cgroup.subtree_control",
    errno.EOPNOTSUPP: "the group is threaded and cannot control a domain resource; choose a path outside it",
    errno.EINVAL: "the controller refuses here (cpu with real-time processes in child groups); move those out first",
}
#: errno of any other write → what to do about it.
SETTING_REMEDIES: dict[int, str] = {
    errno.EINVAL: "the kernel does not take this value for this file",
    errno.ERANGE: "the value is outside what the file takes",
    errno.ENOENT: "the controller is not enabled for this group; enable it in the parents' cgroup.subtree_control",
    errno.EACCES: "the file cannot be written in this group, or the cgroup belongs to somebody else",
    errno.EBUSY: "the value cannot hold while the group's memory or processes are what they are; lower the use first",
    errno.EROFS: "the cgroup file system is mounted read-only; mount it read-write into the container",
}


def read(path: str, name: str) -> str:
    """The file's text, stripped.

    Raises:
        KernelRefused: it cannot be read (the group or the file is not there).
    """
    full = f"{path}/{name}"
    try:
        descriptor = os.open(full, os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(descriptor, _READ_AT_ONCE)
            while len(data) % _READ_AT_ONCE == 0 and (more := os.read(descriptor, _READ_AT_ONCE)):
                data += more
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KernelRefused("read", full, error.errno or 0, SETTING_REMEDIES.get(error.errno or 0, "")) from error
    return data.decode(errors="surrogateescape").strip()


def write(path: str, name: str, value: str, remedies: dict[int, str] = SETTING_REMEDIES) -> None:
    """Write the whole value at once.

    Raises:
        KernelRefused: the kernel said no.
    """
    full = f"{path}/{name}"
    try:
        descriptor = os.open(full, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KernelRefused("write", full, error.errno or 0, remedies.get(error.errno or 0, "")) from error


def mkdir(path: str) -> bool:
    """Make one group; False when it is there already.

    Raises:
        KernelRefused: the kernel said no.
    """
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return False
    except OSError as error:
        raise KernelRefused("mkdir", path, error.errno or 0, MKDIR_REMEDIES.get(error.errno or 0, "")) from error
    return True


def rmdir(path: str) -> bool:
    """Remove one empty group; False while something is in it. One that is gone counts as removed.

    Raises:
        KernelRefused: the kernel said no for another reason.
    """
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise KernelRefused("rmdir", path, error.errno or 0) from error
    return True


class Joins:
    """Moves processes, keeping the ``cgroup.procs`` of the groups used last open.

    A kept descriptor answers ENODEV once its group was removed, and goes on doing so when a group of that name
    returns: it is opened anew. Not for two threads at once.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, int] = OrderedDict()

    def join(self, group: str, pid: int) -> None:
        """Write the number into the group's ``cgroup.procs``.

        Raises:
            ProcessGone: nobody has the number.
            KernelRefused: the kernel said no.
        """
        kept = group in self._kept
        try:
            os.write(self._opened(group), b"%d" % pid)
        except OSError as error:
            if error.errno == errno.ENODEV and kept:
                self._forget(group)
                self.join(group, pid)
                return
            if error.errno == errno.ESRCH:
                raise ProcessGone(f"{pid}") from error
            remedy = JOIN_REMEDIES.get(error.errno or 0, "")
            raise KernelRefused("write", f"{group}/{PROCS}", error.errno or 0, remedy) from error

    def _opened(self, group: str) -> int:
        descriptor = self._kept.get(group)
        if descriptor is None:
            descriptor = self._kept[group] = os.open(f"{group}/{PROCS}", os.O_WRONLY | os.O_CLOEXEC)
            if len(self._kept) > _KEPT:
                os.close(self._kept.popitem(last=False)[1])
        else:
            self._kept.move_to_end(group)
        return descriptor

    def _forget(self, group: str) -> None:
        os.close(self._kept.pop(group))

    def close(self) -> None:
        """Let all of them go."""
        while self._kept:
            os.close(self._kept.popitem()[1])


class Mounted:
    """What the trees of both versions share: a mount point and the files below it (see `face.Tree`)."""

    def __init__(self, name: str, mount: str) -> None:
        self.name = name
        self.mount = mount
        self._joins = Joins()

    def at(self, path: str) -> str:
        """The directory of a group."""
        return self.mount + path.rstrip("/")

    def exists(self, path: str) -> bool:
        """See `Tree.exists`."""
        return os.path.isdir(self.at(path))

    def create(self, path: str, controllers: Collection[str] = ()) -> tuple[str, ...]:
        """See `Tree.create`; without the version's own step."""
        del controllers
        return tuple(level for level in levels(path) if mkdir(self.at(level)))

    def join(self, path: str, pid: int) -> None:
        """See `Tree.join`."""
        self._joins.join(self.at(path), pid)

    def members(self, path: str) -> tuple[int, ...]:
        """See `Tree.members`."""
        return tuple(map(int, read(self.at(path), PROCS).split()))

    def read(self, path: str, file: str) -> str:
        """See `Tree.read`."""
        return read(self.at(path), file)

    def write(self, path: str, file: str, value: str) -> str:
        """See `Tree.write`."""
        write(self.at(path), file, value)
        return read(self.at(path), file)

    def children(self, path: str) -> tuple[str, ...]:
        """See `Tree.children`."""
        prefix = path.rstrip("/")
        try:
            with os.scandir(self.at(path)) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:  # it is gone, or so deep that its path has no room for more
            return ()
        return tuple(f"{prefix}/{name}" for name in names)

    def remove(self, path: str) -> bool:
        """See `Tree.remove`."""
        return rmdir(self.at(path))

    def close(self) -> None:
        """See `Tree.close`."""
        self._joins.close()
