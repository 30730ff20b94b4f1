"""Finds which processes have something of ours from another process, and makes rows for it. Pure.

`reconciler` defines *before*.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from msgspec.structs import replace

from holdfast.node.apply.action import Action, Commit, Heirs, Look, Terms
from holdfast.node.engine.descent import Descent
from holdfast.node.engine.entry import Entries
from holdfast.node.engine.restored_moves import RestoredMoves
from holdfast.node.engine.rule_state import RuleState
from holdfast.node.journal.rows import AdjRow, Identity, MoveRow
from holdfast.node.journal.table import ProcessRows, Table
from holdfast.node.model.placement import BY_HAND
from holdfast.node.model.process import Process


class Heritage:
    """Finds rows for what processes inherited."""

    def __init__(
        self, rule_state: RuleState, entries: Entries, descent: Descent, restored_moves: RestoredMoves
    ) -> None:
        self._rule_state, self._table, self._entries = rule_state, rule_state.table, entries
        self._descent, self._restored_moves = descent, restored_moves

    def inherit(self, process: Process) -> list[Action]:
        """Make rows for what a process inherited from another process that has it from us."""
        restored = self._restored_moves.of(process)
        rows = self._inherited(process, restored) if self._descent.has_givers(process) else []
        self._descent.forks.forget(process.pid)  # it is known by its rows from now on
        return record(self._table, rows)

    def _inherited(self, process: Process, restored: Iterable[str]) -> list[AdjRow | MoveRow]:
        held = self._table.held(process.pid, process.start_ticks)
        rows: list[AdjRow | MoveRow] = [*self._inherited_value(process, held)]
        if process.cgroups and not self._entries.is_moving(process.pid):
            known = (*(held.moves if held is not None else ()), *restored)
            rows += inherited_moves(process, known, self._descent)
        return rows

    def _inherited_value(self, process: Process, held: ProcessRows | None) -> list[AdjRow]:
        if held is None or (held.adj is None and held.override is None):
            giver = self._descent.giver_of(process, process.oom_score_adj)
            return [inherited_adj(process, giver)] if giver is not None else []
        if held.adj is not None and held.adj.heir_of is None:
            giver = self._descent.giver_of(process, held.adj.before)
            if giver is not None and giver.before != held.adj.before:  # a fork reported late: before is never ours
                return [replace(held.adj, before=giver.before)]
        return []

    def heirs_first(self, process: Process, held: ProcessRows) -> list[Action]:
        """Examine the heirs first where another program has chosen since, and before is about to change.

        The processes forked until then have the old before.
        """
        rows = held.values
        if self._entries.is_moving(process.pid):
            rows = [row for row in rows if isinstance(row, AdjRow)]
        return [Heirs(process.pid)] if any(is_chosen(row, process) for row in rows) else []

    def first(self, process: Process, held: ProcessRows) -> list[Action]:
        """Examine the process from which this one inherited something first, if the rule of that is gone.

        That process may be under a rule of another name now. It is examined for its heirs once under the same rules.
        """
        givers = {row.heir_of for row in held.values if row.heir_of is not None and self._is_ruleless(row)}
        unseen = [giver for giver in sorted(givers - self._rule_state.givers) if self._table.held(*giver) is not None]
        if not unseen:
            return []
        self._rule_state.givers.update(unseen)
        return [*(Look(pid) for pid, _ in unseen), Look(process.pid)]

    def rerule(self, held: ProcessRows) -> list[Action]:
        """Put what a process inherited under the rule of the process that it inherited it from.

        This concerns a value or group whose rule is gone, and which that process still has, under a rule of another
        name.
        """
        rows: list[AdjRow | MoveRow] = []
        for row in held.values:
            rule = self._rule_of_giver(row) if self._is_ruleless(row) else None
            if rule is not None:
                rules = self._rule_state.rules
                spec = rules.spec_named(rule)
                keeps = spec is not None and spec.on_remove == "keep"
                rows.append(replace(row, rule=rule, give_back=not keeps, origin=rules.origin_of(rule)))
        return record(self._table, rows)

    def _is_ruleless(self, row: AdjRow | MoveRow) -> bool:
        rules = self._rule_state
        is_known = rules.is_in_force(row.rule) or row.rule in rules.suspended or rules.is_unread(row)
        return row.heir_of is not None and row.rule != BY_HAND and not is_known

    def _rule_of_giver(self, row: AdjRow | MoveRow) -> str | None:
        """Return the rule under which the giver of a row has the value or group of the row; None: there is none."""
        assert row.heir_of is not None
        giver, entry = self._table.held(*row.heir_of), self._entries.get(row.heir_of[0])
        if giver is None or entry is None:
            return None
        if isinstance(row, AdjRow):
            theirs: AdjRow | MoveRow | None = giver.adj
            has_it = giver.adj is not None and row.written is not None and giver.adj.is_ours(row.written)
        else:
            theirs = moved = giver.moves.get(row.hierarchy)
            has_it = moved is not None and row.written is not None and moved.is_ours(row.written)
        names = (theirs.rule, entry.rule) if has_it and theirs is not None else ()
        return next((name for name in names if self._rule_state.is_in_force(name)), None)

    def raised_by_itself(self, process: Process) -> list[Action]:
        """Make what an unruled process has of a value of ours that protects ours again: it raised it by itself."""
        held = self._table.held(process.pid, process.start_ticks)
        row = held.adj if held is not None else None
        entry = self._entries.get(process.pid)
        if row is None or not _raised(process, row, entry.group if entry is not None else ""):
            return []
        return record(self._table, [replace(row, written=process.oom_score_adj, wanted=None, earlier=row.past())])

    def passed_on(self, process: Process) -> str | None:
        """Return the rule whose value or group a process has from the process that forked it; None: it has neither.

        This is for a process that was not examined: an examined one is known by its own rows.
        """
        giver = self._descent.giver_of(process, process.oom_score_adj)
        if giver is not None:
            return giver.rule
        moves = inherited_moves(process, (), self._descent)
        return moves[0].rule if moves else None

    def adopt_orphan(self, process: Process, rule: str) -> list[Action]:
        """Make a row for a process that came by no exec and whose parent is gone: a daemon's second fork.

        It runs the same program as another process under this rule, which had its value when the orphan started.
        """
        for held in list(self._table.processes.values()):
            row = held.adj
            if row is None or row.rule != rule or not row.gave(process.oom_score_adj, process.start_ticks):
                continue
            entry = self._entries.get(row.pid)
            if entry is not None and entry.comm == process.comm:
                return record(self._table, [inherited_adj(process, row)])
        return []


def _raised(process: Process, row: AdjRow, group: str) -> bool:
    """Whether a process may have raised the value of its row by itself; ``group``: the one it was last seen in."""
    if row.written is None or row.is_ours(process.oom_score_adj):
        return False
    return process.may_have_raised(row.written, row.before, group)


def record(table: Table, rows: Sequence[AdjRow | MoveRow]) -> list[Action]:
    """Record rows of facts that hold already: in the table at once, in the file when there is room."""
    for row in rows:
        table.put(row)
    return [Commit(tuple(rows))] if rows else []


def is_chosen(row: AdjRow | MoveRow, process: Process) -> bool:
    """Whether another program has chosen the process's value or group since the row was written."""
    if isinstance(row, AdjRow):
        return not row.is_ours(process.oom_score_adj)
    return bool(process.cgroups) and not row.is_ours(process.cgroups.get(row.hierarchy, ""))


