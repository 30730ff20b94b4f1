"""The values of placement as the API's messages.

Names of processes, files and cgroups hold any bytes, a protobuf string holds UTF-8: `_made` converts them
(`holdfast.inert.valid`). So no name makes a response fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.inert import valid_in
from holdfast.node.model.decision import AdjChange, Change, Decision, Field, MoveChange, Refusal
from holdfast.node.model.memory_domain import Kill
from holdfast.node.model.placement import Placement, Report, Restored
from holdfast.node.model.process import PodFacts, Process
from holdfast.node.oom.victim import Candidate, Ranking
from holdfast.node.plan.plan import Explanation

_FIELDS = {
    Field.OOM_SCORE_ADJ: pb.FIELD_OOM_SCORE_ADJ,
    Field.CGROUP: pb.FIELD_CGROUP,
    Field.SETTING: pb.FIELD_SETTING,
}


M = TypeVar("M")


def _made(kind: Callable[..., M], /, **fields: object) -> M:
    """Return a message whose text is UTF-8, whatever bytes the values hold."""
    return kind(**{name: valid_in(value) for name, value in fields.items()})


def timestamp(nanoseconds: int) -> Timestamp | None:
    """Return Unix nanoseconds as a message; None for 0, which is no time."""
    if not nanoseconds:
        return None
    made = Timestamp()
    made.FromNanoseconds(nanoseconds)
    return made


def change(some: Change) -> pb.Change:
    """One change; here its values become text."""
    if isinstance(some, AdjChange):
        return pb.Change(field=pb.FIELD_OOM_SCORE_ADJ, before=str(some.before), after=str(some.after))
    if isinstance(some, MoveChange):
        return _made(
            pb.Change,
            field=pb.FIELD_CGROUP,
            before=some.before,
            after=some.after,
            hierarchy=some.hierarchy,
            group=some.after,
            create=some.create,
            lost=some.lost,
        )
    return _made(
        pb.Change,
        field=pb.FIELD_SETTING,
        before=some.before,
        after=some.after,
        hierarchy=some.hierarchy,
        group=some.group,
        file=some.file,
        create=some.create,
    )


def refusal(some: Refusal) -> pb.Refusal:
    """One refusal."""
    return _made(pb.Refusal, reason=some.reason.value, field=_FIELDS[some.field], detail=some.detail)


def decision(some: Decision) -> pb.Decision:
    """One decision; an empty rule is none."""
    return _made(
        pb.Decision,
        rule=some.rule or "",
        changes=map(change, some.changes),
        refusals=map(refusal, some.refusals),
        dry_run=some.dry_run,
        as_child=some.as_child,
        by_claim=some.by_claim,
    )


def pod(some: PodFacts | None) -> pb.Pod | None:
    """The pod without its labels, which may hold confidential data."""
    if some is None:
        return None
    return _made(
        pb.Pod,
        uid=some.uid,
        qos=some.qos,
        container_id=some.container_id,
        namespace=some.namespace,
        name=some.name,
        container=some.container,
    )


def process(some: Process, *, command: bool = True) -> pb.Process:
    """One process; ``command`` False leaves out its command line, for lists: these lines may hold passwords."""
    return _made(
        pb.Process,
        pid=some.pid,
        start_ticks=some.start_ticks,
        ppid=some.ppid,
        comm=some.comm,
        exe=some.exe,
        cmdline=some.cmdline if command else (),
        uid=some.uid,
        oom_score_adj=some.oom_score_adj,
        cgroups=some.cgroups,
        rss_pages=some.rss_pages,
        swap_pages=some.swap_pages,
        page_table_pages=some.page_table_pages,
        threads=some.threads,
        kernel_thread=some.kernel_thread,
        pod=pod(some.pod),
    )


def placement(some: Placement) -> pb.PlacementInfo:
    """One process under a rule."""
    return _made(
        pb.PlacementInfo,
        pid=some.pid,
        start_ticks=some.start_ticks,
        comm=some.comm,
        rule=some.rule,
        as_child=some.as_child,
        state=some.state.value,
        oom_score_adj=some.oom_score_adj,
        adj_before=some.adj_before,
        group=some.group,
        changes=map(change, some.changes),
        refusals=map(refusal, some.refusals),
        since=timestamp(some.since_ns),
        expires=timestamp(some.expires_ns),
        pod=pod(some.pod),
        by_claim=some.by_claim,
        inherited=some.inherited,
    )


def report(some: Report) -> pb.Report:
    """One report of an event."""
    return _made(
        pb.Report,
        happening=some.happening.value,
        pid=some.pid,
        start_ticks=some.start_ticks,
        comm=some.comm,
        rule=some.rule,
        changes=map(change, some.changes),
        detail=some.detail,
        at=timestamp(some.at_ns),
        pod=pod(some.pod),
    )


def explanation(some: Explanation, known: Placement | None) -> pb.ExplainResponse:
    """An explanation, with the process's known placement."""
    return _made(
        pb.ExplainResponse,
        process=process(some.process),
        decision=decision(some.decision),
        considered=[
            _made(
                pb.Considered,
                rule=one.rule,
                holds=one.holds,
                clause=one.clause,
                wanted=one.wanted,
                found=one.found,
                keys=[_made(pb.KeyStanding, key=key.key, claim=key.claim) for key in one.keys],
            )
            for one in some.considered
        ],
        notes=some.notes,
        placement=placement(known) if known else None,
    )


