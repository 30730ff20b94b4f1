"""The unified hierarchy (Documentation/admin-guide/cgroup-v2.rst).

A controller works in a group only if every group above it names the controller in ``cgroup.subtree_control``, and a
group that does so for a domain controller may hold no process itself (the root may): the no-internal-process rule.
"""

from __future__ import annotations

import errno
from collections.abc import Collection

from holdfast.cgroups import files
from holdfast.cgroups.face import UNIFIED, Need, levels, parent
from holdfast.errors import KernelRefused

SUBTREE = "cgroup.subtree_control"
AVAILABLE = "cgroup.controllers"


class V2Tree(files.Mounted):
    """The one hierarchy of cgroup v2, alone or beside v1's."""

    def __init__(self, mount: str) -> None:
        super().__init__(UNIFIED, mount)

    def controllers(self) -> frozenset[str]:
        """See `Tree.controllers`."""
        return frozenset(self.read("/", AVAILABLE).split())

    def create(self, path: str, controllers: Collection[str] = ()) -> tuple[str, ...]:
        """See `Tree.create`."""
        made: list[str] = []
        for level in levels(path):
            self._enable(parent(level), controllers)
            made += super().create(level)
        return tuple(made)

    def needs(self, path: str, controllers: Collection[str] = ()) -> tuple[Need, ...]:
        """See `Tree.needs`."""
        found: list[Need] = []
        for level in levels(parent(path)) if controllers else ():
            if not self.exists(level):
                break
            enabled = self.read(level, SUBTREE).split()
            found += [Need(level, SUBTREE, name) for name in sorted(set(controllers).difference(enabled))]
        return tuple(found)

    def withdraw(self, need: Need) -> None:
        """See `Tree.withdraw`. While a group has children, any of them may use the controller."""
        if not self.children(need.path) and need.text in self.read(need.path, need.file).split():
            self._write(need.path, need.file, f"-{need.text}", files.ENABLE_REMEDIES)

    def _enable(self, path: str, controllers: Collection[str]) -> None:
        """Enable the controllers for the children of one group; those already enabled are left unchanged."""
        missing = set(controllers) - set(self.read(path, SUBTREE).split()) if controllers else ()
        if not missing:
            return
        available = set(self.read(path, AVAILABLE).split())
        for controller in sorted(missing):
            if controller not in available:
                remedy = f"controller {controller} is not available there; " + files.ENABLE_REMEDIES[errno.ENOENT]
                raise KernelRefused("write", f"{self.at(path)}/{SUBTREE}", errno.ENOENT, remedy)
            self._write(path, SUBTREE, f"+{controller}", files.ENABLE_REMEDIES)

    def members(self, path: str) -> tuple[int, ...]:
        """See `Tree.members`. A threaded group lists no process: its processes belong to the domain group above."""
        try:
            return super().members(path)
        except KernelRefused as error:
            if error.errno == errno.EOPNOTSUPP:
                return ()
            raise
