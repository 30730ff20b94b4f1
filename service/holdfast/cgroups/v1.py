"""One cgroup v1 hierarchy (Documentation/admin-guide/cgroup-v1/cgroups.rst)."""

from __future__ import annotations

from collections.abc import Collection

from holdfast.cgroups import files
from holdfast.cgroups.face import Need, levels, parent
from holdfast.errors import KernelRefused

_CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")


class V1Tree(files.Mounted):
    """A hierarchy with controllers, or a named one without."""

    def controllers(self) -> frozenset[str]:
        """See `Tree.controllers`: every group of a v1 hierarchy has all of them."""
        return frozenset(part for part in self.name.split(",") if part and not part.startswith("name="))

    def create(self, path: str, controllers: Collection[str] = ()) -> tuple[str, ...]:
        """See `Tree.create`. A new cpuset group is empty and accepts no process: it gets its parent's values."""
        made = super().create(path, controllers)
        if "cpuset" in self.controllers():
            try:
                for level in levels(path):
                    self._fill_cpuset(level)
            except KernelRefused:
                for level in reversed(made):
                    self.remove(level)
                raise
        return made

    def needs(self, path: str, controllers: Collection[str] = ()) -> tuple[Need, ...]:
        """See `Tree.needs`: a cpuset group above that is empty."""
        found: list[Need] = []
        if "cpuset" not in self.controllers():
            return ()
        for name in _CPUSET_FILES:
            above = self.read("/", name)
            for level in levels(parent(path)):
                if not self.exists(level):
                    break
                text = self.read(level, name)
                if not text:
                    found.append(Need(level, name, above))
                above = text or above
        return tuple(reversed(found))

    def withdraw(self, need: Need) -> None:
        """See `Tree.withdraw`. The kernel refuses it while a process or a group below needs the CPUs or nodes."""
        if self.read(need.path, need.file) == need.text:
            self.write(need.path, need.file, "")

    def _fill_cpuset(self, path: str) -> None:
        for name in _CPUSET_FILES:
            if not self.read(path, name):
                self.write(path, name, self.read(parent(path), name))
