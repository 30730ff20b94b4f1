"""One cgroup v1 hierarchy (Documentation/admin-guide/cgroup-v1/cgroups.rst)."""

from __future__ import annotations

from collections.abc import Collection

from holdfast.cgroups import files
from holdfast.cgroups.face import levels, parent

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
            for level in levels(path):
                self._fill_cpuset(level)
        return made

    def _fill_cpuset(self, path: str) -> None:
        for name in _CPUSET_FILES:
            if not self.read(path, name):
                self.write(path, name, self.read(parent(path), name))
