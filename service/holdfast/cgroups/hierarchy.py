"""All hierarchies of the machine together, and how they are found.

Found in ``mountinfo`` (proc_pid_mountinfo(5)) below one root, so that a container that has the host's tree mounted
at another place works the same, and a fake tree in a temporary directory does too.
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
#: Groups that one walk visits, those nearer to its beginning first: who owns a subtree makes as many as it likes.
MOST_GROUPS = 16_384
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")


class Mount(Struct, frozen=True):
    """One line of mountinfo that is a cgroup file system: a hierarchy's name, where, and whether it can be written.

    ``root`` is the group that is mounted, as our cgroup namespace sees it: ``/..`` is above the namespace's own root.
    """

    name: str
    point: str
    root: str
    writable: bool

    @property
    def whole(self) -> bool:
        """Whether all groups that our namespace knows are there, by the names it knows them by."""
        return self.root == "/"


class Hierarchy:
    """One face over every mounted hierarchy. ``trees`` by name, v1's first, the unified one last.

    ``writable`` is False when a mount is read-only or we may not write to its root. ``walks_cut`` counts the walks that
    met more than `MOST_GROUPS` groups.
    """

    def __init__(self, trees: Mapping[str, Tree], *, writable: bool = True) -> None:
        self.trees = dict(trees)
        self.writable = writable
        self.walks_cut = 0

    @property
    def mode(self) -> Mode:
        """Which versions there are. A unified tree beside v1's counts as hybrid, with or without controllers."""
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
        """One hierarchy.

        Raises:
            NotFound: nothing of that name is mounted.
        """
        tree = self.trees.get(name)
        if tree is None:
            raise NotFound(f"cgroup hierarchy {name or 'unified'!r} (mounted: {', '.join(map(repr, self.trees))})")
        return tree

    def name_of(self, controller: str) -> str:
        """The hierarchy that has a controller.

        Raises:
            NotFound: none has.
        """
        for name, tree in self.trees.items():
            if controller in tree.controllers():
                return name
        raise NotFound(f"cgroup controller {controller!r}")

    def where(self, path: str, names: Collection[str] | None = None) -> tuple[str, ...]:
        """In which hierarchies (of ``names``) the group exists."""
        return tuple(name for name in self._chosen(names) if self.trees[name].exists(path))

    def below(self, tree: Tree, path: str) -> Iterator[str]:
        """The groups below one, those nearer to it first, and no more than `MOST_GROUPS`."""
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
        """Make the group in ``names`` (None: everywhere), with ``controllers`` on v2; what was made, as (name, path).

        Raises:
            InvalidArgument: not a path.
            KernelRefused: the kernel said no; what was made until then stays.
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
        """Let descriptors go."""
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


def _chosen_mounts(proc_root: str, cgroup_root: str) -> list[Mount]:
    """One mount a hierarchy, a whole one where there is one; v1's first."""
    chosen: dict[str, Mount] = {}
    for mount in mounts(_mountinfo(proc_root), cgroup_root):
        known = chosen.get(mount.name)
        if known is None or (mount.whole and not known.whole):
            chosen[mount.name] = mount
    return sorted(chosen.values(), key=lambda mount: mount.name == UNIFIED)  # stable: v1 in mount order


def why_not_the_hosts(proc_root: str, cgroup_root: str) -> Foreign | None:
    """Why what is mounted is not the host's tree under the host's names; None when it is.

    A container runtime mounts a container's own branch unless it is told otherwise: what would be written to
    ``/protected`` there would land inside the container's group.

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
    """Whether pid 1 is above the root of our cgroup namespace, ``/..``: the mount's root is then ours alone, too."""
    try:
        return any(path.startswith("/..") for path in groups_of(1, proc_root).values())
    except (ProcessGone, KernelRefused):
        return False


def is_below_the_mount(proc_root: str, cgroup_root: str) -> bool:
    """Whether our cgroup namespace begins somewhere below the tree that is mounted for us.

    So it is in a container of its own cgroup namespace with the host's tree mounted into it: there
    ``/proc/PID/cgroup`` says ``/../../system.slice``, which names nothing below the mount.

    Raises:
        KernelRefused: mountinfo cannot be read.
    """
    return any(mount.root.startswith("/..") for mount in mounts(_mountinfo(proc_root), cgroup_root))


def _mountinfo(proc_root: str) -> Iterator[bytes]:
    return kernel_text.each_line(f"{proc_root}/thread-self/mountinfo")


def mounts(mountinfo: Iterable[bytes], cgroup_root: str) -> Iterator[Mount]:
    """The cgroup mounts at or below ``cgroup_root``, in the order of mountinfo's lines.

    A field of another file system may hold a blank that is not escaped (Docker Desktop's 9p options), or be empty; such
    a line is not ours. In a line of ours all fields are there.
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
        yield Mount(name, point, inner, writable)


def _unescaped(field: bytes) -> bytes:
    """A blank, a tab, a newline and a backslash are three octal digits there (mangle in fs/seq_file.c)."""
    return _ESCAPE.sub(lambda match: bytes((int(match[1], 8),)), field)


def _v1_name(options: str) -> str:
    """``rw,xattr,name=systemd`` → ``name=systemd``: as ``/proc/PID/cgroup`` has it."""
    words = options.split(",")
    controllers = [word for word in words if word not in _FLAGS and "=" not in word]
    return ",".join(controllers + [word for word in words if word.startswith("name=")])
