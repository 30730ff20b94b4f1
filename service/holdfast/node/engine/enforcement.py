"""Turns the changes of a rule into writes and orders, each with the row that says what was there before. Pure."""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from holdfast.node.apply.action import Action, GiveBack, Move, Return, Set, Step, Terms, Write
from holdfast.node.engine.entry import Entries, Entry, Now, tell
from holdfast.node.engine.heritage import record, wanting_adj
from holdfast.node.engine.recent_rows import RecentRows
from holdfast.node.engine.rule_state import RuleState
from holdfast.node.journal.rows import AdjRow, MoveRow
from holdfast.node.journal.table import ProcessRows as Rows
from holdfast.node.model.decision import AdjChange, Decision, Field, MoveChange, Reason
from holdfast.node.model.placement import BY_HAND, Happening, State, state_of
from holdfast.node.model.process import Process


class Enforcement:
    """Requests the changes of a decision, or only reports them."""

    def __init__(self, rule_state: RuleState, entries: Entries, recent_rows: RecentRows) -> None:
        self._rule_state, self._entries, self._table, self._recent_rows = (
            rule_state,
            entries,
            rule_state.table,
            recent_rows,
        )

    def plan_only(self, entry: Entry, decision: Decision, now: Now) -> list[Action]:
        """Report what would be written: a dry run."""
        actions: list[Action] = []
        entry.again = bool(entry.order)  # what is under way is made all the same
        if entry.changes != decision.changes and decision.changes:
            actions.append(tell(Happening.PLANNED, entry, decision.changes, now))
        entry.changes = decision.changes
        actions += self._entries.refuse(entry, decision.refusals, ())
        entry.state = State.PLANNED if decision.changes else state_of(decision.refusals, did=False)
        return actions

    def enforce(
        self, entry: Entry, process: Process, held: Rows | None, decision: Decision, now: Now, at_ns: int
    ) -> list[Action]:
        """Write what needs no wait, order what may wait, and restore what the rule does not set; ``held``: the rows."""
        rule = decision.rule or ""
        entry.changes = ()
        back: list[AdjRow | MoveRow] = []
        actions: list[Action] = []
        steps: list[Step] = []
        if held is not None:
            back = self._unsaid(held, decision)
            actions += [GiveBack(row) for row in back if isinstance(row, AdjRow)]
            steps += [Return(row) for row in back if isinstance(row, MoveRow)]
        adj_terms = terms = self._terms(decision.group_rule or rule, decision)
        if rule == BY_HAND:
            adj_terms = Terms(BY_HAND)
        for change in decision.changes:
            if isinstance(change, AdjChange):
                actions.append(self._write(process, change, adj_terms, now, at_ns, as_child=decision.as_child))
            elif isinstance(change, MoveChange):
                steps.append(Move(change, terms, held.moves.get(change.hierarchy) if held is not None else None))
            else:
                steps.append(Set(change, terms))
        if held is not None:
            actions += self._rerule(held, decision, back, adj_terms, terms)
        if decision.refusals or entry.refusals or entry.met:
            again = {change.field for change in decision.changes}
            actions += self._entries.refuse(entry, decision.refusals, [old for old in entry.met if old.field in again])
        if entry.order:
            entry.again = entry.again or bool(steps)
        elif steps:
            drifted = held is not None and any(isinstance(step, Move) and _stood(step) for step in steps)
            actions.append(self._entries.order(entry, steps, now, drifted=drifted, at_ns=at_ns))
        if entry.order:
            entry.state = State.MOVING
        else:
            entry.state = state_of(entry.refusals, did=self._entries.is_changed(entry))
        return actions

    def _terms(self, rule: str, decision: Decision) -> Terms:
        return Terms(rule, decision.restore_on_remove, self._rule_state.rules.origin_of(rule))

    def _unsaid(self, held: Rows, decision: Decision) -> list[AdjRow | MoveRow]:
        """Return the rows of what the rule does not set and we once wrote, or would have by a claim."""
        claimed = {refusal.field for refusal in decision.refusals if refusal.reason is Reason.CLAIM}
        rows: list[AdjRow | MoveRow] = [held.adj] if held.adj is not None and not decision.adjusts else []
        if not decision.moves:
            rows += held.moves.values()
        return [row for row in rows if _field_of(row) in claimed or not self._rule_state.stands(row)]

    def _write(
        self, process: Process, change: AdjChange, terms: Terms, now: Now, at_ns: int, *, as_child: bool
    ) -> Write:
        adj = self._table.adj(process.pid, process.start_ticks)
        if adj is not None and not adj.is_ours(change.before):
            self._recent_rows.note((adj,), now.ticks)
        drifted = adj is not None and (adj.written, adj.rule) == (change.after, terms.rule)
        row = wanting_adj(process, terms, adj, change.after, now.ticks, as_child=as_child)
        return Write(row, change, drifted, at_ns)

    def _rerule(
        self, held: Rows, decision: Decision, back: Collection[AdjRow | MoveRow], adj_terms: Terms, terms: Terms
    ) -> list[Action]:
        """Put everything that stays in force under the rule of the decision.

        A process that inherited it remains an heir, because it may leave the rule.
        """
        writes = {change.field for change in decision.changes}
        rows: list[AdjRow | MoveRow] = []
        adj = held.adj
        if adj is not None and adj not in back and decision.adjusts and Field.OOM_SCORE_ADJ not in writes:
            under = replace(
                adj,
                rule=adj_terms.rule,
                as_child=decision.as_child,
                give_back=adj_terms.give_back,
                origin=adj_terms.origin,
            )
            if under != adj:
                rows.append(under)
        if decision.moves and terms.rule != BY_HAND and not self._entries.is_moving(decision.pid):
            for row in held.moves.values():
                moved = replace(row, rule=terms.rule, give_back=terms.give_back, origin=terms.origin)
                if moved != row:
                    rows.append(moved)
        return record(self._table, rows)


def _field_of(row: AdjRow | MoveRow) -> Field:
    return Field.OOM_SCORE_ADJ if isinstance(row, AdjRow) else Field.CGROUP


def _stood(step: Move) -> bool:
    """Whether we made this move before, under this rule: another program moved the process away."""
    row = step.row
    return row is not None and row.rule == step.terms.rule and row.written == step.change.after
