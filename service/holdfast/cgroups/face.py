"""Interface of one mounted hierarchy of either version, and the check of a cgroup path.

Hierarchies are named as ``/proc/PID/cgroup`` names them (cgroups(7)): ``""`` is the unified one, ``"cpu,cpuacct"``
a v1 hierarchy by its controllers, ``"name=systemd"`` one without. Paths are absolute below the hierarchy's root.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection
from typing import Protocol

from holdfast.errors import InvalidArgument
from holdfast.kernel_text import encode

UNIFIED = ""
_NAME_MAX = 255


class Mode(enum.StrEnum):
    """Which versions are mounted: only v1, both, only v2."""

    LEGACY = "legacy"
    HYBRID = "hybrid"
    UNIFIED = "unified"
    NONE = "none"


class Foreign(enum.StrEnum):
    """Why what is mounted is not the host's tree under the host's names, as a reader is told it."""

    UNMOUNTED = "no cgroup file system is mounted"
    BRANCH = "this container's own branch of it alone is mounted"
    NAMESPACE = "this container's cgroup namespace is its own, and the host's could not be entered"


class Tree(Protocol):
    """One hierarchy. Every method raises `KernelRefused` for what the kernel refuses, with a remedy."""

    @property
    def name(self) -> str:
        """Its name in ``/proc/PID/cgroup``."""

    @property
    def mount(self) -> str:
        """Where its root is mounted."""

    def controllers(self) -> frozenset[str]:
        """The controllers available at its root; empty for a ``name=`` hierarchy."""

    def at(self, path: str) -> str:
        """Where the group's directory is."""

    def exists(self, path: str) -> bool:
        """Whether there is such a group."""

    def create(self, path: str, controllers: Collection[str] = ()) -> tuple[str, ...]:
        """Make the group and what is missing above it, ready to be joined; the paths made, top down.

        v2 enables ``controllers`` all the way down to the group; v1 has no such step.
        """

    def join(self, path: str, pid: int, still: Callable[[], bool] | None = None) -> bool:
        """Move a whole process, by its number (there is no form by pidfd); 0 is the caller itself.

        ``still`` is called directly before the write. If it returns False, nothing is written and the result is False.

        Raises:
            ProcessGone: no process has the number.
        """

    def members(self, path: str) -> tuple[int, ...]:
        """The pids in the group itself, not below it."""

    def read(self, path: str, file: str) -> str:
        """One file of a group, stripped."""

    def write(self, path: str, file: str, value: str) -> str:
        """Write one file of a group; what it holds afterwards, which the kernel may have rounded."""

    def children(self, path: str) -> tuple[str, ...]:
        """The groups directly below, as paths; none below a path of PATH_MAX bytes."""

    def remove(self, path: str) -> bool:
        """Remove an empty group; False while it holds processes or groups. A group that is gone counts as removed."""

    def close(self) -> None:
        """Let descriptors go."""


def checked_path(path: str) -> str:
    """The path with one leading slash and no other decoration; the leading one may be missing, as containerd has it.

    Raises:
        InvalidArgument: it leaves the hierarchy, or cannot be a path of directories.
    """
    parts = [part for part in path.split("/") if part and part != "."]
    for part in parts:
        if part == ".." or "\0" in part or "\n" in part or len(encode(part)) > _NAME_MAX:
            raise InvalidArgument(f"cgroup path {path!r}: no group can be called {part!r}")
    return "/" + "/".join(parts)


def levels(path: str) -> tuple[str, ...]:
    """``/a/b`` → ``("/a", "/a/b")``: every group on the way, without the root."""
    parts = path.strip("/").split("/") if path.strip("/") else []
    return tuple("/" + "/".join(parts[: depth + 1]) for depth in range(len(parts)))


def parent(path: str) -> str:
    """``/a/b`` → ``/a`` → ``/``."""
    return path.rsplit("/", 1)[0] or "/"
