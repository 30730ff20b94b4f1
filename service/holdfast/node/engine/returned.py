"""Who was given back a group that it was born into: where it is since then, another program chose. Pure."""

from __future__ import annotations

from holdfast.node.journal.rows import MoveRow
from holdfast.node.model.process import Process

_Birth = tuple[int, int, str]  # of a process, in a hierarchy


class Returned:
    """The last two rounds of looking at everybody: who is looked at stays known, who ended is forgotten."""

    def __init__(self) -> None:
        self._now: set[_Birth] = set()  # since the last `begin`
        self._before: set[_Birth] = set()

    def note(self, row: MoveRow) -> None:
        """What a process inherited was given back."""
        if row.heir_of is not None:
            self._now.add((row.pid, row.start_ticks, row.hierarchy))

    def of(self, process: Process) -> list[str]:
        """The hierarchies in which it was given back what it inherited."""
        if not (self._now or self._before):
            return []  # as nearly always
        births = [(process.pid, process.start_ticks, hierarchy) for hierarchy in process.cgroups]
        found = [birth for birth in births if birth in self._now or birth in self._before]
        self._now.update(found)
        return [hierarchy for _, _, hierarchy in found]

    def begin(self) -> None:
        """A new round."""
        self._now, self._before = set(), self._now
