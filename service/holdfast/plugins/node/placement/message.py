"""The values of placement as the API's messages.

A field of a message has the name of the value that it shows, so `_copied` takes the values by the message's fields, and
a function here names only the fields that are converted. Names of processes, files and cgroups hold any bytes, a
protobuf string holds UTF-8: `made` converts them (`holdfast.inert.valid`), so no name makes a response fail. A field
``X_enum`` is the field ``X`` as an enum: `made` sets it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from google.protobuf.message import Message

from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.inert import valid_in
from holdfast.node.model.decision import AdjChange, Change, Decision, Field, MoveChange, Refusal
from holdfast.node.model.memory_domain import Kill
from holdfast.node.model.placement import Placement, Report, Restored, State
from holdfast.node.model.process import PodFacts, Process
from holdfast.node.oom.victim import Candidate, Ranking
from holdfast.node.plan.plan import Explanation
from holdfast.plugins.message import timestamp

_FIELDS = {
    Field.OOM_SCORE_ADJ: pb.FIELD_OOM_SCORE_ADJ,
    Field.CGROUP: pb.FIELD_CGROUP,
    Field.SETTING: pb.FIELD_SETTING,
}

ENUM = "_enum"
M = TypeVar("M", bound=Message)


@cache
def _enums(descriptor: Any) -> tuple[tuple[str, str, dict[str, int]], ...]:
    """Return each field ``X_enum`` of a message with ``X``, and the numbers by the words in ``X``."""
    found = []
    for name, field in descriptor.fields_by_name.items():
        if name.endswith(ENUM) and field.enum_type is not None:
            values = field.enum_type.values_by_name
            prefix = next(iter(values)).removesuffix("UNSPECIFIED")
            numbers = {word.removeprefix(prefix).lower(): value.number for word, value in values.items()}
            found.append((name, name.removesuffix(ENUM), numbers))
    return tuple(found)


def made(kind: type[M], /, **fields: object) -> M:
    """Return a message whose text is UTF-8, whatever bytes the values hold, with the enums of the words in it."""
    message = kind(**{name: valid_in(value) for name, value in fields.items()})
    for name, older, numbers in _enums(message.DESCRIPTOR):
        setattr(message, name, numbers.get(getattr(message, older), 0))
    return message


def _copied(kind: type[M], model: object, /, **converted: object) -> M:
    """Return a message with the attributes of ``model`` in the fields that are not ``converted``."""
    names = [name for name in kind.DESCRIPTOR.fields_by_name if name not in converted and not name.endswith(ENUM)]
    return made(kind, **{name: getattr(model, name) for name in names}, **converted)


def change(model: Change) -> pb.Change:
    """One change; here its values become text."""
    if isinstance(model, AdjChange):
        return pb.Change(field=pb.FIELD_OOM_SCORE_ADJ, before=str(model.before), after=str(model.after))
    if isinstance(model, MoveChange):
        return _copied(pb.Change, model, field=pb.FIELD_CGROUP, group=model.after, file="")
    return _copied(pb.Change, model, field=pb.FIELD_SETTING, lost="")


def refusal(model: Refusal) -> pb.Refusal:
    """One refusal."""
    return _copied(pb.Refusal, model, reason=model.reason.value, field=_FIELDS[model.field])


def _steps(model: Decision | Placement) -> dict[str, object]:
    """The changes and refusals of a value that has both."""
    return {"changes": map(change, model.changes), "refusals": map(refusal, model.refusals)}


def decision(model: Decision) -> pb.Decision:
    """One decision; an empty rule is none."""
    return _copied(pb.Decision, model, rule=model.rule or "", **_steps(model))


def pod(model: PodFacts | None) -> pb.Pod | None:
    """The pod without its labels, which may hold confidential data: the message has no field for them."""
    return _copied(pb.Pod, model) if model is not None else None


def process(model: Process, *, command: bool = True) -> pb.Process:
    """One process; ``command`` False leaves out its command line, for lists: these lines may hold passwords."""
    return _copied(pb.Process, model, cmdline=model.cmdline if command else (), pod=pod(model.pod))


def placement(model: Placement) -> pb.PlacementInfo:
    """One process under a rule."""
    return _copied(
        pb.PlacementInfo,
        model,
        state=model.state.value,
        since=timestamp(model.since_ns),
        expires=timestamp(model.expires_ns),
        pod=pod(model.pod),
        **_steps(model),
    )


def report(model: Report, resume_token: str = "") -> pb.Report:
    """One report of an event; the token is for a watcher."""
    return _copied(
        pb.Report,
        model,
        happening=model.happening.value,
        changes=map(change, model.changes),
        at=timestamp(model.at_ns),
        pod=pod(model.pod),
        resume_token=resume_token,
        placement=None,
    )


def present(model: Placement) -> pb.Report:
    """One process of a snapshot, as a report."""
    return made(
        pb.Report,
        happening="present",
        pid=model.pid,
        start_ticks=model.start_ticks,
        comm=model.comm,
        rule=model.rule,
        pod=pod(model.pod),
        placement=placement(model),
    )


def synced(resume_token: str) -> pb.Report:
    """The end of a snapshot, as a report."""
    return made(pb.Report, happening="synced", resume_token=resume_token)


def bookmark(resume_token: str) -> pb.Report:
    """A token alone, as a report."""
    return made(pb.Report, happening="bookmark", resume_token=resume_token)


def counts(by_state: Mapping[State, int]) -> list[pb.StateCount]:
    """The number of processes in each state that one of them has, in the enum's order."""
    numbers = {pb.State.Value(f"STATE_{state.name}"): number for state, number in by_state.items()}
    return [pb.StateCount(state=state, processes=number) for state, number in sorted(numbers.items())]  # type: ignore[arg-type]


