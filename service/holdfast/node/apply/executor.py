"""Acting on one process: the write, what the journal and the record say of it afterwards, and giving back.

The ``oom_score_adj`` rows of the journal are mirrored here, because every plan asks for them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from holdfast import log
from holdfast.cgroups import parse_groups
from holdfast.errors import HoldfastError, KernelRefused, ProcessGone, Unavailable
from holdfast.node.apply.metrics import Tally
from holdfast.node.apply.move_job import Order, Outcome, moves_back, refusal_of
from holdfast.node.apply.writer import Host
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.rows import ADJ, HeldRow, cgroup_field
from holdfast.node.model.decision import Change, Decision, Field, Refusal
from holdfast.node.model.placement import Happening, Placement, Report, State, state_of
from holdfast.node.model.process import Held
from holdfast.node.proc.evidence import EvidenceReader
from holdfast.node.proc.reader import Reader
from holdfast.process import OpenProcess

LOG = log.named(__name__)


class Hands(Struct, frozen=True):
    """What is worked with: eyes, the writer, the memory, the queue of moves, whom to tell, and what is counted."""

    reader: Reader
    evidence: EvidenceReader
    host: Host
    journal: Journal
    submit: Callable[[Order], None]
    report: Callable[[Report], None]
    tally: Tally


class Actor:
    """Carries decisions out, one process at a time.

    ``moved`` are pids with a move of ours in the journal, ``returning`` those whose way back waits in the queue.
    """

    def __init__(self, hands: Hands) -> None:
        self.hands = hands
        self.moved: set[int] = set()
        self.returning: set[int] = set()
        self._rows: dict[int, HeldRow] = {}
        self._said: set[tuple[str, str, str]] = set()
        self._adj_written = hands.tally.writes.labels(Field.OOM_SCORE_ADJ, "done")
        self._adj_after = hands.tally.held_after.labels(Field.OOM_SCORE_ADJ)
        self._group_after = hands.tally.held_after.labels(Field.CGROUP)

    def say_anew(self) -> None:
        """Say each refusal once more: the rules are new."""
        self._said.clear()

    def remember(self, row: HeldRow) -> None:
        """A row of the journal of a process that still is."""
        if row.field == ADJ:
            self._rows[row.pid] = row
        else:
            self.moved.add(row.pid)

    def forget(self, pid: int) -> None:
        """The process is gone; its rows in the journal go with the next sweep."""
        self._rows.pop(pid, None)
        self.moved.discard(pid)

    def row(self, pid: int, start_ticks: int) -> HeldRow | None:
        """The journal's row of a process's ``oom_score_adj``."""
        row = self._rows.get(pid)
        return row if row is not None and row.start_ticks == start_ticks else None

    def held(self, pid: int, start_ticks: int) -> Held | None:
        """What we did to a process's ``oom_score_adj``."""
        row = self.row(pid, start_ticks)
        if row is None:
            return None
        return Held(int(row.before), int(row.written), row.rule, row.as_child)

    def rerule(self, placement: Placement, decision: Decision) -> None:
        """What stands, stands under another rule now."""
        assert decision.rule is not None
        pid = placement.pid
        if pid in self._rows or pid in self.moved:
            self.hands.journal.rerule(
                pid,
                placement.start_ticks,
                decision.rule,
                as_child=decision.as_child,
                give_back=decision.restore_on_remove,
            )
        if pid in self._rows:
            self._rows[pid] = replace(self._rows[pid], rule=decision.rule, as_child=decision.as_child)

    def carry_out(self, process: OpenProcess, placement: Placement, decision: Decision, at_ns: int) -> None:
        """Write what is at once, hand on what may wait, and say how far it got.

        ``at_ns``: the exec that led to it, monotonic, or 0. A move that waits already is not ordered twice by a sweep.
        """
        refused, did = list(decision.refusals), False
        moves: list[Change] = []
        for change in decision.changes:
            if change.field is not Field.OOM_SCORE_ADJ:
                moves.append(change)
            elif (refusal := self._adjust(process, placement, change, decision, at_ns)) is not None:
                refused.append(refusal)
            else:
                did = True
        self.refuse(placement, refused)
        if placement.state is State.MOVING and not at_ns:
            return
        placement.state = State.MOVING if moves else state_of(refused, did=did or self._holds_something(placement))
        if moves:
            assert decision.rule is not None
            drifted = placement.pid in self.moved and self._stood(placement, moves)
            self.hands.submit(
                Order(
                    process.again(),
                    placement.start_ticks,
                    decision.rule,
                    tuple(moves),
                    decision.restore_on_remove,
                    drifted=drifted,
                    at_ns=at_ns,
                    looked_ns=time.monotonic_ns(),
                )
            )

    def _holds_something(self, placement: Placement) -> bool:
        return placement.adj_before is not None or placement.pid in self.moved

    def _stood(self, placement: Placement, moves: Iterable[Change]) -> bool:
        """Whether a move is one that we made before, under the same rule: somebody moved the process away."""
        rows = self.hands.journal.held_of(placement.pid, placement.start_ticks)
        stood = {(row.field, row.written) for row in rows if row.rule == placement.rule}
        return any((cgroup_field(move.hierarchy), move.group) in stood for move in moves if move.field is Field.CGROUP)

    def _adjust(
        self, process: OpenProcess, placement: Placement, change: Change, decision: Decision, at_ns: int
    ) -> Refusal | None:
        """Write an ``oom_score_adj`` now; the refusal if the kernel says no."""
        old, tally = self._rows.get(process.pid), self.hands.tally
        row = HeldRow(
            process.pid,
            placement.start_ticks,
            ADJ,
            (change.before or "0") if decision.adj_base is None else str(decision.adj_base),
            change.after,
            placement.rule,
            decision.as_child,
            decision.restore_on_remove,
        )
        try:
            self.hands.host.set_adj(process, row)
        except ProcessGone:
            raise
        except HoldfastError as error:
            tally.writes.inc(Field.OOM_SCORE_ADJ, "refused")
            refusal = refusal_of(error, Field.OOM_SCORE_ADJ)
            if refusal not in placement.refusals:
                self.report(Happening.FAILED, placement, (change,), refusal.detail)
            return refusal
        if at_ns:
            self._adj_after.observe((time.monotonic_ns() - at_ns) / 1e9)
        self._adj_written.value += 1
        drifted = old is not None and old.written == change.after and old.rule == placement.rule
        self._rows[process.pid] = _merged(old, row)
        placement.adj_before = int(self._rows[process.pid].before)
        placement.oom_score_adj = int(change.after)
        self._did(placement, (change,), drifted=drifted)
        return None

    def _did(self, placement: Placement, changes: tuple[Change, ...], *, drifted: bool, ago_ns: int = 0) -> None:
        if drifted:
            self.hands.tally.drift.inc(placement.rule)
        self.report(Happening.DRIFTED if drifted else Happening.HELD, placement, changes, ago_ns=ago_ns)

    def refuse(self, placement: Placement, refusals: Iterable[Refusal]) -> None:
        """Count what is new for this process, say what is new for its rule."""
        refusals = tuple(refusals)
        for refusal in refusals:
            if refusal in placement.refusals:
                continue
            self.hands.tally.refusals.inc(placement.rule, refusal.reason)
            key = (placement.rule, refusal.reason, refusal.field)
            if key not in self._said:
                self._said.add(key)
                LOG.warning(
                    "a rule cannot be applied",
                    rule=placement.rule,
                    pid=placement.pid,
                    comm=placement.comm,
                    reason=refusal.reason,
                    detail=refusal.detail,
                )
        placement.refusals = refusals

    def on_outcome(self, outcome: Outcome, placement: Placement | None) -> None:
        """What the mover did; ``placement`` is that of the very process, if it is still under a rule."""
        order, tally = outcome.order, self.hands.tally
        for change in outcome.done:
            tally.writes.inc(change.field, "done")
        for refusal in outcome.refused:
            tally.writes.inc(refusal.field, "refused")
        tally.strangers.labels().value += outcome.stranger
        if order.giving_back:
            self._on_given_back(outcome)
        elif placement is not None and not outcome.gone:
            self._on_moved(outcome, placement)

    def _on_moved(self, outcome: Outcome, placement: Placement) -> None:
        moves = [change for change in outcome.done if change.field is Field.CGROUP]
        ago_ns = time.monotonic_ns() - outcome.at_ns
        if moves:
            self.moved.add(placement.pid)
            placement.group = moves[0].group
            if outcome.order.at_ns:
                self._group_after.observe((outcome.at_ns - outcome.order.at_ns) / 1e9)
        if outcome.done:
            self._did(placement, tuple(outcome.done), drifted=outcome.order.drifted and bool(moves), ago_ns=ago_ns)
        news = [refusal for refusal in outcome.refused if refusal not in placement.refusals]
        if news:
            self.report(Happening.FAILED, placement, (), "; ".join(refusal.detail for refusal in news), ago_ns=ago_ns)
        self.refuse(placement, [*placement.refusals, *news])
        placement.state = state_of(placement.refusals, did=bool(outcome.done) or self._holds_something(placement))

    def _on_given_back(self, outcome: Outcome) -> None:
        order = outcome.order
        self.returning.discard(order.process.pid)
        with contextlib.suppress(Unavailable):  # rows of what is not ours any more are harmless
            rows = self.hands.journal.held_of(order.process.pid, order.start_ticks)
            self.hands.journal.forget([row for row in rows if row.field != ADJ])
        for refusal in outcome.refused:
            LOG.warning("could not give a cgroup back", pid=order.process.pid, rule=order.rule, detail=refusal.detail)

    def give_back(self, process: OpenProcess, placement: Placement, *, adj: bool, groups: bool, force: bool) -> bool:
        """Give back what is ours of a process; True when its rule said that everything stays (unless ``force``)."""
        rows = self.hands.journal.held_of(placement.pid, placement.start_ticks)
        rows = [row for row in rows if (adj if row.field == ADJ else groups)]
        keep = [row for row in rows if not (row.give_back or force)]
        settled = list(keep)
        back = [row for row in rows if row not in keep]
        for row in back:
            if row.field == ADJ:
                try:
                    self.hands.host.give_back_adj(process, row)
                except KernelRefused as error:
                    LOG.warning("could not give oom_score_adj back", pid=process.pid, detail=error.advice)
                settled.append(row)
        changes, left = moves_back(back, parse_groups(process.read("cgroup")))
        settled += left
        if changes:
            self.returning.add(process.pid)
            self.hands.submit(Order(process.again(), placement.start_ticks, placement.rule, changes, giving_back=True))
        self.hands.journal.forget(settled)
        if adj:
            self._rows.pop(process.pid, None)
            placement.adj_before = None
        if groups:
            self.moved.discard(process.pid)
        return bool(rows) and len(keep) == len(rows)

    def has_adj(self, pid: int) -> bool:
        """Whether a value of ours is, or may be, in the process."""
        return pid in self._rows

    def report(
        self,
        happening: Happening,
        placement: Placement,
        changes: tuple[Change, ...],
        detail: str = "",
        *,
        ago_ns: int = 0,
    ) -> None:
        """Tell whoever listens; it happened ``ago_ns`` ago."""
        self.hands.report(
            Report(
                happening,
                placement.pid,
                placement.start_ticks,
                placement.comm,
                placement.rule,
                changes,
                detail,
                time.time_ns() - ago_ns,
                placement.pod,
            )
        )


def _merged(old: HeldRow | None, new: HeldRow) -> HeldRow:
    """What the journal makes of a row that was there already (`Journal.hold`)."""
    if old is None or old.start_ticks != new.start_ticks:
        return new
    previous = old.previous if new.before == old.previous else old.written
    return replace(new, before=old.before if old.is_ours(new.before) else new.before, previous=previous)
