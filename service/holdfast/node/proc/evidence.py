"""Which keys of a rule are facts for a process: those that an unprivileged user cannot have forged.

Theory
------
* **exe.** The program is a file that root owns and others may not write, every directory on its path *in pid 1's root*
  is writable by root alone, and the file at that path there is the very inode that runs. So a link, a bind mount in a
  private mount namespace, a container's file of that name or a changed root does not count.
* **A replaced program.** An upgrade unlinks the file under a running daemon, and ``exe`` ends in `` (deleted)``. The
  reader keeps what it established before by (pid, start, device, inode, path); an inode is not reused while it runs.
  After our own restart only the inode is left: root owns it, others cannot write it, and it runs through the very
  *mount of pid 1's namespace* that its directory is on (a mount id belongs to one namespace), below directories that
  root alone can write. In that namespace only root mounts, and only root creates a file in such a directory, so no user
  can have been at that path. Through a mount of another namespace nothing can be decided: a file bound over the path
  there looks alike. The key is *undecided*: it starts no protection and ends none.
* **File systems whose owners the kernel does not vouch for.** A user's FUSE file system or a user's disk shows files as
  root's. Where users may mount, the mount is ``nosuid``: the kernel does not trust its owners, and neither does the
  reader. It does not look further at FUSE and network file systems, because a read may never return; it reads their
  type from ``mountinfo``, which waits for no server. It follows no link, and it mounts nothing (automounts). A memfd,
  an overlay or a tmpfs of a user namespace is another inode on another device than the path of pid 1's root.
* **cgroup.** Root owns, and others cannot write, every directory from the root of the hierarchy to the group, and the
  files by which a process is moved in. A delegated subtree is its owner's claim.
* **pod.** The container's group is such a group, below the kubelet's own root group; where a container runtime names
  the pod, it also names this very group for the container.

Directories are cached until `forget` (the next rescan); the program and the group itself are checked each time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from holdfast import kernel_text, log
from holdfast.cgroups import UNIFIED, Hierarchy, Tree
from holdfast.errors import HoldfastError, reason_of
from holdfast.node.model.evidence import EXECUTED, NOT_READ, Evidence
from holdfast.node.model.process import Process
from holdfast.process import OpenProcess, ProcRoot, start_ticks_of

LOG = log.named(__name__)

EXE, CGROUP, POD = EVERY_KEY = ("exe", "cgroup", "pod")
DELETED = " (deleted)"
MOST_PLACES = 4096  # directories, and groups, whose writers are cached
MOST_KEPT = 16_384  # programs established before; beyond that the oldest are checked again
MOST_MOUNTS = 4096  # of a process's own namespace that are searched for its program's: a user makes 100,000

_ROOT_OF_INIT = "1/root"
_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
#: File systems where every look may wait for a server or another process.
_REMOTE = ("autofs", "fuse", "nfs", "cifs", "smb3", "ceph", "afs", "9p", "ncpfs", "coda", "ocfs2", "gfs2", "glusterfs")
_DOORS = ("cgroup.procs", "cgroup.threads", "tasks")  # files of a group that move a process into it
_KUBEPODS = ("kubepods", "kubepods.slice")


class _Mount(Struct, frozen=True):
    kind: bytes
    nosuid: bool
    is_root: bool = False

    @property
    def is_remote(self) -> bool:
        return self.kind.decode(errors="replace").startswith(_REMOTE)


class _Folder(Struct, frozen=True):
    """A directory of pid 1's root: why others than root can write there (else empty), and the number of its mount."""

    why: str
    mount: int = -1


class _Program(Struct, frozen=True):
    start_ticks: int
    device: int
    inode: int
    path: str


