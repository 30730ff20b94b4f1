"""Remembers processes restored from a group they were born into: another program chose their group since. Pure."""

from __future__ import annotations

from holdfast.node.journal.rows import MoveRow
from holdfast.node.model.process import Process

_Birth = tuple[int, int, str]  # of a process, in a hierarchy


class RestoredMoves:
    """Restores of this rescan round and the one before. An examined process stays known; an ended one is forgotten."""

    def __init__(self) -> None:
        self._now: set[_Birth] = set()  # since the last `begin`
        self._before: set[_Birth] = set()

    def note(self, row: MoveRow) -> None:
        """Note that a process was moved back from a group that it inherited."""
        if row.heir_of is not None:
            self._now.add((row.pid, row.start_ticks, row.hierarchy))

    def of(self, process: Process) -> list[str]:
        """Return the hierarchies in which the process was moved back from an inherited group."""
        if not (self._now or self._before):
            return []  # as nearly always
        births = [(process.pid, process.start_ticks, hierarchy) for hierarchy in process.cgroups]
        found = [birth for birth in births if birth in self._now or birth in self._before]
        self._now.update(found)
        return [hierarchy for _, _, hierarchy in found]

    def begin(self) -> None:
        """Begin a new round."""
        self._now, self._before = set(), self._now
