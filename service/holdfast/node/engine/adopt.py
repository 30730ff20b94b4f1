"""What a container runtime wrote for a rule as it created a container: held from then on as if we had written it.

On the engine's thread, over its `Keeper`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from msgspec.structs import replace

from holdfast.errors import ProcessGone
from holdfast.node.engine.reconciler import Keeper
from holdfast.node.journal.rows import ADJ, HeldRow, SettingRow
from holdfast.node.model.placement import Placement
from holdfast.process import oomscore


def adopt(keeper: Keeper, pid: int, asked: int, written: int, rule: str) -> None:
    """A process was born with a value that ``rule`` gave it, in place of ``asked``: held as if we had written it.

    Nothing, if it is gone, has another value by now, or is held by hand. What was there before is ``asked`` even
    where we were quicker than the runtime, and wrote over what its process had from the shim, and where we came so
    late that another rule took what it was born with for its own. It is given back at once if the rule is no more.
    """
    try:
        with keeper.hands.reader.proc.open(pid) as process:
            glance = keeper.hands.reader.glance_of(process)
            present = oomscore.read(process)
    except ProcessGone:
        return
    known = keeper.actor.row(pid, glance.start_ticks)
    if known is not None and known.before == str(written):
        row = replace(known, before=str(asked))
    elif present == written and pid not in keeper.by_hand:
        spec = keeper.rules.spec_named(rule)
        give_back = spec is None or spec.on_remove == "restore"
        row = HeldRow(pid, glance.start_ticks, ADJ, str(asked), str(written), rule, give_back=give_back)
    else:
        return
    keeper.hands.journal.hold((row,))
    keeper.actor.remember(row)
    keeper.placements.setdefault(
        pid, Placement(pid, glance.start_ticks, glance.comm, row.rule, since_ns=time.time_ns())
    )  # so that it is given back if no rule has it after all
    keeper.look_at(pid)


def adopt_files(keeper: Keeper, rows: Iterable[SettingRow]) -> None:
    """Files of a group were written for a rule by who made the group: held as if we had, to be given back.

    Nothing, if the file says something else by now. What the row has as the value before counts even where we were
    quicker than the runtime, and read what a new group has. The next sweep gives back what no rule says any more.
    """
    for row in rows:
        if keeper.hands.host.says(row):
            spec = keeper.rules.spec_named(row.rule)
            keeper.hands.journal.forget((row,))
            keeper.hands.journal.set(replace(row, give_back=spec is None or spec.on_remove == "restore"))
