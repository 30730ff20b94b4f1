"""Restores a process that is under no rule: what it inherited stays as long as its rule, the rest is restored. Pure."""

from __future__ import annotations

from collections.abc import Collection

from holdfast.node.apply.action import Action, Forget, GiveBack, Look, Return, Step
from holdfast.node.engine.entry import KEPT, Entries, Entry, Now, made, tell
from holdfast.node.engine.heritage import is_chosen
from holdfast.node.engine.recent_rows import RecentRows
from holdfast.node.engine.rule_state import RuleState
from holdfast.node.journal.rows import AdjRow, MoveRow
from holdfast.node.model.placement import Happening, State
from holdfast.node.model.process import Process


class Restorer:
    """Restores processes, and releases those that no longer have anything of ours."""

    def __init__(self, rule_state: RuleState, entries: Entries, recent_rows: RecentRows) -> None:
        self._rule_state, self._entries, self._recent_rows = rule_state, entries, recent_rows

    def unruled(self, process: Process, entry: Entry | None, now: Now) -> list[Action]:
        """Return the actions for a process that matches no rule."""
        held = self._rule_state.table.held(process.pid, process.start_ticks)
        rows = held.values if held is not None else []
        standing = [row for row in rows if self._rule_state.stands(row)]
        chosen = [row for row in standing if is_chosen(row, process)]  # by another program, or by the process itself
        back = [row for row in rows if row not in standing]
        if entry is not None and entry.order:
            entry.again = True
        if not rows:
            return self._release(entry, now) if entry is not None else []
        if entry is None:
            entry = made(process, (back or standing)[0].rule, now)
        self._entries.show(entry, process, held)
        actions = self._give_back(entry, back, now)
        if chosen:
            self._recent_rows.note((row for row in chosen if isinstance(row, AdjRow)), now.ticks)
            actions.append(Forget(tuple(chosen)))
        entry.changes, entry.refusals, entry.expires_ns = (), (), 0
        if back or entry.order:
            entry.state = State.RETURNING
        else:
            entry.state = State.INHERITED
            entry.rule = standing[0].rule
        self._entries[process.pid] = entry
        return actions

    def _give_back(self, entry: Entry, back: Collection[AdjRow | MoveRow], now: Now) -> list[Action]:
        forced = self._is_forced(entry)
        keep = [row for row in back if not (forced or self._is_given_back(row))]
        actions: list[Action] = []
        if keep:
            entry.detail = KEPT if len(keep) == len(back) else ""
            actions.append(Forget(tuple(keep)))
        steps: list[Step] = []
        for row in back:
            if row in keep:
                continue
            if isinstance(row, AdjRow):
                actions.append(GiveBack(row))
            else:
                steps.append(Return(row))
        if steps and not entry.order:
            actions.append(self._entries.order(entry, steps, now))
        elif len(keep) == len(back) and back:
            actions.append(Look(entry.pid))
        return actions

    def _is_given_back(self, row: AdjRow | MoveRow) -> bool:
        """Whether a row is restored.

        ``on_remove: keep`` concerns a rule that is removed, not a process that was born into the rule's group.
        """
        return row.give_back or row.rule in self._rule_state.suspended or self._rule_state.is_lent(row)

    def _is_forced(self, entry: Entry) -> bool:
        return (entry.pid, entry.start_ticks) in self._rule_state.let_go or entry.rule in self._rule_state.suspended

    def _release(self, entry: Entry, now: Now) -> list[Action]:
        """Release a process that no longer has anything of ours."""
        if entry.order:
            return []
        self._entries.pop(entry.pid, None)
        detail = entry.detail or ("restored" if self._is_forced(entry) else "")
        return [tell(Happening.RELEASED, entry, (), now, detail)]
