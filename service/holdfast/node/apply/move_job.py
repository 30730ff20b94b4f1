"""What the mover is asked for, and what it answers."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable

from msgspec import Struct, field

from holdfast.errors import HoldfastError, KernelRefused, NotFound, Unavailable
from holdfast.node.journal.rows import ADJ, HeldRow, cgroup_field
from holdfast.node.model.decision import Change, Field, Reason, Refusal
from holdfast.process import OpenProcess

#: errno of a refused write → the reason it is counted under.
_REASONS = {
    errno.EACCES: Reason.CAPABILITY,
    errno.EPERM: Reason.CAPABILITY,
    errno.EBUSY: Reason.INTERNAL_PROCESS,
    errno.EOPNOTSUPP: Reason.THREADED,
    errno.ENOSPC: Reason.CPUSET,
    errno.EINVAL: Reason.BAD_VALUE,
    errno.ERANGE: Reason.BAD_VALUE,
    errno.ENOENT: Reason.NO_CONTROLLER,
}


class Order(Struct, frozen=True):
    """Moves of one process and settings on the way, under one rule. ``process`` is closed by who takes the order.

    ``giving_back``: undo, so nothing is noted in the journal. ``drifted``: it was there before, and somebody moved it
    away. ``at_ns``: the exec that led to it, monotonic, or 0; ``looked_ns``: when it was seen where it was.
    """

    process: OpenProcess
    start_ticks: int
    rule: str
    changes: tuple[Change, ...]
    give_back: bool = True
    giving_back: bool = False
    drifted: bool = False
    at_ns: int = 0
    looked_ns: int = 0


class Outcome(Struct):
    """What became of an order. ``gone``: the process ended; ``stranger``: its number's new owner was moved back.

    ``at_ns``: when, monotonic; it may be heard of a while later.
    """

    order: Order
    at_ns: int = field(default_factory=time.monotonic_ns)
    done: list[Change] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    gone: bool = False
    stranger: bool = False


def refusal_of(error: HoldfastError, which: Field) -> Refusal:
    """A refused write as a refusal of the rule."""
    if isinstance(error, KernelRefused):
        reason = _REASONS.get(error.errno, Reason.KERNEL)
        if which is Field.CGROUP and error.errno == errno.EINVAL:
            reason = Reason.KERNEL
        return Refusal(reason, which, error.advice)
    if isinstance(error, Unavailable):
        return Refusal(Reason.JOURNAL, which, error.message)
    return Refusal(Reason.NO_CONTROLLER if isinstance(error, NotFound) else Reason.KERNEL, which, str(error))


def moves_back(rows: Iterable[HeldRow], present: dict[str, str]) -> tuple[tuple[Change, ...], list[HeldRow]]:
    """The moves that give a process's groups back, and the rows that no longer are ours to give back."""
    changes, left = [], []
    for row in rows:
        hierarchy = row.field.partition(":")[2]
        now = present.get(hierarchy, "")
        if row.field == ADJ:
            continue
        if row.is_ours(now) and now != row.before:
            changes.append(Change(Field.CGROUP, now, row.before, hierarchy=hierarchy, group=row.before))
        else:
            left.append(row)
    return tuple(changes), left


def rows_of(order: Order, wanted: Iterable[Change]) -> list[HeldRow]:
    """What the journal is to remember of these moves before they are made; nothing of the way back."""
    if order.giving_back:
        return []
    return [
        HeldRow(
            order.process.pid,
            order.start_ticks,
            cgroup_field(change.hierarchy),
            change.before or "/",
            change.group,
            order.rule,
            give_back=order.give_back,
        )
        for change in wanted
    ]