def explanation(model: Explanation, known: Placement | None) -> pb.ExplainResponse:
    """An explanation, with the process's known placement."""
    return _copied(
        pb.ExplainResponse,
        model,
        process=process(model.process),
        decision=decision(model.decision),
        considered=[
            _copied(pb.Considered, one, keys=[_copied(pb.KeyStanding, key) for key in one.keys])
            for one in model.considered
        ],
        placement=placement(known) if known else None,
    )


def restored(model: Restored) -> pb.RestoreResponse:
    """The result of a restore."""
    return _copied(pb.RestoreResponse, model)


def kill(model: Kill) -> pb.Kill:
    """One OOM kill."""
    return _copied(
        pb.Kill,
        model,
        at=timestamp(model.at_ns),
        rule=model.rule or "",
        predicted=[_copied(pb.Standing, one) for one in model.predicted],
        looked_at=timestamp(model.looked_at_ns),
    )


def ranking(now: Ranking, after: Ranking, rules: Mapping[int, str], limit: int) -> pb.Ranking:
    """One memory domain, before and after the rules; ``rules`` are names by pid."""
    return _copied(
        pb.Ranking,
        now.domain,
        domain=now.domain.path,
        processes=len(now.candidates),
        now=_order(now, rules, limit),
        after_rules=_order(after, rules, limit),
    )


def _order(ranking: Ranking, rules: Mapping[int, str], limit: int) -> pb.Order:
    return _copied(
        pb.Order,
        ranking,
        candidates=[_candidate(one, rules) for one in ranking.candidates[:limit]],
        tied=len(ranking.tied),
        kill_group=ranking.group,
        killed_with_it=[one.pid for one in ranking.group_members],
        spared=[one.pid for one in ranking.spared],
    )


def _candidate(candidate: Candidate, rules: Mapping[int, str]) -> pb.Candidate:
    of = candidate.process
    return _copied(
        pb.Candidate,
        candidate,
        pid=of.pid,
        comm=of.comm,
        memory_pages=of.memory_pages,
        rule=rules.get(of.pid, ""),
        pod=pod(of.pod),
        group=of.memory_group,
    )
