"""Keeps the processes whose forks are to be reported, and the reported forks whose child is an heir of ours. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.node.apply.action import Action, Follow
from holdfast.node.engine.recent_rows import RecentRows
from holdfast.node.journal.rows import Identity
from holdfast.node.journal.table import Table


class Followed(set[int]):
    """Processes whose rule also applies to their children: a fork of theirs is worth waking up for."""

    def follow(self, pid: int, *, wanted: bool) -> list[Action]:
        """Start or stop following a process."""
        if wanted == (pid in self):
            return []
        (self.add if wanted else self.discard)(pid)
        return [Follow()]


class Forks:
    """Forks reported in this rescan round and the one before. An examined process is known by its own rows instead."""

    def __init__(self, table: Table, recent_rows: RecentRows) -> None:
        self._table, self._recent_rows = table, recent_rows
        self._now: dict[int, Identity | None] = {}  # since the last `begin`
        self._before: dict[int, Identity | None] = {}

    def told(self, forks: Iterable[tuple[int, int]]) -> list[int]:
        """Note forks, each as parent and child; return the children that are heirs.

        Both may have ended since: children of an heir are heirs, too. Nearly all forks of a node are of other programs.
        """
        now, before, processes = self._now, self._before, self._table.processes
        heirs: list[int] = []
        for parent, child in forks:
            if parent in processes or parent in now or parent in before or parent in self._recent_rows.pids:
                giver = self._giver(parent)
            else:
                giver = None
            if child in now or child in before:
                self.forget(child)
            if giver is not None:
                heirs.append(child)
                now[child] = giver
            elif child in processes:  # an earlier process with the child's pid has ended
                now[child] = None
        return heirs

    def _giver(self, parent: int) -> Identity | None:
        for forks in (self._now, self._before):
            if parent in forks:
                return forks[parent]
        held = self._table.processes.get(parent)
        return (parent, held.start_ticks) if held is not None else self._recent_rows.last(parent)

    def forker(self, pid: int) -> Identity | None:
        """Return the process whose value or group a process has, as far as that was reported."""
        return self._now.get(pid) or self._before.get(pid)

    def forget(self, pid: int) -> None:
        """Forget a process that was examined."""
        self._now.pop(pid, None)
        self._before.pop(pid, None)

    def begin(self) -> None:
        """Begin a new round."""
        self._now, self._before = {}, self._now
