"""What is known of one process beside its rows, and what is told of it. Pure."""

from __future__ import annotations

from msgspec import Struct

from holdfast.node.apply.action import Tell
from holdfast.node.journal.rows import OverrideRow
from holdfast.node.model.decision import AdjChange, Change, Decision, Refusal
from holdfast.node.model.placement import BY_HAND, Happening, Placement, Report
from holdfast.node.model.process import Process

KEPT = "left as it is (on_remove: keep)"


class Now(Struct, frozen=True):
    """When something is seen: Unix time, and clock ticks from boot as ``start_ticks`` counts them."""

    unix_ns: int
    ticks: int


class Entry(Struct, gc=False):
    """What is known of one process beside its rows.

    ``order``: the number of what is under way, 0: nothing. ``again``: look at it when that is settled. ``planned`` and
    ``met``: what the plan refused, and what the kernel did when it was tried last. ``detail``: what to say when all is
    given back. ``stuck``: what was told that it cannot be given back.
    """

    placement: Placement
    order: int = 0
    again: bool = False
    planned: tuple[Refusal, ...] = ()
    met: tuple[Refusal, ...] = ()
    detail: str = ""
    stuck: tuple[str, ...] = ()


def by_hand(process: Process, override: OverrideRow) -> Decision:
    """What follows for a process that is held by hand."""
    now, wanted = process.oom_score_adj, override.adj
    changes = (AdjChange(now, wanted),) if now != wanted else ()
    return Decision(process.pid, process.start_ticks, BY_HAND, changes)


def tell(happening: Happening, placement: Placement, changes: tuple[Change, ...], now: Now, detail: str = "") -> Tell:
    """Something happened to a process."""
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
