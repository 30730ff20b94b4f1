"""In which cgroups one process is at the moment of a move."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.cgroups import is_member, parse_groups
from holdfast.process import OpenProcess


class Whereabouts:
    """``groups`` is where it is thought to be, by hierarchy: at first what was seen when its moves were decided."""

    def __init__(self, process: OpenProcess, seen: Mapping[str, str]) -> None:
        self._process, self.groups = process, seen

    def look(self) -> Mapping[str, str]:
        """See where it is.

        Raises:
            ProcessGone: it ended.
        """
        self.groups = parse_groups(self._process.last_look("cgroup"))
        return self.groups

    def is_still(self, hierarchy: str) -> bool:
        """Whether it is where it is thought to be in this hierarchy. Nothing but the move is to come after.

        Raises:
            ProcessGone: it ended.
        """
        return is_member(self._process.last_look("cgroup"), hierarchy, self.groups.get(hierarchy, ""))
