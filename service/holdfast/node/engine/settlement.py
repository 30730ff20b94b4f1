"""Settles results: rows become as the kernel answered, and refusals and news are reported. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from holdfast.node.apply.action import (
    Action,
    Came,
    Carried,
    Commit,
    Forget,
    GiveBack,
    Heirs,
    How,
    Look,
    Order,
    Return,
    Stuck,
    Write,
    Wrote,
)
from holdfast.node.engine.entry import Entries, Entry, Now, tell
from holdfast.node.engine.recent_rows import RecentRows
from holdfast.node.engine.restored_moves import RestoredMoves
from holdfast.node.journal.rows import AdjRow, FileRow, MoveRow
from holdfast.node.journal.table import Table
from holdfast.node.model.decision import Change, Field, MoveChange, Refusal
from holdfast.node.model.placement import Happening, State, state_of
from holdfast.node.model.process import Process


class Settlement:
    """Settles results of writes and orders.

    It requests an examination of a process that ended meanwhile, because its heirs come first.
    """

    def __init__(self, table: Table, entries: Entries, restored_moves: RestoredMoves, recent_rows: RecentRows) -> None:
        self._table, self._entries, self._restored_moves, self._recent_rows = (
            table,
            entries,
            restored_moves,
            recent_rows,
        )

    def agree(self, process: Process) -> list[Action]:
        """Settle each row whose write is not known to be done: it is done if the wanted value is there."""
        held = self._table.held(process.pid, process.start_ticks)
        actions: list[Action] = []
        if held is None:
            return actions
        if held.adj is not None and held.adj.wanted is not None:
            actions += self._agreed(held.adj, done=process.oom_score_adj == held.adj.wanted)
        if process.cgroups and not self._entries.is_moving(process.pid):
            for row in held.moves.values():
                if row.wanted is not None:
                    actions += self._agreed(row, done=process.cgroups.get(row.hierarchy) == row.wanted)
        return actions

    def _agreed(self, row: AdjRow | MoveRow, *, done: bool) -> list[Action]:
        if done:
            return self._settled(row, done=True)
        self._table.put(row.unsure())
        return []

    def _after_row(self, row: AdjRow | MoveRow | FileRow, *, done: bool) -> list[Action]:
        """Settle a row whose write was done or refused; a row under which nothing was written is dropped.

        This concerns the very row: an equal row, since then, may have done for another process what was refused here.
        """
        return [Forget((row,))] if not done and row.written is None else self._settled(row, done=done)

    def _settled(self, row: AdjRow | MoveRow | FileRow, *, done: bool) -> list[Action]:
        """Settle a row whose write was done or refused.

        A row under which nothing was written stays until it is forgotten.
        """
        after = row.settled() if done else row.refused()
        if after is None:
            return []
        if self._table.swap(row, after) and done and isinstance(row, MoveRow):
            group = self._table.groups.get((row.hierarchy, row.wanted or ""))
            if group is not None and not group.base:
                group = replace(group, base=row.before)
                self._table.put(group)
                return [Commit((group,))]
        return []

    # -- values ------------------------------------------------------------------------------------------------------

    def wrote(self, result: Wrote, now: Now) -> list[Action]:
        """Settle a write or a restore of an ``oom_score_adj``."""
        action = result.action
        row = action.row
        if result.how is How.GONE:
            return [Look(row.pid)]
        entry = self._entries.get(row.pid)
        if entry is not None and entry.start_ticks != row.start_ticks:
            entry = None
        if isinstance(action, GiveBack):
            return self._gave_back(row, result, entry, now)
        if result.how is How.LEFT:  # another program wrote between the read and the write: its value is examined
            return [Look(row.pid)]
        if entry is None:
            return []
        return self._written(action, result, entry, now)

    def _written(self, action: Write, result: Wrote, entry: Entry, now: Now) -> list[Action]:
        row = action.row
        actions: list[Action] = []
        met = [old for old in entry.met if old.field is not Field.OOM_SCORE_ADJ]
        if result.refusal is None:
            self._table.put(row.settled())
            entry.adj_before, entry.oom_score_adj = row.before, action.change.after
            happening = Happening.DRIFTED if action.drifted else Happening.HELD
            actions.append(tell(happening, entry, (action.change,), now))
        else:
            if self._table.get(row) == row:  # so it is in the journal, and the kernel refused it
                actions += self._after_row(row, done=False)
            if result.refusal not in entry.refusals:
                actions.append(tell(Happening.FAILED, entry, (action.change,), now, result.refusal.detail))
            met.append(result.refusal)
        actions += self._entries.refuse(entry, entry.planned, met)
        if not entry.order:
            did = result.refusal is None or row.written is not None or self._is_moved(entry)
            entry.state = state_of(entry.refusals, did=did)
        return actions

    def _is_moved(self, entry: Entry) -> bool:
        held = self._table.held(entry.pid, entry.start_ticks)
        return held is not None and bool(held.moves)

    def _gave_back(self, row: AdjRow, result: Wrote, entry: Entry | None, now: Now) -> list[Action]:
        if result.refusal is not None:
            return self._is_stuck(entry, row, "oom_score_adj", result.refusal.detail)
        if entry is not None:
            entry.adj_before = None
        self._recent_rows.note((row,), now.ticks)
        return [Heirs(row.pid), Forget((row,)), Look(row.pid)]

    def _is_stuck(self, entry: Entry | None, row: AdjRow | MoveRow, subject: str, detail: str) -> list[Action]:
        if entry is None or subject in entry.stuck:
            return []
        entry.stuck = (*entry.stuck, subject)
        return [Stuck(f"{subject} of process {row.pid}", row.rule, detail)]

    # -- orders ------------------------------------------------------------------------------------------------------

    def carried(self, result: Carried, now: Now) -> list[Action]:
        """Settle an order: nothing of it is under way now."""
        order = result.order
        entry = self._entries.get(order.pid)
        if entry is not None and (entry.start_ticks != order.start_ticks or entry.order != order.number):
            entry = None
        if entry is not None:
            entry.order = 0
        if result.gone:
            return [Look(order.pid)]
        actions: list[Action] = []
        returned = [came for came in result.came if isinstance(came.step, Return)]
        if returned:
            actions.append(Heirs(order.pid))
            for came in returned:
                actions += self._moved_back(came, entry)
        for came in result.came:
            if came.row is not None:
                actions += self._after_row(came.row, done=came.how is How.DONE)
        if entry is None:
            return actions
        actions += self._did(entry, result, now)
        if entry.again or any(came.how is not How.REFUSED for came in returned):
            entry.again = False
            actions.append(Look(order.pid))
        return actions

    def _moved_back(self, result: Came, entry: Entry | None) -> list[Action]:
        assert isinstance(result.step, Return)
        row = result.step.row
        if result.how is How.REFUSED and result.refusal is not None:
            return self._is_stuck(entry, row, f"the cgroup ({row.hierarchy or 'unified'})", result.refusal.detail)
        self._restored_moves.note(row)
        return [Forget((row,))]

    def _did(self, entry: Entry, result: Carried, now: Now) -> list[Action]:
        actions: list[Action] = []
        done: list[Change] = []
        refused: list[Refusal] = []
        moved = False
        for came in result.came:
            if isinstance(came.step, Return):
                continue
            if came.refusal is not None:
                refused.append(came.refusal)
            elif came.how is How.DONE:
                change = came.step.change
                done.append(change)
                if not moved and isinstance(change, MoveChange):
                    moved, entry.group = True, change.after
        if done:
            happening = Happening.DRIFTED if moved and result.order.drifted else Happening.HELD
            actions.append(tell(happening, entry, tuple(done), now))
        if refused or entry.refusals or entry.met:
            actions += self._refused(entry, result.order, refused, now)
        if entry.state is State.MOVING:
            entry.state = state_of(entry.refusals, did=bool(done) or self._entries.is_changed(entry))
        return actions

    def _refused(self, entry: Entry, order: Order, refused: Sequence[Refusal], now: Now) -> list[Action]:
        """Note the refusals that an order met, in place of those that the same steps met before."""
        actions: list[Action] = []
        news = [refusal for refusal in refused if refusal not in entry.refusals]
        if news:
            detail = "; ".join(refusal.detail for refusal in news)
            actions.append(tell(Happening.FAILED, entry, (), now, detail))
        asked = {step.change.field for step in order.steps if not isinstance(step, Return)}
        stay = [old for old in entry.met if old.field not in asked]
        return actions + self._entries.refuse(entry, entry.planned, (*stay, *refused))