class EvidenceReader:
    """Establishes which keys are facts. For one thread."""

    def __init__(self, proc: ProcRoot, hierarchy: Hierarchy) -> None:
        self._proc, self._hierarchy = proc, hierarchy
        self._kept: dict[int, _Program] = {}
        self._folders: dict[str, _Folder] = {}
        self._groups: dict[tuple[str, str], str] = {}
        self._mounts: dict[int, _Mount | None] = {}
        self._kubelet_root = ""
        self._root = _ROOT_OF_INIT  # the prefix of a path of pid 1's root

    def copy(self) -> EvidenceReader:
        """A reader for another thread, which knows the programs that were established so far."""
        other = EvidenceReader(self._proc, self._hierarchy)
        other._kept = self._kept.copy()
        other._kubelet_root = self._kubelet_root
        return other

    def forget(self) -> None:
        """Drop the cached directories, groups and mounts, and find the kubelet's group if it is not known."""
        self._folders.clear()
        self._groups.clear()
        self._mounts.clear()
        self._find_kubelet()

    def gone(self, pid: int) -> None:
        """Forget a process that ended."""
        self._kept.pop(pid, None)

    def attach(
        self, process: Process, keys: Collection[str], opened: OpenProcess | None = None, *, line: bool = False
    ) -> Process:
        """Return ``process`` with evidence for ``keys``; with ``line`` its ancestors, too. Failed reads do not raise.

        Read through ``opened`` where there is one, else by pid.
        """
        if process.kernel_thread or not keys:
            return process
        fd, prefix = (opened.fd, "") if opened is not None else (self._proc.fd, f"{process.pid}/")
        seen = replace(process, evidence=self._of(process, keys, fd, prefix))
        if not line:
            return seen
        ancestors = tuple(
            replace(one, evidence=self._of(one, keys, self._proc.fd, f"{one.pid}/")) for one in process.ancestors
        )
        return replace(seen, ancestors=ancestors)

    @property
    def kubelet_root(self) -> str:
        """The kubelet's own root group, as it was last found; empty while there is none."""
        return self._kubelet_root

    def _find_kubelet(self) -> None:
        """Find the kubelet's root group where it is not known or is gone; log it once."""
        tree = self._memory_tree()
        if tree is None or (self._kubelet_root and tree.exists(self._kubelet_root)):
            return
        found = next((path for path in _kubepods(tree) if not self._group(tree, path)), "")
        if found and found != self._kubelet_root:
            LOG.info("the kubelet's group", cgroup=found)
        self._kubelet_root = found

    def _of(self, process: Process, keys: Collection[str], fd: int, prefix: str) -> Evidence:
        exe, undecided = self._exe(process, fd, prefix) if EXE in keys else (NOT_READ, False)
        return Evidence(
            exe,
            self._cgroup(process) if CGROUP in keys else NOT_READ,
            self._pod(process) if POD in keys else NOT_READ,
            (EXE,) if undecided else (),
        )

    # -- programs --------------------------------------------------------------------------------------------------

    def _exe(self, process: Process, fd: int, prefix: str) -> tuple[str, bool]:
        """Return why the program is a claim (empty: a fact), and whether that is undecided."""
        try:
            descriptor = os.open(f"{prefix}exe", os.O_PATH | os.O_CLOEXEC, dir_fd=fd)
        except OSError as error:
            return f"the program cannot be read: {reason_of(error)}", False
        try:
            link = os.readlink(f"{prefix}exe", dir_fd=fd)
            if link.removesuffix(DELETED) != process.exe:
                return EXECUTED, True
            if prefix and start_ticks_of(_read(self._proc.fd, f"{prefix}stat")) != process.start_ticks:
                return "the process ended", False
            return self._program(process, link, descriptor, f"{prefix}mountinfo", fd)
        except (OSError, ValueError, HoldfastError) as error:
            return f"the program cannot be read: {error}", False
        finally:
            os.close(descriptor)

    def _program(self, process: Process, link: str, descriptor: int, mountinfo: str, fd: int) -> tuple[str, bool]:
        path = link.removesuffix(DELETED)
        number = self._mount_id(descriptor)
        if why := self._unbelieved(link, number, mountinfo, fd):
            return why, False
        file = os.fstat(descriptor)
        program = _Program(process.start_ticks, file.st_dev, file.st_ino, path)
        was_established = link != path and self._kept.get(process.pid) == program
        why = _writable(link, file) or ("" if was_established else self._folder(os.path.dirname(path)).why)
        if not why and not was_established and not (self._is_there(link, file) or self._is_there(path, file)):
            if link == path:
                why = f"{path} of the host is another file"
            elif not self._is_of_init(number):
                words = "was replaced, and the process has a mount namespace of its own: start it again"
                return f"{path} {words}", True
            elif number != self._folder(os.path.dirname(path)).mount:
                why = f"{path} was on another mount than its directory"
        if not why:
            self._keep(process.pid, program)
        return why, False

    def _unbelieved(self, link: str, number: int, mountinfo: str, fd: int) -> str:
        """Return why the owners on a program's mount prove nothing, else empty; checked before the file is read."""
        of_init = self._mount_of_init(number)
        mount = of_init or _mount_among(kernel_text.each_line(mountinfo, fd), number)
        if mount is None:
            return f"{link} lies on a mount that is no longer in use, or one of more than {MOST_MOUNTS}"
        if mount.is_remote:
            return f"{link} lies on {mount.kind.decode(errors='replace')}, where owners are its server's word"
        if of_init is not None and of_init.nosuid:
            return f"{link} lies on a nosuid mount, whose owners are not trusted"
        return ""

    def _keep(self, pid: int, program: _Program) -> None:
        if len(self._kept) >= MOST_KEPT and pid not in self._kept:
            self._kept.pop(next(iter(self._kept)))
        self._kept[pid] = program

    def _is_there(self, path: str, file: os.stat_result) -> bool:
        """Whether this inode is at ``path`` of pid 1's root; only root can write its directory: no link is on it."""
        try:
            descriptor = os.open(f"{self._root}{path}", _PATH, dir_fd=self._proc.fd)
        except OSError:
            return False
        try:
            mount = self._mount_of_init(self._mount_id(descriptor))  # a file may be a mount of its own
            if mount is None or mount.is_remote or mount.nosuid:
                return False
            found = os.fstat(descriptor)
            return (found.st_dev, found.st_ino) == (file.st_dev, file.st_ino)
        finally:
            os.close(descriptor)

    # -- directories of pid 1's root ---------------------------------------------------------------------------------

    def _folder(self, path: str) -> _Folder:
        folder = self._folders.get(path)
        if folder is None:
            if len(self._folders) >= MOST_PLACES:
                self._folders.clear()
            try:
                folder = self._walk(path)
            except OSError as error:
                folder = _Folder(f"{path} of the host cannot be read: {reason_of(error)}")
            self._folders[path] = folder
        return folder

    def _walk(self, path: str) -> _Folder:
        """Check each directory down to ``path``; where one is gone, only root can have made what was below it."""
        at, here, number = self._open_root(), "", -1
        try:
            for part in ("", *filter(None, path.split("/"))):
                if part:
                    try:
                        below = os.open(part, _PATH, dir_fd=at)
                    except FileNotFoundError:
                        break
                    os.close(at)
                    at, here = below, f"{here}/{part}"
                number = self._mount_id(at)
                mount = self._mount_of_init(number)
                if mount is None or mount.is_remote:
                    return _Folder(f"{here or '/'} lies on a file system whose owners are its server's word")
                found = os.fstat(at)
                if not stat.S_ISDIR(found.st_mode):  # O_DIRECTORY would trigger an automount
                    return _Folder(f"{here} of the host is no directory")
                if why := _writable(here or "/", found):
                    return _Folder(why)
            return _Folder("", number)
        finally:
            os.close(at)

    def _open_root(self) -> int:
        """Open pid 1's root; our own where that one is closed to us (CAP_SYS_PTRACE) and ours is the same mount."""
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        try:
            descriptor = os.open(_ROOT_OF_INIT, flags, dir_fd=self._proc.fd)
        except PermissionError:
            descriptor = os.open("/", flags)
            mount = self._mount_of_init(self._mount_id(descriptor))
            if mount is None or not mount.is_root:
                os.close(descriptor)
                raise
            self._root = ""
        else:
            self._root = _ROOT_OF_INIT
        return descriptor

    def _mount_id(self, descriptor: int) -> int:
        # pos:	0 … mnt_id:	29 … ino:	1234
        text = _read(self._proc.fd, f"thread-self/fdinfo/{descriptor}")
        return int(text.partition(b"mnt_id:")[2].split(None, 1)[0])

    def _mount_of_init(self, number: int) -> _Mount | None:
        """The mount of this number in pid 1's namespace; None: it is in another namespace."""
        if number not in self._mounts:
            self._mounts.update(_mounts(kernel_text.each_line("1/mountinfo", self._proc.fd)))
        return self._mounts.setdefault(number)

    def _is_of_init(self, number: int) -> bool:
        """Whether pid 1's namespace has this mount now; read again, because the kernel reuses numbers of mounts."""
        return number in _mounts(kernel_text.each_line("1/mountinfo", self._proc.fd))

    # -- groups ------------------------------------------------------------------------------------------------------

    def _cgroup(self, process: Process) -> str:
        if not process.cgroups:
            return "its cgroups were not read"
        for name, path in process.place:
            tree = self._hierarchy.trees.get(name)
            if tree is None:
                return f"the {name or 'unified'} hierarchy is not mounted here"
            if why := self._group(tree, path):
                return why
        return ""

    def _group(self, tree: Tree, path: str) -> str:
        """Return why others than root can write to a group, else empty; only groups above it are from the cache."""
        if path.endswith(DELETED) or "/.." in path:
            return f"{path} is not below the mounted tree"
        parts = [part for part in path.split("/") if part]
        try:
            for depth in range(len(parts)):
                above = f"/{'/'.join(parts[:depth])}"
                key = (tree.name, above)
                why = self._groups.get(key)
                if why is None:
                    if len(self._groups) >= MOST_PLACES:
                        self._groups.clear()
                    why = self._groups[key] = _closed(tree, above)
                if why:
                    return why
            return _closed(tree, path) or next(filter(None, (_door(tree, path, name) for name in _DOORS)), "")
        except OSError as error:
            return f"{path} cannot be read: {reason_of(error)}"

    # -- pods --------------------------------------------------------------------------------------------------------

    def _pod(self, process: Process) -> str:
        pod = process.pod
        if pod is None:
            return "it is in no pod"
        if pod.namespace and not pod.group_confirmed:
            return f"the container runtime has not named {pod.group} as its container's group"
        if not self._kubelet_root:
            self._find_kubelet()
        root = self._kubelet_root
        if not pod.group_confirmed and not (root and pod.group.startswith(f"{root}/")):
            return f"{pod.group} is not below the kubelet's own group{f' {root}' if root else ', which was not found'}"
        name, path = process.place[0]
        tree = self._hierarchy.trees.get(name)
        if tree is None:
            return f"the {name or 'unified'} hierarchy is not mounted here"
        if path != pod.group and not path.startswith(f"{pod.group}/"):
            return f"it is in {path} of the {name or 'unified'} hierarchy, not in {pod.group}"
        return self._group(tree, pod.group)

    def _memory_tree(self) -> Tree | None:
        trees = self._hierarchy.trees
        return next((tree for name, tree in trees.items() if "memory" in name.split(",")), trees.get(UNIFIED))


