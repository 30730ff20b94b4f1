"""Before: what would stand without us. Pure.

One definition, for a process's ``oom_score_adj`` and for its cgroups (files of groups are not inherited):

* A present value that is *ours* (we wrote it, or may have) changes nothing: what stood before our first write stands
  on.
* A present value that another program chose since is its own, and becomes what is given back. What was forked until
  then has what was there before: it is looked at first.
* A process that we never wrote to and that has a value of ours *inherited* it: it forked, or was started by a runtime
  in a container, while the other had it. Without us it would have what the other had before us.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache

from msgspec.structs import replace

from holdfast.node.journal.rows import MOST_EARLIER, AdjRow, Identity, MoveRow
from holdfast.node.journal.table import Held, Table
from holdfast.node.model.decision import Decision
from holdfast.node.model.process import Process


@lru_cache(maxsize=64)  # one object for all the heirs of a process
def _identity(pid: int, start_ticks: int) -> Identity:
    return pid, start_ticks


def givers(process: Process, table: Table, forker: Identity | None) -> Iterator[Held]:
    """Who may have handed something of ours on to a process: its parent, who was told to have forked it (and may have
    ended since), and its container's first process.
    """
    parent = table.processes.get(process.ppid)
    if parent is not None and _is_parent(parent, process):
        yield parent
    if forker is not None and (held := table.held(*forker)) is not None and held is not parent:
        yield held
    main = process.pod.main if process.pod is not None else None
    if main is not None and main != (process.pid, process.start_ticks):
        first = table.held(*main)
        if first is not None and first is not parent:
            yield first


def _is_parent(held: Held, process: Process) -> bool:
    if process.ancestors:
        return process.ancestors[0].start_ticks == held.start_ticks
    return held.start_ticks <= process.start_ticks


def giver_of(process: Process, value: int, table: Table, forker: Identity | None) -> AdjRow | None:
    """The row of who handed ``value`` on to a process; None: it is no value of ours that it inherited."""
    if forker is None and process.pod is None and process.ppid not in table.processes:
        return None  # as for nearly every process
    for held in givers(process, table, forker):
        if held.adj is not None and held.adj.gave(value, process.start_ticks):
            return held.adj
    return None


def inherited_adj(process: Process, giver: AdjRow) -> AdjRow:
    """The row of a process that has its value from ``giver``."""
    return AdjRow(
        process.pid,
        process.start_ticks,
        giver.before,
        giver.rule,
        written=process.oom_score_adj,
        since_ticks=process.start_ticks,
        give_back=giver.give_back,
        origin=giver.origin,
        heir_of=giver.heir_of or _identity(giver.pid, giver.start_ticks),
    )


def inherited_moves(process: Process, known: Iterable[str], table: Table, forker: Identity | None) -> list[MoveRow]:
    """The rows of groups that a process was born into because its parent was moved there; ``known`` have rows."""
    found: dict[str, MoveRow] = {}
    for held in givers(process, table, forker):
        for hierarchy, row in held.moves.items():
            if hierarchy in known or hierarchy in found or process.start_ticks < row.since_ticks:
                continue
            if row.is_ours(process.cgroups.get(hierarchy, "")):
                found[hierarchy] = replace(
                    row,
                    pid=process.pid,
                    start_ticks=process.start_ticks,
                    written=process.cgroups[hierarchy],
                    wanted=None,
                    since_ticks=process.start_ticks,
                    heir_of=row.heir_of or _identity(row.pid, row.start_ticks),
                )
    return list(found.values())


def wanting_adj(
    process: Process, decision: Decision, old: AdjRow | None, wanted: int, ticks: int, origin: str
) -> AdjRow:
    """The row for writing ``wanted``, over what is known."""
    present = process.oom_score_adj
    ours = old is not None and old.is_ours(present)
    earlier: tuple[int, ...] = ()
    if old is not None:
        past = (*old.earlier, *([old.written] if old.written is not None else []))
        earlier = tuple(dict.fromkeys(value for value in past if value != wanted))[-MOST_EARLIER:]
    assert decision.rule is not None
    return AdjRow(
        process.pid,
        process.start_ticks,
        old.before if old is not None and ours else present,
        decision.rule,
        written=present if ours else None,
        wanted=wanted,
        earlier=earlier,
        since_ticks=old.since_ticks if old is not None else ticks,
        as_child=decision.as_child,
        give_back=decision.restore_on_remove,
        origin=origin,
    )
