"""Raw reads and writes of a cgroup file system, and the meaning of its errnos for an operator.

cgroupfs reports errors only in the return value of write(2). A buffered write whose flush fails in a destructor reports
success where nothing moved, so all writes here are ``os.write`` on a raw descriptor.

The meaning of an errno was observed on a machine where noted (see the table), else read in kernel/cgroup/cgroup.c.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection

from holdfast import kernel_text
from holdfast.cgroups.beneath import DIRECTORY, Beneath
from holdfast.cgroups.face import Need, levels, parent
from holdfast.errors import KernelRefused, ProcessGone

PROCS = "cgroup.procs"

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
    errno.EACCES: "the file cannot be written in this group, or the cgroup belongs to another user",
    errno.EBUSY: "the value cannot hold while the group's memory or processes are what they are; lower the use first",
    errno.EROFS: "the cgroup file system is mounted read-only; mount it read-write into the container",
}

#: errno of opening what is no real directory or file below the mount → what it means.
_ELSEWHERE: dict[int, str] = {
    errno.ELOOP: "a link is on the way, and no group is reached through one",
    errno.EXDEV: "it lies outside the mounted hierarchy; run in the host's cgroup namespace",
}


#: errno of opening a directory, where there is no such group.
_NO_GROUP = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENAMETOOLONG})


def _component(name: str) -> str:
    """Return the name of a file or group if it is one component of a path.

    Raises:
        OSError: it is not.
    """
    if not name or "/" in name or name in (".", ".."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
    return name


class Mounted:
    """Common base of the trees of both versions: a mount point and the files below it (see `face.Tree`).

    Everything is opened through real directories below the mount (`beneath`); a file's name is one component.
    """

    def __init__(self, name: str, mount: str) -> None:
        self.name = name
        self.mount = mount
        self._beneath = Beneath(mount)

    def at(self, path: str) -> str:
        """The directory of a group, for messages."""
        return self.mount + path.rstrip("/")

    def exists(self, path: str) -> bool:
        """See `Tree.exists`."""
        try:
            os.close(self._beneath.open(path, DIRECTORY))
        except OSError:
            return False
        return True

    def owner(self, path: str) -> int:
        """See `Tree.owner`."""
        try:
            descriptor = self._beneath.open(path, DIRECTORY)
            try:
                return os.fstat(descriptor).st_uid
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._refused("stat", self.at(path), error, {}) from error

    def inode(self, path: str) -> int:
        """See `Tree.inode`."""
        try:
            descriptor = self._beneath.open(path, DIRECTORY)
        except OSError as error:
            if error.errno in _NO_GROUP:
                return 0
            raise self._refused("open", self.at(path), error, {}) from error  # no descriptor is left …
        try:
            return os.fstat(descriptor).st_ino
        finally:
            os.close(descriptor)

    def create(self, path: str, controllers: Collection[str] = ()) -> tuple[str, ...]:
        """See `Tree.create`; without the steps of one version."""
        del controllers
        return tuple(level for level in levels(path) if self._mkdir(level))

    def needs(self, path: str, controllers: Collection[str] = ()) -> tuple[Need, ...]:
        """See `Tree.needs`; nothing here."""
        del path, controllers
        return ()

    def withdraw(self, need: Need) -> None:
        """See `Tree.withdraw`; nothing here."""

    def join(self, path: str, pid: int, still: Callable[[], bool] | None = None) -> bool:
        """See `Tree.join`."""
        try:
            descriptor = self._beneath.open(f"{path}/{PROCS}", os.O_WRONLY)
            try:
                if still is not None and not still():
                    return False
                os.write(descriptor, b"%d" % pid)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno == errno.ESRCH:
                raise ProcessGone(f"{pid}") from error
            raise self._refused("write", f"{self.at(path)}/{PROCS}", error, JOIN_REMEDIES) from error
        return True

    def members(self, path: str) -> tuple[int, ...]:
        """See `Tree.members`."""
        try:
            return tuple(map(int, self.read(path, PROCS).split()))
        except ValueError:
            raise kernel_text.malformed(f"{self.at(path)}/{PROCS}") from None

    def read(self, path: str, file: str) -> str:
        """See `Tree.read`."""
        try:
            descriptor = self._beneath.open(f"{path}/{_component(file)}", os.O_RDONLY)
            try:
                data = kernel_text.read_open(descriptor, f"{self.at(path)}/{file}")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._refused("read", f"{self.at(path)}/{file}", error, SETTING_REMEDIES) from error
        return kernel_text.decode(data.strip(b" \t\n"))

    def write(self, path: str, file: str, value: str) -> str:
        """See `Tree.write`."""
        self._write(path, file, value, SETTING_REMEDIES)
        return self.read(path, file)

    def _write(self, path: str, file: str, value: str, remedies: dict[int, str]) -> None:
        """Write the whole value at once.

        Raises:
            KernelRefused: the kernel refused it.
        """
        try:
            descriptor = self._beneath.open(f"{path}/{_component(file)}", os.O_WRONLY)
            try:
                os.write(descriptor, kernel_text.encode(value) or b"\n")  # a write of nothing does not reach the file
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._refused("write", f"{self.at(path)}/{file}", error, remedies) from error

    def children(self, path: str) -> tuple[str, ...]:
        """See `Tree.children`."""
        prefix = path.rstrip("/")
        try:
            descriptor = self._beneath.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                with os.scandir(descriptor) as entries:
                    names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            finally:
                os.close(descriptor)
        except OSError:  # removed, hidden from us, or too deep for a path
            return ()
        return tuple(f"{prefix}/{name}" for name in names)

    def remove(self, path: str) -> bool:
        """See `Tree.remove`."""
        try:
            above = self._beneath.open(parent(path), DIRECTORY)
            try:
                os.rmdir(_component(path.rpartition("/")[2]), dir_fd=above)
            finally:
                os.close(above)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
                return False
            raise self._refused("rmdir", self.at(path), error, {}) from error
        return True

    def close(self) -> None:
        """See `Tree.close`."""
        self._beneath.close()

    def _mkdir(self, path: str) -> bool:
        """Create one group; False when it exists already.

        Raises:
            KernelRefused: the kernel refused it, or the path exists and is no directory.
        """
        try:
            above = self._beneath.open(parent(path), DIRECTORY)
            try:
                os.mkdir(_component(path.rpartition("/")[2]), 0o755, dir_fd=above)
            finally:
                os.close(above)
        except FileExistsError:
            return False
        except OSError as error:
            raise self._refused("mkdir", self.at(path), error, MKDIR_REMEDIES) from error
        return True

    def _refused(self, operation: str, path: str, error: OSError, remedies: dict[int, str]) -> KernelRefused:
        number = error.errno or 0
        return KernelRefused(operation, path, number, remedies.get(number) or _ELSEWHERE.get(number, ""))
