"""Requests of operators and container runtimes: overrides, restores, adoptions. Pure.

Each becomes a row, or a mark on the rules in force, and an examination of the processes concerned. The decision is then
made as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from holdfast.node.apply.action import Action, Amend, Commit, Look
from holdfast.node.engine.entry import Entries, Now
from holdfast.node.engine.rule_state import RuleState
from holdfast.node.journal.rows import AdjRow, FileRow, MoveRow, OverrideRow, Row
from holdfast.node.model.placement import BY_HAND
from holdfast.node.model.process import Process
from holdfast.node.plan.claims import Claims
from holdfast.node.plan.setting import is_in_force


class Requests:
    """Each method returns actions."""

    def __init__(self, rule_state: RuleState, entries: Entries, claims: Claims, page_bytes: int) -> None:
        self._rule_state, self._entries, self._table = rule_state, entries, rule_state.table
        self._claims, self._page_bytes = claims, page_bytes

    def suspend(self, rule: str | None = None, pid: int | None = None) -> list[Action]:
        """Suspend all rules, or one rule, or all rules for one process, until rules are set again.

        The actions examine the processes concerned, which restores them.
        """
        if pid is not None:
            held, entry = self._table.processes.get(pid), self._entries.get(pid)
            if held is not None:
                self._rule_state.let_go.add((pid, held.start_ticks))
            elif entry is not None:
                self._rule_state.let_go.add((pid, entry.start_ticks))
        else:
            names = (rule,) if rule is not None else self._rule_state.all_rules()
            self._rule_state.suspended.update(names)
            for name in names:
                self._claims.withdraw(name)
        overrides: tuple[Row, ...] = ()
        if rule is None:
            overrides = tuple(row for row in list(self._table.overridden.values()) if pid in (None, row.pid))
        looks = [Look(one) for one in (*self._affected(rule, pid), *(self._setting_files(rule) if rule else ()))]
        return [*([Commit(drops=overrides)] if overrides else []), *looks]

    def _setting_files(self, suspended: str) -> list[int]:
        """Return the processes under other rules that set files: such a rule may want a file of the suspended one."""
        setting = {
            rule.name
            for rule in self._rule_state.rules.rules
            if rule.spec.in_place or (rule.spec.cgroup is not None and rule.spec.cgroup.settings)
        } - {suspended}
        return [pid for pid, entry in list(self._entries.items()) if entry.rule in setting or entry.rule == BY_HAND]

    def _affected(self, rule: str | None, pid: int | None) -> list[int]:
        """Return the pids of the processes concerned.

        Heirs come last: when the process that they inherited from is restored, its children are examined first, and
        each heir is restored by its own row.
        """
        found = dict.fromkeys(
            one for one, entry in list(self._entries.items()) if rule in (None, entry.rule) and pid in (None, one)
        )
        for one, held in list(self._table.processes.items()):
            of_it = any(
                pid in (None, one) or (not isinstance(row, OverrideRow) and _given_by(row, pid))
                for row in held.rows
                if isinstance(row, OverrideRow) or rule in (None, row.rule)
            )
            if of_it:
                found[one] = None
        return list(found)

    def override(self, row: OverrideRow) -> list[Action]:
        """Override a process; this replaces an earlier override."""
        return [Commit((row,), needed=True), Look(row.pid)]

    def end_override(self, row: OverrideRow, *, needed: bool = True) -> list[Action]:
        """Let the rules decide again. Not ``needed``: also if the journal cannot be written."""
        return [Commit(drops=(row,), needed=needed), Look(row.pid)]

    def expired(self, now: Now) -> list[OverrideRow]:
        """Return the overrides whose time is over."""
        return [row for row in list(self._table.overridden.values()) if row.left_ns(now.unix_ns, now.ticks) <= 0]

    def adopt(self, process: Process, requested: int, written: int, rule: str) -> list[Action]:
        """Take over a process that was created with a value of ``rule``, not ``requested``, as if we had written it.

        Nothing happens if it has another value by now, or is overridden. The value before is ``requested`` in two more
        cases: we were quicker than the runtime, and wrote over the value that the process had from the shim; or we came
        so late that another rule took the value that the process was born with for its own. The value is restored at
        once if the rule no longer exists.
        """
        held = self._table.held(process.pid, process.start_ticks)
        known = held.adj if held is not None else None
        if known is not None and known.before == written:
            row = replace(
                known,
                before=requested,
                written=written if known.written is None else known.written,
                since_ticks=process.start_ticks,
                earlier=(written, *known.earlier[:2]),
            )
        elif process.oom_score_adj == written and (held is None or held.override is None):
            row = AdjRow(
                process.pid,
                process.start_ticks,
                requested,
                rule,
                written=written,
                since_ticks=process.start_ticks,
                give_back=self._is_given_back(rule),
                origin=self._rule_state.rules.origin_of(rule),
            )
        else:
            return []
        container = process.pod.container_id if process.pod is not None else ""
        others = [
            one.pid
            for one in list(self._entries.values())
            if container and one.pod is not None and one.pod.container_id == container and one.pid != process.pid
        ]
        return [Commit((row,)), *map(Look, (process.pid, *others))]

    def adopt_files(self, rows: Iterable[FileRow], find: Callable[[FileRow], FileRow | None]) -> list[Action]:
        """Take over files of a group that its creator wrote for a rule, as if we had written them.

        ``find`` returns the row of a file that has the text of a row, with its group's inode; None: the file has
        another text, and is left out. But if another rule wrote over the creator's text, and took that for the text
        before, the creator's text before replaces it.
        """
        actions: list[Action] = []
        for row in rows:
            known = self._table.files.get((row.hierarchy, row.path, row.file))
            if known is not None and is_in_force(row.file, row.written or "", known.before, self._page_bytes):
                actions.append(Amend(known, replace(known, before=row.before)))
            elif (found := find(row)) is not None:
                give_back, origin = self._is_given_back(row.rule), self._rule_state.rules.origin_of(row.rule)
                actions.append(Commit((replace(found, give_back=give_back, origin=origin),)))
        return actions

    def _is_given_back(self, rule: str) -> bool:
        spec = self._rule_state.rules.spec_named(rule)
        return spec is None or spec.on_remove == "restore"


def _given_by(row: AdjRow | MoveRow, pid: int | None) -> bool:
    return row.heir_of is not None and row.heir_of[0] == pid
