"""All hierarchies of the machine, and their detection.

They are found in ``mountinfo`` (proc_pid_mountinfo(5)) below one root. So a container with the host's tree mounted at
another place works in the same way, and so does a fake tree in a temporary directory.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct

from holdfast import kernel_text
from holdfast.cgroups.face import UNIFIED, Foreign, Mode, Tree, checked_path
from holdfast.cgroups.membership import groups_of
from holdfast.cgroups.v1 import V1Tree
from holdfast.cgroups.v2 import V2Tree
from holdfast.errors import KernelRefused, NotFound, ProcessGone

# Mount options of a v1 hierarchy that are not controllers (kernel/cgroup/cgroup-v1.c, cgroup1_show_options).
_FLAGS = frozenset({"rw", "ro", "noprefix", "xattr", "cpuset_v2_mode", "favordynmods", "clone_children"})
#: Groups that one walk visits, nearest first: a subtree's owner can create any number of groups.
MOST_GROUPS = 16_384
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")


class CgroupMount(Struct, frozen=True):
    """One cgroup line of mountinfo: a hierarchy's name, mount point, and whether it is writable.

    ``root`` is the mounted group, as our cgroup namespace sees it: ``/..`` is above the namespace's own root.
    """

    name: str
    point: str
    root: str
    writable: bool

    @property
    def whole(self) -> bool:
        """Whether the mount has all groups of our namespace, under the namespace's names."""
        return self.root == "/"


class Hierarchy:
    """One interface to all mounted hierarchies. ``trees`` by name, v1's first, the unified one last.

    ``writable`` is False when a mount is read-only or we may not write to its root. ``walks_cut`` counts the walks
    that found more than `MOST_GROUPS` groups.
    """

    def __init__(self, trees: Mapping[str, Tree], *, writable: bool = True) -> None:
        self.trees = dict(trees)
        self.writable = writable
        self.walks_cut = 0

    @property
    def mode(self) -> Mode:
        """The mounted versions. A unified tree beside v1's counts as hybrid, with or without controllers."""
        if not self.trees:
            return Mode.NONE
        if UNIFIED not in self.trees:
            return Mode.LEGACY
        return Mode.UNIFIED if len(self.trees) == 1 else Mode.HYBRID

    @property
    def names(self) -> tuple[str, ...]:
        """The hierarchies' names."""
        return tuple(self.trees)

    @property
    def v1_names(self) -> tuple[str, ...]:
        """The v1 hierarchies' names, ``name=`` ones included."""
        return tuple(name for name in self.trees if name != UNIFIED)

    def tree(self, name: str) -> Tree:
        """Return one hierarchy.

        Raises:
            NotFound: no hierarchy of that name is mounted.
        """
        tree = self.trees.get(name)
        if tree is None:
            raise NotFound(f"cgroup hierarchy {name or 'unified'!r} (mounted: {', '.join(map(repr, self.trees))})")
        return tree

    def name_of(self, controller: str) -> str:
        """Return the name of the hierarchy that has a controller.

        Raises:
            NotFound: no hierarchy has it.
        """
        for name, tree in self.trees.items():
            if controller in tree.controllers():
                return name
        raise NotFound(f"cgroup controller {controller!r}")

    def where(self, path: str, names: Collection[str] | None = None) -> tuple[str, ...]:
        """Return the hierarchies (of ``names``) in which the group exists."""
        return tuple(name for name in self._chosen(names) if self.trees[name].exists(path))

    def below(self, tree: Tree, path: str) -> Iterator[str]:
        """Yield the groups below a group, nearest first, at most `MOST_GROUPS`."""
        waiting, seen = deque([path]), 0
        while waiting:
            for child in tree.children(waiting.popleft()):
                if seen >= MOST_GROUPS:
                    self.walks_cut += 1
                    return
                seen += 1
                yield child
                waiting.append(child)

    def create(
        self, path: str, names: Collection[str] | None = None, controllers: Collection[str] = ()
    ) -> tuple[tuple[str, str], ...]:
        """Create the group in ``names`` (None: everywhere), with ``controllers`` on v2; return created (name, path)s.

        Raises:
            InvalidArgument: not a path.
            KernelRefused: the kernel refused it; groups created until then stay.
        """
        path = checked_path(path)
        return tuple((name, made) for name in self._chosen(names) for made in self.tree(name).create(path, controllers))

    def join(self, path: str, pid: int, names: Collection[str] | None = None) -> None:
        """Move a process to the group in ``names`` (None: everywhere).

        Raises:
            ProcessGone: no process has the number.
            KernelRefused: the kernel refused it; moves made until then stay.
        """
        path = checked_path(path)
        for name in self._chosen(names):
            self.tree(name).join(path, pid)

    def _chosen(self, names: Collection[str] | None) -> tuple[str, ...]:
        return tuple(self.trees) if names is None else tuple(names)

    def close(self) -> None:
        """Close the descriptors."""
        for tree in self.trees.values():
            tree.close()