@lru_cache(maxsize=64)  # one object for all the heirs of a process
def _identity(pid: int, start_ticks: int) -> Identity:
    return pid, start_ticks


def inherited_adj(process: Process, giver: AdjRow) -> AdjRow:
    """Return the row of a process that has its value from ``giver``."""
    return AdjRow(
        process.pid,
        process.start_ticks,
        giver.before,
        giver.rule,
        written=process.oom_score_adj,
        since_ticks=process.start_ticks,
        give_back=giver.give_back,
        origin=giver.origin,
        heir_of=giver.heir_of or _identity(giver.pid, giver.start_ticks),
    )


def inherited_moves(process: Process, known: Iterable[str], descent: Descent) -> list[MoveRow]:
    """Return rows of the groups that a process was born into because its parent was moved there.

    ``known``: the hierarchies that have rows already.
    """
    found: dict[str, MoveRow] = {}
    for held in descent.givers(process):
        for hierarchy, row in held.moves.items():
            if hierarchy in known or hierarchy in found:
                continue
            if row.gave(process.cgroups.get(hierarchy, ""), process.start_ticks):
                found[hierarchy] = replace(
                    row,
                    pid=process.pid,
                    start_ticks=process.start_ticks,
                    written=process.cgroups[hierarchy],
                    wanted=None,
                    earlier=(),
                    since_ticks=process.start_ticks,
                    heir_of=row.heir_of or _identity(row.pid, row.start_ticks),
                )
    return list(found.values())


def wanting_adj(
    process: Process, terms: Terms, old: AdjRow | None, wanted: int, ticks: int, *, as_child: bool
) -> AdjRow:
    """Return the row for writing ``wanted``, based on the row that is known."""
    present = process.oom_score_adj
    ours = old is not None and old.is_ours(present)
    before = old.before if old is not None and (ours or _raised(process, old, process.memory_group)) else present
    return AdjRow(
        process.pid,
        process.start_ticks,
        before,
        terms.rule,
        written=present if ours else None,
        wanted=wanted,
        earlier=old.past() if old is not None and ours else (),
        since_ticks=old.since_ticks if old is not None and ours else ticks,
        as_child=as_child,
        give_back=terms.give_back,
        origin=terms.origin,
    )
