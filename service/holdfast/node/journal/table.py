"""The rows in memory, by subject: the one truth of what we changed. Without I/O.

A pid has one process at a time: a row of a new process ends the rows of the process that had the pid before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType

from msgspec import Struct

from holdfast.node.journal.rows import AdjRow, Drop, FileRow, GroupRow, Line, MoveRow, OverrideRow, Row

_NO_MOVES: Mapping[str, MoveRow] = MappingProxyType({})  # one object for all processes without moves


class ProcessRows(Struct, gc=False, eq=False):
    """All rows of one process; the table has its pid."""

    start_ticks: int
    adj: AdjRow | None = None
    override: OverrideRow | None = None
    moves: Mapping[str, MoveRow] = _NO_MOVES

    @property
    def values(self) -> list[AdjRow | MoveRow]:
        """The rows of what the process has from us."""
        return [*([self.adj] if self.adj else []), *self.moves.values()]

    @property
    def rows(self) -> list[AdjRow | MoveRow | OverrideRow]:
        """All rows, the override included."""
        return [*self.values, *([self.override] if self.override else [])]

    def __bool__(self) -> bool:
        return self.adj is not None or bool(self.moves) or self.override is not None


class Table:
    """``processes`` by pid, ``files`` and ``groups`` by place. Changed under the journal's lock, read by any thread."""

    def __init__(self, lock: AbstractContextManager[object] | None = None) -> None:
        self._lock = lock or nullcontext()
        self.processes: dict[int, ProcessRows] = {}
        self.files: dict[tuple[str, str, str], FileRow] = {}
        self.groups: dict[tuple[str, str], GroupRow] = {}
        self.overridden: dict[int, OverrideRow] = {}

    def held(self, pid: int, start_ticks: int) -> ProcessRows | None:
        """Return the rows of one process, by pid and start."""
        held = self.processes.get(pid)
        return held if held is not None and held.start_ticks == start_ticks else None

    def adj(self, pid: int, start_ticks: int) -> AdjRow | None:
        """Return the row of a process's ``oom_score_adj``."""
        held = self.held(pid, start_ticks)
        return held.adj if held is not None else None

    def made(self) -> list[GroupRow]:
        """Return the groups that we made, deepest first."""
        return sorted(self.groups.values(), key=lambda row: (-row.path.count("/"), row.path))

    def rows(self) -> Iterator[Row]:
        """Yield all rows."""
        for held in list(self.processes.values()):
            yield from held.rows
        yield from list(self.files.values())
        yield from list(self.groups.values())

    def get(self, row: Row) -> Row | None:
        """Return the present row with the subject of ``row``."""
        match row:
            case MoveRow():
                held = self.held(row.pid, row.start_ticks)
                return held.moves.get(row.hierarchy) if held is not None else None
            case AdjRow():
                return self.adj(row.pid, row.start_ticks)
            case FileRow():
                return self.files.get((row.hierarchy, row.path, row.file))
            case GroupRow():
                return self.groups.get((row.hierarchy, row.path))
        held = self.held(row.pid, row.start_ticks)
        return held.override if held is not None else None

    def put(self, row: Row) -> None:
        """Add a row in place of one with the same subject."""
        if isinstance(row, FileRow):
            self.files[row.hierarchy, row.path, row.file] = row
        elif isinstance(row, GroupRow):
            self.groups[row.hierarchy, row.path] = row
        elif (held := self._of(row.pid, row.start_ticks)) is not None:
            if isinstance(row, MoveRow):
                held.moves = {**held.moves, row.hierarchy: row}
            elif isinstance(row, AdjRow):
                held.adj = row
            else:
                held.override = self.overridden[row.pid] = row

    def swap(self, old: Row, row: Row) -> bool:
        """Put a row in place of another one of the same subject; False: that is no longer the very row."""
        with self._lock:
            if self.get(old) is not old:
                return False
            self.put(row)
            return True

    def _of(self, pid: int, start_ticks: int) -> ProcessRows | None:
        """Return the rows of a process; None: a newer process has its pid, so it has ended."""
        held = self.processes.get(pid)
        if held is None:  # in one step: rows of values and of moves may come from two threads
            held = self.processes.setdefault(pid, ProcessRows(start_ticks))
        if held.start_ticks == start_ticks:
            return held
        if held.start_ticks > start_ticks:
            return None
        if self.processes.get(pid) is held:
            del self.processes[pid]
            self.overridden.pop(pid, None)
        return self.processes.setdefault(pid, ProcessRows(start_ticks))

    def drop(self, row: Row) -> None:
        """Drop the row with the same subject."""
        self.take(Drop(row.key))

    def take(self, line: Line) -> None:
        """Apply a line of the file."""
        if not isinstance(line, Drop):
            self.put(line)
            return
        kind, *of = line.of
        if kind == "file":
            self.files.pop((str(of[0]), str(of[1]), str(of[2])), None)
        elif kind == "group":
            self.groups.pop((str(of[0]), str(of[1])), None)
        elif len(of) >= 2 and (held := self.held(int(of[0]), int(of[1]))) is not None:
            self._drop_of(int(of[0]), held, str(kind), [str(more) for more in of[2:]])

    def _drop_of(self, pid: int, held: ProcessRows, kind: str, hierarchy: list[str]) -> None:
        if kind == "adj":
            held.adj = None
        elif kind == "move" and hierarchy and hierarchy[0] in held.moves:
            held.moves = {name: row for name, row in held.moves.items() if name != hierarchy[0]}
        elif kind == "override":
            held.override = None
            self.overridden.pop(pid, None)
        if not held:
            self.processes.pop(pid, None)
