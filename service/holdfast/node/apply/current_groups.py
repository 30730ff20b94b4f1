"""The cgroups that one process is in at the moment of a move."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from holdfast.cgroups import is_member, parse_groups
from holdfast.errors import ProcessGone
from holdfast.process import OpenProcess


class CurrentGroups:
    """``groups``: the groups that the process was last seen in, by hierarchy; a context manager.

    At first these are the groups that were read when its moves were decided. The groups are those of a thread that
    runs, where the first one has ended.

    Raises:
        ProcessGone: the process ended.
    """

    def __init__(self, process: OpenProcess, seen: Mapping[str, str]) -> None:
        self.groups = seen
        self._has_threads = process.has_threads()
        self._living = process.living_thread() if self._has_threads else None
        self._process = self._living or process

    def look(self) -> Mapping[str, str]:
        """Read the process's groups.

        Raises:
            ProcessGone: the process ended.
        """
        self.groups = parse_groups(self._text())
        return self.groups

    def has_threads_apart(self, hierarchy: str) -> bool:
        """Whether threads of the process are in different groups of a hierarchy.

        Raises:
            ProcessGone: the process ended.
        """
        if not self._has_threads:
            return False
        groups = (parse_groups(text).get(hierarchy) for text in self._process.thread_groups())
        first = next(groups, None)
        return any(group != first for group in groups)

    def is_still(self, hierarchy: str) -> bool:
        """Whether the process is in the group that ``groups`` has for this hierarchy. Only the move may follow this
        call.

        Raises:
            ProcessGone: the process ended.
        """
        return is_member(self._text(), hierarchy, self.groups.get(hierarchy, ""))

    def _text(self) -> bytes:
        if self._process.thread:
            with suppress(ProcessGone):  # that thread ended; the process may live
                return self._process.last_look(f"task/{self._process.thread}/cgroup")
        return self._process.last_look("cgroup")

    def __enter__(self) -> CurrentGroups:
        return self

    def __exit__(self, *unused: object) -> None:
        if self._living is not None:
            self._living.close()
