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


def change(model: Change) -> pb.Change:
    """One change; here its values become text."""
    if isinstance(model, AdjChange):
        return pb.Change(field=pb.FIELD_OOM_SCORE_ADJ, before=str(model.before), after=str(model.after))
    if isinstance(model, MoveChange):
        found = {"field": pb.FIELD_CGROUP, "group": model.after, "lost": model.lost}
    else:
        found = {"field": pb.FIELD_SETTING, "group": model.group, "file": model.file}
    return _made(
        pb.Change,
        before=model.before,
        after=model.after,
        hierarchy=model.hierarchy,
        create=model.create,
        **found,
    )


def refusal(model: Refusal) -> pb.Refusal:
    """One refusal."""
    return _made(pb.Refusal, reason=model.reason.value, field=_FIELDS[model.field], detail=model.detail)


def decision(model: Decision) -> pb.Decision:
    """One decision; an empty rule is none."""
    return _made(
        pb.Decision,
        rule=model.rule or "",
        changes=map(change, model.changes),
        refusals=map(refusal, model.refusals),
        dry_run=model.dry_run,
        as_child=model.as_child,
        by_claim=model.by_claim,
    )


def pod(model: PodFacts | None) -> pb.Pod | None:
    """The pod without its labels, which may hold confidential data."""
    if model is None:
        return None
    return _made(
        pb.Pod,
        uid=model.uid,
        qos=model.qos,
        container_id=model.container_id,
        namespace=model.namespace,
        name=model.name,
        container=model.container,
    )


def process(model: Process, *, command: bool = True) -> pb.Process:
    """One process; ``command`` False leaves out its command line, for lists: these lines may hold passwords."""
    return _made(
        pb.Process,
        pid=model.pid,
        start_ticks=model.start_ticks,
        ppid=model.ppid,
        comm=model.comm,
        exe=model.exe,
        cmdline=model.cmdline if command else (),
        uid=model.uid,
        oom_score_adj=model.oom_score_adj,
        cgroups=model.cgroups,
        rss_pages=model.rss_pages,
        swap_pages=model.swap_pages,
        page_table_pages=model.page_table_pages,
        threads=model.threads,
        kernel_thread=model.kernel_thread,
        pod=pod(model.pod),
    )


def placement(model: Placement) -> pb.PlacementInfo:
    """One process under a rule."""
    return _made(
        pb.PlacementInfo,
        pid=model.pid,
        start_ticks=model.start_ticks,
        comm=model.comm,
        rule=model.rule,
        as_child=model.as_child,
        state=model.state.value,
        oom_score_adj=model.oom_score_adj,
        adj_before=model.adj_before,
        group=model.group,
        changes=map(change, model.changes),
        refusals=map(refusal, model.refusals),
        since=timestamp(model.since_ns),
        expires=timestamp(model.expires_ns),
        pod=pod(model.pod),
        by_claim=model.by_claim,
        inherited=model.inherited,
    )


def report(model: Report) -> pb.Report:
    """One report of an event."""
    return _made(
        pb.Report,
        happening=model.happening.value,
        pid=model.pid,
        start_ticks=model.start_ticks,
        comm=model.comm,
        rule=model.rule,
        changes=map(change, model.changes),
        detail=model.detail,
        at=timestamp(model.at_ns),
        pod=pod(model.pod),
    )


def explanation(model: Explanation, known: Placement | None) -> pb.ExplainResponse:
    """An explanation, with the process's known placement."""
    return _made(
        pb.ExplainResponse,
        process=process(model.process),
        decision=decision(model.decision),
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
            for one in model.considered
        ],
        notes=model.notes,
        placement=placement(known) if known else None,
    )


def restored(model: Restored) -> pb.RestoreResponse:
    """The result of a restore."""
    return _made(
        pb.RestoreResponse,
        given_back=model.given_back,
        left=model.left,
        gone=model.gone,
        failed=model.failed,
        apart=model.apart,
    )


def kill(model: Kill) -> pb.Kill:
    """One OOM kill."""
    return _made(
        pb.Kill,
        at=timestamp(model.at_ns),
        pid=model.pid,
        comm=model.comm,
        uid=model.uid,
        domain=model.domain,
        group=model.group,
        rss_pages=model.rss_pages,
        oom_score_adj=model.oom_score_adj,
        rule=model.rule or "",
        pod=model.pod,
        container_id=model.container_id,
        pod_namespace=model.pod_namespace,
        pod_name=model.pod_name,
        container=model.container,
        predicted=[
            _made(pb.Standing, pid=one.pid, comm=one.comm, points=one.points, oom_score_adj=one.oom_score_adj)
            for one in model.predicted
        ],
        looked_at=timestamp(model.looked_at_ns),
        pressure_pct=model.pressure_pct,
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


def _order(ranking: Ranking, rules: Mapping[int, str], limit: int) -> pb.Order:
    return _made(
        pb.Order,
        candidates=[_candidate(one, rules) for one in ranking.candidates[:limit]],
        margin_pages=ranking.margin_pages,
        tie=ranking.tie,
        tied=len(ranking.tied),
        kill_group=ranking.group,
        killed_with_it=[one.pid for one in ranking.group_members],
        spared=[one.pid for one in ranking.spared],
    )


def _candidate(candidate: Candidate, rules: Mapping[int, str]) -> pb.Candidate:
    return _made(
        pb.Candidate,
        pid=candidate.process.pid,
        comm=candidate.process.comm,
        oom_score_adj=candidate.oom_score_adj,
        points=candidate.points,
        why=candidate.why,
        memory_pages=candidate.process.memory_pages,
        rule=rules.get(candidate.process.pid, ""),
        pod=pod(candidate.process.pod),
        group=candidate.process.memory_group,
    )
