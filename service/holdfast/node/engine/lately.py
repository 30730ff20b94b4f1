"""Values that processes had from us until a moment ago: who was being forked at that moment has it still. Pure.

A fork copies the ``oom_score_adj`` of its parent at its beginning (Linux: ``copy_signal``), and the child is seen, and
told of, at its end. What is written to the parent in between says nothing about the child. Moves wait for forks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, KeysView

from holdfast.node.journal.rows import AdjRow, Identity

FORK_TICKS = (
    100  #: how long a fork may take, in clock ticks: microseconds, and what the scheduler adds on a busy machine
)


class Lately:
    """Rows that stand no more, for as long as a fork may take."""

    def __init__(self) -> None:
        self._by_pid: dict[int, list[tuple[int, AdjRow]]] = {}  # with the last tick at which it stood
        self._in_order: deque[tuple[int, int]] = deque()  # the same ticks, and whose

    @property
    def pids(self) -> KeysView[int]:
        """Whose rows they are."""
        return self._by_pid.keys()

    def last(self, pid: int) -> Identity | None:
        """Whose row the last one of this number is."""
        known = self._by_pid.get(pid)
        return (pid, known[-1][1].start_ticks) if known else None

    def note(self, rows: Iterable[AdjRow], ticks: int) -> None:
        """These are replaced, or dropped, now."""
        for row in rows:
            self._by_pid.setdefault(row.pid, []).append((ticks, row))
            self._in_order.append((ticks, row.pid))

    def gave(self, pid: int, value: int, start_ticks: int) -> AdjRow | None:
        """The last row by which a process that started then has ``value`` from this one."""
        for until, row in reversed(self._by_pid.get(pid, ())):
            if row.start_ticks <= start_ticks <= until + FORK_TICKS and row.gave(value, start_ticks):
                return row
        return None

    def forget_before(self, ticks: int) -> None:
        """A fork that began before then is over."""
        while self._in_order and self._in_order[0][0] < ticks:
            _, pid = self._in_order.popleft()
            del self._by_pid[pid][0]
            if not self._by_pid[pid]:
                del self._by_pid[pid]
