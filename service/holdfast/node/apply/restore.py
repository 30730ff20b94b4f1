"""Giving back: every value that is still ours becomes what it was, and what is not ours is left alone.

Works from the journal alone, so also after a crash, without the daemon, and when it stops.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from msgspec import Struct, field

from holdfast.cgroups import parse_groups
from holdfast.errors import HoldfastError, KernelRefused, ProcessGone
from holdfast.node.apply.move_job import Order, moves_back
from holdfast.node.apply.writer import Host
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.rows import ADJ, HandRow, HeldRow, MadeRow, SettingRow
from holdfast.node.model.placement import Restored
from holdfast.process import OpenProcess, ProcRoot

_BATCH = 64  # processes held open at once


class _Count(Struct):
    given_back: int = 0
    left: int = 0
    gone: int = 0
    failed: list[str] = field(default_factory=list)


def give_back(
    proc: ProcRoot, host: Host, journal: Journal, *, rule: str | None = None, pid: int | None = None
) -> Restored:
    """Give back everything, or what one rule or one process was given. Rows that are dealt with leave the journal."""
    count = _Count()
    rows: dict[tuple[int, int], list[HeldRow]] = defaultdict(list)
    for row in journal.held():
        if rule in (None, row.rule) and pid in (None, row.pid):
            rows[row.pid, row.start_ticks].append(row)
    batch: list[list[HeldRow]] = []
    for of_one in rows.values():
        batch.append(of_one)
        if len(batch) == _BATCH:
            _give_back_processes(proc, host, journal, batch, count)
            batch = []
    _give_back_processes(proc, host, journal, batch, count)
    if pid is None:
        _give_back_groups(host, journal, rule, count)
    hands: list[HandRow] = [row for row in journal.by_hand() if pid in (None, row.pid)] if rule is None else []
    journal.forget(hands)
    return Restored(count.given_back, count.left, count.gone, tuple(count.failed))


def _give_back_processes(
    proc: ProcRoot, host: Host, journal: Journal, batch: Sequence[list[HeldRow]], count: _Count
) -> None:
    orders: list[Order] = []
    settled: list[HeldRow] = []
    moved: dict[int, list[HeldRow]] = {}
    try:
        for rows in batch:
            first = rows[0]
            try:
                process = proc.open(first.pid)
            except ProcessGone:
                count.gone += 1
                settled += rows
                continue
            try:
                if process.start_ticks() != first.start_ticks:
                    raise ProcessGone(str(first.pid))
                settled += _give_back_adj(host, process, rows, count)
                changes, left = moves_back(rows, parse_groups(process.read("cgroup")))
            except ProcessGone:
                count.gone += 1
                settled += rows
                process.close()
                continue
            settled += left
            count.left += len(left)
            orders.append(Order(process, first.start_ticks, first.rule, changes, giving_back=True))
            moved[first.pid] = [row for row in rows if row.field != ADJ and row not in left]
        for outcome in host.carry_out(orders):
            count.given_back += len(outcome.done)
            count.gone += outcome.gone
            count.failed += [refusal.detail for refusal in outcome.refused]
            settled += moved[outcome.order.process.pid]
    finally:
        for order in orders:
            order.process.close()
    journal.forget(settled)


def _give_back_adj(host: Host, process: OpenProcess, rows: Sequence[HeldRow], count: _Count) -> list[HeldRow]:
    settled = []
    for row in rows:
        if row.field != ADJ:
            continue
        try:
            if host.give_back_adj(process, row):
                count.given_back += 1
            else:
                count.left += 1
            settled.append(row)
        except KernelRefused as error:
            count.failed.append(error.advice)
    return settled


def _give_back_groups(host: Host, journal: Journal, rule: str | None, count: _Count) -> None:
    settled: list[SettingRow | MadeRow] = []
    for row in journal.settings():
        if rule in (None, row.rule):
            try:
                if host.give_back_setting(row):
                    count.given_back += 1
                else:
                    count.left += 1
                settled.append(row)
            except KernelRefused as error:
                count.failed.append(error.advice)
            except HoldfastError as error:
                count.failed.append(str(error))
                settled.append(row)
    settled += host.remove_made([row for row in journal.made() if rule in (None, row.rule)])
    journal.forget(settled)
