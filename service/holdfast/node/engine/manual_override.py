"""Holding one process's ``oom_score_adj`` by hand, for a time; the rules' word on it does not count meanwhile.

On the engine's thread, over its `Keeper`. The hold is in the journal before it is acted on, so it outlives us.
"""

from __future__ import annotations

from msgspec.structs import replace

from holdfast.errors import FailedPrecondition, ProcessGone, Unavailable
from holdfast.node.engine.reconciler import Keeper
from holdfast.node.journal.rows import HandRow
from holdfast.node.model.placement import Placement


def hold(keeper: Keeper, row: HandRow) -> Placement:
    """Hold a process.

    Raises:
        ProcessGone: it ended, or the number is another's now.
        FailedPrecondition: the kernel said no; nothing is held then.
    """
    with keeper.hands.reader.proc.open(row.pid) as process:
        glance = keeper.hands.reader.glance_of(process)
        if glance.start_ticks != row.start_ticks or glance.kernel_thread:
            raise ProcessGone(str(row.pid))
        known = keeper.by_hand.get(row.pid)
        keeper.by_hand[row.pid] = row
        keeper.hands.journal.hold_by_hand(row)
        keeper.act(process, *keeper.decide(glance, process), 0)
        placement = keeper.placements[row.pid]
        if placement.refusals:
            why = placement.refusals[0].detail
            _take_back(keeper, row, known)
            raise FailedPrecondition(why)
        return replace(placement)


def release(keeper: Keeper, pid: int) -> bool:
    """End a hold; the rules decide again. False when there was none.

    Raises:
        Unavailable: the journal cannot be written; the hold stands.
    """
    row = keeper.by_hand.get(pid)
    if row is None:
        return False
    keeper.hands.journal.forget((row,))
    _end(keeper, row)
    return True


def expire(keeper: Keeper, now_ns: int) -> None:
    """End the holds whose time is over (Unix time)."""
    for row in list(keeper.by_hand.values()):
        if row.expires_ns <= now_ns:
            try:
                keeper.hands.journal.forget((row,))
            except Unavailable as error:  # on a full disk; its time is over when it is read again
                keeper.cannot(row.pid, error)
            _end(keeper, row)


def _end(keeper: Keeper, row: HandRow) -> None:
    keeper.by_hand.pop(row.pid, None)
    keeper.look_at(row.pid)


def _take_back(keeper: Keeper, row: HandRow, known: HandRow | None) -> None:
    keeper.hands.journal.forget((row,))
    keeper.by_hand.pop(row.pid, None)
    if known is not None:
        keeper.by_hand[row.pid] = known
        keeper.hands.journal.hold_by_hand(known)
    keeper.look_at(row.pid)