def _kubepods(tree: Tree) -> Iterator[str]:
    """Yield groups that may be the kubelet's root: at the top, or one level below (``--cgroup-root``, kind)."""
    try:
        top = tuple(tree.children("/"))
        yield from (path for path in top if path[1:] in _KUBEPODS)
        for above in top:
            for path in tree.children(above):
                name = path.rpartition("/")[2]
                if name in _KUBEPODS or name.endswith("-kubepods.slice"):
                    yield path
    except HoldfastError:  # a group went meanwhile
        return


def _writable(name: str, found: os.stat_result) -> str:
    """Why others than root can write to ``name``; else empty. An ACL shows in the group's bits (acl(5))."""
    if found.st_uid:
        return f"{name} is writable by uid {found.st_uid}"
    if found.st_mode & _BY_OTHERS:
        return f"{name} is writable by {'others' if found.st_mode & stat.S_IWOTH else f'group {found.st_gid}'}"
    return ""


def _closed(tree: Tree, path: str) -> str:
    return _writable(path, os.stat(tree.at(path)))


def _door(tree: Tree, path: str, name: str) -> str:
    try:
        return _writable(f"{path.rstrip('/')}/{name}", os.stat(os.path.join(tree.at(path), name)))
    except FileNotFoundError:
        return ""


def _mounts(mountinfo: Iterable[bytes]) -> dict[int, _Mount]:
    """Mounts by their number, from the lines of mountinfo: proc_pid_mountinfo(5)."""
    return dict(filter(None, map(_mount, mountinfo)))


def _mount_among(mountinfo: Iterable[bytes], number: int) -> _Mount | None:
    """The mount of this number among the first `MOST_MOUNTS`; None without it."""
    for line in islice(mountinfo, MOST_MOUNTS):
        if line.startswith(b"%d " % number) and (found := _mount(line)):
            return found[1]
    return None


def _mount(line: bytes) -> tuple[int, _Mount] | None:
    # 29 1 254:1 / / rw,nosuid,relatime shared:1 - ext4 /dev/vda1 rw
    left, dash, right = line.partition(b" - ")
    if not dash:
        return None
    words = left.split(b" ")
    return int(words[0]), _Mount(right.split(b" ", 1)[0], b"nosuid" in words[5].split(b","), words[4] == b"/")


def _read(fd: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)
