"""Who is known and who is gone: what the journal says of processes, against those that still are.

On the engine's thread, over its `Keeper`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from holdfast.errors import ProcessGone
from holdfast.node.engine.reconciler import Keeper
from holdfast.node.journal.rows import HandRow, HeldRow
from holdfast.node.model.placement import Placement
from holdfast.node.proc.parse import Glance


def recall(keeper: Keeper) -> None:
    """Take up what the journal says of processes that still are: after a restart, whatever ended the last run.

    Also after every sweep: rows of processes that are gone leave the journal.
    """
    gone: list[HeldRow | HandRow] = []
    for row in keeper.hands.journal.held():
        known = keeper.placements.get(row.pid)
        if (known is not None and known.start_ticks == row.start_ticks) or row.pid in keeper.actor.returning:
            continue
        try:
            glance = _same(keeper, row)
        except Exception as error:  # it cannot be read now; the next sweep takes it up
            keeper.cannot(row.pid, error)
            continue
        if glance is None:
            gone.append(row)
            continue
        keeper.actor.remember(row)
        keeper.placements.setdefault(
            row.pid,
            Placement(row.pid, row.start_ticks, glance.comm, row.rule, row.as_child, since_ns=time.time_ns()),
        )
    for hand in keeper.hands.journal.by_hand():
        try:
            is_gone = _same(keeper, hand) is None
        except Exception as error:
            keeper.cannot(hand.pid, error)
            continue
        if is_gone:
            gone.append(hand)
        else:
            keeper.by_hand[hand.pid] = hand
    keeper.hands.journal.forget(gone)


def prune(keeper: Keeper, missing: Iterable[bytes]) -> None:
    """Forget who is gone: of those known when a sweep began, the numbers that it did not see."""
    for number in missing:
        placement = keeper.placements.get(int(number))
        if placement is None:
            continue
        try:
            if keeper.hands.reader.glance(placement.pid).start_ticks == placement.start_ticks:
                continue
        except ProcessGone:
            pass
        except Exception as error:
            keeper.cannot(placement.pid, error)
            continue
        keeper.forget(placement.pid)


def _same(keeper: Keeper, row: HeldRow | HandRow) -> Glance | None:
    try:
        glance = keeper.hands.reader.glance(row.pid)
    except ProcessGone:
        return None
    return glance if glance.start_ticks == row.start_ticks else None