def restored(some: Restored) -> pb.RestoreResponse:
    """The result of a restore."""
    return _made(
        pb.RestoreResponse,
        given_back=some.given_back,
        left=some.left,
        gone=some.gone,
        failed=some.failed,
        apart=some.apart,
    )


def kill(some: Kill) -> pb.Kill:
    """One OOM kill."""
    return _made(
        pb.Kill,
        at=timestamp(some.at_ns),
        pid=some.pid,
        comm=some.comm,
        uid=some.uid,
        domain=some.domain,
        group=some.group,
        rss_pages=some.rss_pages,
        oom_score_adj=some.oom_score_adj,
        rule=some.rule or "",
        pod=some.pod,
        container_id=some.container_id,
        pod_namespace=some.pod_namespace,
        pod_name=some.pod_name,
        container=some.container,
        predicted=[
            _made(pb.Standing, pid=one.pid, comm=one.comm, points=one.points, oom_score_adj=one.oom_score_adj)
            for one in some.predicted
        ],
        looked_at=timestamp(some.looked_at_ns),
        pressure_pct=some.pressure_pct,
    )


def ranking(now: Ranking, after: Ranking, rules: Mapping[int, str], limit: int) -> pb.Ranking:
    """One memory domain, before and after the rules; ``rules`` are names by pid."""
    domain = now.domain
    return _made(
        pb.Ranking,
        domain=domain.path,
        limit_pages=domain.limit_pages,
        swap_pages=domain.swap_pages,
        usage_pages=domain.usage_pages,
        processes=len(now.candidates),
        now=_order(now, rules, limit),
        after_rules=_order(after, rules, limit),
    )


def _order(some: Ranking, rules: Mapping[int, str], limit: int) -> pb.Order:
    return _made(
        pb.Order,
        candidates=[_candidate(one, rules) for one in some.candidates[:limit]],
        margin_pages=some.margin_pages,
        tie=some.tie,
        tied=len(some.tied),
        kill_group=some.group,
        killed_with_it=[one.pid for one in some.group_members],
        spared=[one.pid for one in some.spared],
    )


def _candidate(some: Candidate, rules: Mapping[int, str]) -> pb.Candidate:
    return _made(
        pb.Candidate,
        pid=some.process.pid,
        comm=some.process.comm,
        oom_score_adj=some.oom_score_adj,
        points=some.points,
        why=some.why,
        memory_pages=some.process.memory_pages,
        rule=rules.get(some.process.pid, ""),
        pod=pod(some.process.pod),
        group=some.process.memory_group,
    )