def detect(proc_root: str, cgroup_root: str) -> Hierarchy:
    """Return the hierarchies at or below ``cgroup_root``, by ``<proc_root>/thread-self/mountinfo``; possibly none.

    Raises:
        KernelRefused: mountinfo cannot be read.
    """
    ordered = _chosen_mounts(proc_root, cgroup_root)
    trees: dict[str, Tree] = {
        mount.name: V2Tree(mount.point) if mount.name == UNIFIED else V1Tree(mount.name, mount.point)
        for mount in ordered
    }
    writable = bool(ordered) and all(mount.writable and os.access(mount.point, os.W_OK) for mount in ordered)
    return Hierarchy(trees, writable=writable)


def _chosen_mounts(proc_root: str, cgroup_root: str) -> list[CgroupMount]:
    """Return one mount per hierarchy, a `whole` one if there is one; v1's first."""
    chosen: dict[str, CgroupMount] = {}
    for mount in mounts(_mountinfo(proc_root), cgroup_root):
        known = chosen.get(mount.name)
        if known is None or (mount.whole and not known.whole):
            chosen[mount.name] = mount
    return sorted(chosen.values(), key=lambda mount: mount.name == UNIFIED)  # stable: v1 in mount order


def why_not_the_hosts(proc_root: str, cgroup_root: str) -> Foreign | None:
    """Return why the mounted tree is not the host's tree under the host's names; None when it is.

    By default a container runtime mounts only the container's own branch: a group ``/protected`` created there would be
    inside the container's group.

    Raises:
        KernelRefused: mountinfo cannot be read.
    """
    found = _chosen_mounts(proc_root, cgroup_root)
    if not found:
        return Foreign.UNMOUNTED
    if any(mount.root.startswith("/..") for mount in found):
        return Foreign.NAMESPACE
    if not all(mount.whole for mount in found) or _is_outside_our_namespace(proc_root):
        return Foreign.BRANCH
    return None


def _is_outside_our_namespace(proc_root: str) -> bool:
    """Whether pid 1 is above the root of our cgroup namespace, ``/..``: then the mount's root is ours alone, too."""
    try:
        return any(path.startswith("/..") for path in groups_of(1, proc_root).values())
    except (ProcessGone, KernelRefused):
        return False


def is_below_the_mount(proc_root: str, cgroup_root: str) -> bool:
    """Whether the root of our cgroup namespace is below the root of the mounted tree.

    This is so in a container with its own cgroup namespace and the host's tree mounted into it: there
    ``/proc/PID/cgroup`` has ``/../../system.slice``, which names nothing below the mount.

    Raises:
        KernelRefused: mountinfo cannot be read.
    """
    return any(mount.root.startswith("/..") for mount in mounts(_mountinfo(proc_root), cgroup_root))


def _mountinfo(proc_root: str) -> Iterator[bytes]:
    return kernel_text.each_line(f"{proc_root}/thread-self/mountinfo")


def mounts(mountinfo: Iterable[bytes], cgroup_root: str) -> Iterator[CgroupMount]:
    """Yield the cgroup mounts at or below ``cgroup_root``, in the order of mountinfo's lines.

    A field of another file system may hold a blank that is not escaped (Docker Desktop's 9p options), or be empty; such
    a line is no cgroup mount. A line of a cgroup mount has all fields.
    """
    # 35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
    root = cgroup_root.rstrip("/")
    for line in mountinfo:
        left, _, right = line.partition(b" - ")
        fields, (kind, *rest) = left.split(b" "), right.split(b" ")
        if kind not in (b"cgroup", b"cgroup2") or len(fields) < 6 or not rest:
            continue
        inner, point = (kernel_text.decode(_unescaped(field)) for field in fields[3:5])
        if point != root and not point.startswith(f"{root}/"):
            continue
        options = kernel_text.decode(rest[-1])
        name = UNIFIED if kind == b"cgroup2" else _v1_name(options)
        writable = b"ro" not in fields[5].split(b",") and "ro" not in options.split(",")
        yield CgroupMount(name, point, inner, writable)


def _unescaped(field: bytes) -> bytes:
    """Unescape a field: blank, tab, newline and backslash are three octal digits there (mangle in fs/seq_file.c)."""
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 8),)), field)


def _v1_name(options: str) -> str:
    """``rw,xattr,name=systemd`` → ``name=systemd``: the name in ``/proc/PID/cgroup``."""
    words = options.split(",")
    controllers = [word for word in words if word not in _FLAGS and "=" not in word]
    return ",".join(controllers + [word for word in words if word.startswith("name=")])
