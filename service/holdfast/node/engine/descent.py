"""Finds the process from which another one has a value or a cgroup of ours. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.node.engine.entry import Entries
from holdfast.node.engine.forks import Forks
from holdfast.node.engine.recent_rows import RecentRows
from holdfast.node.journal.rows import AdjRow
from holdfast.node.journal.table import ProcessRows, Table
from holdfast.node.model.process import Process


class Descent:
    """``recent_rows``: rows dropped within the last second; ``forks``: the fork events read so far."""

    def __init__(self, table: Table, entries: Entries) -> None:
        self.recent_rows = RecentRows()
        self.forks = Forks(table, self.recent_rows)
        self._table, self._entries = table, entries

    def __bool__(self) -> bool:
        """Whether any process may hand something of ours on to a child."""
        return bool(self._table.processes or self.recent_rows.pids)

    def __contains__(self, pid: int) -> bool:
        """Whether children of this process may have something of ours."""
        return pid in self._table.processes or pid in self.recent_rows.pids

    def has_givers(self, process: Process) -> bool:
        """Whether a process may have something of ours from another one. Nearly no process of a host has."""
        return process.pod is not None or process.ppid in self or self.forks.forker(process.pid) is not None

    def givers(self, process: Process) -> Iterator[ProcessRows]:
        """Yield the processes that may have handed something of ours on to this one.

        These are its parent, the process that forked it (it may have ended since), and its container's first process.
        """
        table, forker = self._table, self.forks.forker(process.pid)
        parent = table.processes.get(process.ppid)
        if parent is not None and _is_parent(parent, process):
            yield parent
        if forker is not None and (held := table.held(*forker)) is not None and held is not parent:
            yield held
        main = process.pod.main if process.pod is not None else None
        if main is not None and main != (process.pid, process.start_ticks):
            first = table.held(*main)
            if first is not None and first is not parent:
                yield first

    def giver_of(self, process: Process, value: int) -> AdjRow | None:
        """The row of the process from which this one inherited ``value``; None: it did not inherit it from us."""
        if not self.has_givers(process):
            return None
        forker = self.forks.forker(process.pid)
        for held in self.givers(process):
            if held.adj is not None and held.adj.gave(value, process.start_ticks):
                return held.adj
        row = self.recent_rows.gave(process.ppid, value, process.start_ticks)
        if row is None and forker is not None:
            row = self.recent_rows.gave(forker[0], value, process.start_ticks)
        return row or (self._giver_of_less(process) if value == process.oom_score_adj else None)

    def _giver_of_less(self, process: Process) -> AdjRow | None:
        """The row of the process from which this one inherited a value that protects, and then raised it by itself."""
        for held in self.givers(process):
            row = held.adj
            if row is None or process.start_ticks < row.since_ticks:
                continue
            entry = self._entries.get(row.pid)
            if process.may_have_raised(row.least(), row.before, entry.group if entry is not None else ""):
                return row
        return None


def _is_parent(held: ProcessRows, process: Process) -> bool:
    if process.ancestors:
        return process.ancestors[0].start_ticks == held.start_ticks
    return held.start_ticks <= process.start_ticks
