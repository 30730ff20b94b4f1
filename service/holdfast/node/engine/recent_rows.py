"""Remembers rows of values for a second after they are replaced or dropped. Pure.

A fork copies the ``oom_score_adj`` of its parent at its beginning (Linux: ``copy_signal``). At its end the child
becomes visible and the fork event comes. If the parent gets another value in between, the child still has the earlier
value, and only the dropped row explains it. The kernel makes a move to another cgroup wait for a fork, so moves need no
such row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from holdfast.node.journal.rows import AdjRow, Identity

#: How long a fork may take, in clock ticks: microseconds, and what the scheduler adds on a busy machine.
FORK_TICKS = 100


class RecentRows:
    """Dropped rows by pid, each for as long as a fork may take."""

    def __init__(self) -> None:
        self._by_pid: dict[int, list[tuple[int, AdjRow]]] = {}  # with the tick at which it was dropped
        self._in_order: deque[tuple[int, int]] = deque()  # (tick, pid), the oldest first
        self.pids = self._by_pid.keys()  # of the processes that have dropped rows

    def last(self, pid: int) -> Identity | None:
        """The process of the latest dropped row with this pid."""
        known = self._by_pid.get(pid)
        return (pid, known[-1][1].start_ticks) if known else None

    def note(self, rows: Iterable[AdjRow], ticks: int) -> None:
        """Remember rows that are replaced or dropped now."""
        for row in rows:
            self._by_pid.setdefault(row.pid, []).append((ticks, row))
            self._in_order.append((ticks, row.pid))

    def gave(self, pid: int, value: int, start_ticks: int) -> AdjRow | None:
        """The latest dropped row of ``pid`` that explains ``value`` in a child that started at ``start_ticks``."""
        for until, row in reversed(self._by_pid.get(pid, ())):
            if row.start_ticks <= start_ticks <= until + FORK_TICKS and row.gave(value, start_ticks):
                return row
        return None

    def forget_before(self, ticks: int) -> None:
        """Forget rows dropped before ``ticks``: every fork from that time is over."""
        while self._in_order and self._in_order[0][0] < ticks:
            _, pid = self._in_order.popleft()
            del self._by_pid[pid][0]
            if not self._by_pid[pid]:
                del self._by_pid[pid]
