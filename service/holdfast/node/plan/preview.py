"""The outlook: the plan for all processes at once, and its effect on the next OOM. Preview and victims show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from holdfast.node.model.decision import AdjChange, Decision, MoveChange
from holdfast.node.model.memory_domain import MemoryDomain
from holdfast.node.model.process import UNIFIED, HostFacts, Lineage, Process
from holdfast.node.oom.victim import Ranking, rank
from holdfast.node.plan.claims import Claims
from holdfast.node.plan.plan import plan
from holdfast.node.rule.ruleset import Rules

_DEEPEST = 64


class Planned(Struct, frozen=True):
    """A process under a rule, and its decision."""

    process: Process
    decision: Decision


class PreviewResult(Struct, frozen=True):
    """The processes under a rule, in the rules' order, and the number examined.

    ``adjusted`` and ``moved`` are the values and memory groups that would differ from now, by pid.
    """

    planned: tuple[Planned, ...]
    looked_at: int
    adjusted: Mapping[int, int]
    moved: Mapping[int, str]


def look_ahead(
    processes: Iterable[Process], rules: Rules, host: HostFacts, go_on: Callable[[], None] = lambda: None
) -> PreviewResult:
    """Plan every process. Ancestors that are needed and not given are found among ``processes``.

    ``go_on`` is called before each plan, and may raise to end it.
    """
    everybody = {process.pid: process for process in processes}
    claims = Claims()
    planned = []
    for process in everybody.values():
        go_on()
        whole = process if process.ancestors else with_ancestors(process, everybody, rules.lineage)
        decision = plan(whole, rules, host, claims)
        if decision.rule is not None:
            planned.append(Planned(whole, decision))
    planned.sort(key=lambda some: (rules.order_of(some.decision.rule or ""), some.process.pid))
    # Plan again where settings are written: now it is known which rule decides each.
    planned = [
        Planned(some.process, plan(some.process, rules, host, claims)) if _has_settings(some.decision, rules) else some
        for some in planned
    ]
    changes = [(some.process.pid, change) for some in planned for change in some.decision.changes]
    moves = [(pid, change) for pid, change in changes if isinstance(change, MoveChange)]
    return PreviewResult(
        tuple(planned),
        len(everybody),
        {pid: change.after for pid, change in changes if isinstance(change, AdjChange)},
        {pid: move.after for pid, move in moves if _memory(move.hierarchy, host)},
    )


def _has_settings(decision: Decision, rules: Rules) -> bool:
    rule = rules.spec_named(decision.rule or "")
    return rule is None or bool(rule.in_place or (rule.cgroup and rule.cgroup.settings))


def with_ancestors(process: Process, everybody: Mapping[int, Process], lineage: Lineage) -> Process:
    """Return the process with as much of its ancestry as ``lineage`` asks for."""
    wanted = {Lineage.NONE: 0, Lineage.PARENT: 1, Lineage.ALL: _DEEPEST}[lineage]
    line: list[Process] = []
    parent = everybody.get(process.ppid)
    while parent is not None and len(line) < wanted:
        line.append(parent)
        parent = everybody.get(parent.ppid)
    return replace(process, ancestors=tuple(line)) if line else process


def rank_all(
    processes: Iterable[Process], domains: Iterable[MemoryDomain], host: HostFacts, preview: PreviewResult
) -> tuple[tuple[Ranking, Ranking], ...]:
    """Return each domain's ranking now, and with everything the rules want. Domains without processes are left out."""
    everybody = tuple(processes)
    pairs = (
        (rank(everybody, domain, host), rank(everybody, domain, host, preview.adjusted, preview.moved))
        for domain in domains
    )
    return tuple((now, after) for now, after in pairs if now.candidates)


def _memory(hierarchy: str, host: HostFacts) -> bool:
    return hierarchy == UNIFIED if host.is_v2 else "memory" in hierarchy.split(",")
