"""Interface of one mounted hierarchy of either version, and the check of a cgroup path.

Hierarchies are named as ``/proc/PID/cgroup`` names them (cgroups(7)): ``""`` is the unified one, ``"cpu,cpuacct"``
a v1 hierarchy by its controllers, ``"name=systemd"`` one without. Paths are absolute below the hierarchy's root.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from holdfast.errors import InvalidArgument
from holdfast.kernel_text import encode

UNIFIED = ""
_NAME_MAX = 255


class Mode(enum.StrEnum):
    """The mounted versions: only v1, both, only v2."""

    LEGACY = "legacy"
    HYBRID = "hybrid"
    UNIFIED = "unified"
    NONE = "none"


class Foreign(enum.StrEnum):
    """Reason why the mounted tree is not the host's tree under the host's names, as text for a reader."""

    UNMOUNTED = "no cgroup file system is mounted"
    BRANCH = "this container's own branch of it alone is mounted"
    NAMESPACE = "this container's cgroup namespace is its own, and the host's could not be entered"


class Need(NamedTuple):
    """A change of a group that a group below it needs: ``text`` in ``file``, where it was not before."""

    path: str
    file: str
    text: str


class Tree(Protocol):
    """One hierarchy. Every method raises `KernelRefused`, with a remedy, when the kernel refuses an operation."""

    @property
    def name(self) -> str:
        """Its name in ``/proc/PID/cgroup``."""

    @property
    def mount(self) -> str:
        """The mount point of its root."""

    def controllers(self) -> frozenset[str]:
        """The controllers available at its root; empty for a ``name=`` hierarchy."""

    def at(self, path: str) -> str:
        """The path of the group's directory."""

    def exists(self, path: str) -> bool:
        """Whether there is such a group."""

    def owner(self, path: str) -> int:
        """The owner of the group's directory."""

    def inode(self, path: str) -> int:
        """The inode of the group's directory, another one for each group that was ever made; 0: no such group.

        Raises:
            KernelRefused: it cannot be opened, though it may be there.
        """

    def create(self, path: str, controllers: Collection[str] = ()) -> tuple[str, ...]:
        """Create the group and missing groups above it, ready for `join`; return the created paths, top down.

        v2 enables ``controllers`` on every level down to the group; v1 has no such step.
        """

    def needs(self, path: str, controllers: Collection[str] = ()) -> tuple[Need, ...]:
        """Return the changes that `create` makes to groups that exist, without the root."""

    def withdraw(self, need: Need) -> None:
        """Undo a change of `create` to a group above; nothing happens if another group may need it, or it is gone."""

    def join(self, path: str, pid: int, still: Callable[[], bool] | None = None) -> bool:
        """Move a whole process, by its number (there is no form by pidfd); 0 is the caller itself.

        ``still`` is called directly before the write. If it returns False, nothing is written and the result is False.

        Raises:
            ProcessGone: no process has the number.
        """

    def members(self, path: str) -> tuple[int, ...]:
        """Return the pids in the group itself, not below it."""

    def read(self, path: str, file: str) -> str:
        """Return the text of a group's file, stripped."""

    def write(self, path: str, file: str, value: str) -> str:
        """Write a group's file; return its value afterwards, which the kernel may have rounded."""

    def children(self, path: str) -> tuple[str, ...]:
        """The groups directly below, as paths; none below a path of PATH_MAX bytes."""

    def remove(self, path: str) -> bool:
        """Remove an empty group; False while it holds processes or groups. A group that is gone counts as removed."""

    def close(self) -> None:
        """Close the descriptors."""


def checked_path(path: str) -> str:
    """Return the path with one leading slash, without ``.`` and empty parts; ``a/b`` is accepted, as in containerd.

    Raises:
        InvalidArgument: the path leaves the hierarchy, or is not a valid path of directories.
    """
    parts = [part for part in path.split("/") if part and part != "."]
    for part in parts:
        if part == ".." or "\0" in part or "\n" in part or len(encode(part)) > _NAME_MAX:
            raise InvalidArgument(f"cgroup path {path!r}: no group can be called {part!r}")
    return "/" + "/".join(parts)


def levels(path: str) -> tuple[str, ...]:
    """``/a/b`` → ``("/a", "/a/b")``: every group from the top, without the root."""
    parts = path.strip("/").split("/") if path.strip("/") else []
    return tuple("/" + "/".join(parts[: depth + 1]) for depth in range(len(parts)))


def parent(path: str) -> str:
    """``/a/b`` → ``/a`` → ``/``."""
    return path.rsplit("/", 1)[0] or "/"
