"""Keeps what is known of each process beside its rows, and what is shown and reported of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from holdfast.node.apply.action import Action, Order, Refused, Step, Tell
from holdfast.node.journal.rows import OverrideRow
from holdfast.node.journal.table import ProcessRows, Table
from holdfast.node.model.decision import AdjChange, Change, Decision, Field, Refusal
from holdfast.node.model.placement import BY_HAND, Happening, Placement, Report, State
from holdfast.node.model.process import Process

KEPT = "left as it is (on_remove: keep)"


class Now(Struct, frozen=True):
    """When something is seen: Unix time, and clock ticks from boot as ``start_ticks`` counts them."""

    unix_ns: int
    ticks: int


class Entry(Placement, gc=False):
    """The state of one process beside its rows: its placement, and the engine's own part.

    ``order``: the number of the order under way, 0: none. ``again``: examine the process when that order is settled.
    ``met``: the kernel's among the refusals, at the last try; the plan made the others. ``detail``: the text to report
    when everything is restored. ``stuck``: the things that were reported as impossible to restore.
    """

    order: int = 0
    again: bool = False
    met: tuple[Refusal, ...] = ()
    detail: str = ""
    stuck: tuple[str, ...] = ()

    @property
    def planned(self) -> list[Refusal]:
        """The refusals of the plan."""
        return [refusal for refusal in self.refusals if refusal not in self.met]


class Entries(dict[int, Entry]):
    """Every process under a rule or with something of ours, by pid."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table
        self._orders = 0

    def is_moving(self, pid: int) -> bool:
        """Whether an order for the process is under way."""
        entry = self.get(pid)
        return entry is not None and bool(entry.order)

    def order(self, entry: Entry, steps: Iterable[Step], now: Now, *, drifted: bool = False, at_ns: int = 0) -> Order:
        """Return an order for a process whose steps may wait; it is under way from now on."""
        self._orders += 1
        entry.order, entry.again = self._orders, False
        return Order(self._orders, entry.pid, entry.start_ticks, tuple(steps), now.ticks, drifted, at_ns)

    def withdraw(self, order: Order) -> None:
        """Note that an order was not handed over: nothing of it is under way."""
        entry = self.get(order.pid)
        if entry is not None and entry.order == order.number:
            entry.order = 0

    def refuse(self, entry: Entry, planned: Iterable[Refusal], met: Iterable[Refusal]) -> list[Action]:
        """Note the refusals of the plan and of the kernel; the action reports those that are new for this process."""
        planned, entry.met = tuple(planned), tuple(met)
        refusals = (*planned, *(one for one in entry.met if one not in planned))
        news = tuple(refusal for refusal in refusals if refusal not in entry.refusals)
        entry.refusals = refusals
        return [Refused(entry.rule, entry.pid, entry.comm, news)] if news else []

    def is_changed(self, placement: Placement) -> bool:
        """Whether the process is known to have something that we wrote."""
        held = self._table.held(placement.pid, placement.start_ticks)
        return held is not None and any(row.written is not None for row in held.values)

    @staticmethod
    def show(placement: Placement, process: Process, held: ProcessRows | None) -> None:
        """Show a process as it is now; ``held``: its rows."""
        row = held.adj if held is not None else None
        placement.comm = process.comm
        placement.oom_score_adj = process.oom_score_adj
        placement.adj_before = row.before if row is not None else None
        if process.cgroups:  # not read at an exec when no rule asks; the next rescan fills it in
            placement.group, placement.pod = process.memory_group, process.pod

    def show_ruled(
        self, placement: Placement, process: Process, held: ProcessRows | None, decision: Decision, now: Now
    ) -> None:
        """Show a process under the rule of a decision, whether or not anything is written; ``held``: its rows."""
        assert decision.rule is not None
        if placement.rule != decision.rule:
            placement.rule, placement.since_ns = decision.rule, now.unix_ns
        elif placement.state is State.PLANNED and not decision.dry_run:
            placement.since_ns = now.unix_ns  # the dry run is over: enforced since now
        if placement.state in (State.INHERITED, State.RETURNING):
            placement.state, placement.since_ns = State.HELD, now.unix_ns
        placement.as_child, placement.by_claim = decision.as_child, decision.by_claim
        placement.adjusts, placement.inherited = decision.adjusts, decision.inherited
        self.show(placement, process, held)
        override = held.override if held is not None else None
        placement.expires_ns = override.shown_unix_ns(now.unix_ns, now.ticks) if override is not None else 0


def made(process: Process, rule: str, now: Now) -> Entry:
    """Return the entry of a process that was not known."""
    return Entry(process.pid, process.start_ticks, process.comm, rule, since_ns=now.unix_ns)


def by_hand(process: Process, override: OverrideRow, decision: Decision | None) -> Decision:
    """Return the decision for an overridden process: the rules decide everything but its ``oom_score_adj``.

    ``decision``: that of the rules; None: everything in force stays.
    """
    now, wanted = process.oom_score_adj, override.adj
    changes: tuple[Change, ...] = (AdjChange(now, wanted),) if now != wanted else ()
    if decision is None or decision.dry_run:
        return Decision(process.pid, process.start_ticks, BY_HAND, changes)
    return Decision(
        process.pid,
        process.start_ticks,
        BY_HAND,
        changes + tuple(change for change in decision.changes if not isinstance(change, AdjChange)),
        tuple(refusal for refusal in decision.refusals if refusal.field is not Field.OOM_SCORE_ADJ),
        restore_on_remove=decision.restore_on_remove,
        moves=decision.rule is not None and decision.moves,
        group_rule=decision.rule or "",
    )


def tell(happening: Happening, placement: Placement, changes: tuple[Change, ...], now: Now, detail: str = "") -> Tell:
    """Return the report of an event of a process."""
    return Tell(
        Report(
            happening,
            placement.pid,
            placement.start_ticks,
            placement.comm,
            placement.rule,
            changes,
            detail,
            now.unix_ns,
            placement.pod,
        )
    )
