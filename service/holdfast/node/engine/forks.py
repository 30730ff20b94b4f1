"""Whose forks are to be told, and who was told to have forked whom, as far as it is an heir of ours. Pure."""

from __future__ import annotations

from holdfast.node.apply.action import Action, Follow
from holdfast.node.engine.lately import Lately
from holdfast.node.journal.rows import Identity
from holdfast.node.journal.table import Table


class Followed(set[int]):
    """Processes whose rule speaks of their children: a fork of theirs is worth waking up for."""

    def follow(self, pid: int, *, wanted: bool) -> list[Action]:
        """Follow a process, or no more."""
        if wanted == (pid in self):
            return []
        (self.add if wanted else self.discard)(pid)
        return [Follow()]


class Forks:
    """The last two rounds of looking at everybody. A process that was looked at is known by its own rows instead."""

    def __init__(self, table: Table, lately: Lately) -> None:
        self._table, self._lately = table, lately
        self._now: dict[int, Identity | None] = {}  # since the last `begin`
        self._before: dict[int, Identity | None] = {}

    def told(self, parent: int, child: int) -> bool:
        """A process forked; whether its child is an heir. Both may have ended since: what those forked is one, too."""
        for forks in (self._now, self._before):
            if parent in forks:
                giver = forks[parent]
                break
        else:
            held = self._table.processes.get(parent)
            giver = (parent, held.start_ticks) if held is not None else self._lately.last(parent)
        self.forget(child)
        if giver is not None or child in self._table.processes:  # whoever is there under its number has ended
            self._now[child] = giver
        return giver is not None

    def forker(self, pid: int) -> Identity | None:
        """From whom a process has what it has, as far as that was told."""
        return self._now.get(pid) or self._before.get(pid)

    def forget(self, pid: int) -> None:
        """It was looked at."""
        self._now.pop(pid, None)
        self._before.pop(pid, None)

    def begin(self) -> None:
        """A new round."""
        self._now, self._before = {}, self._now
