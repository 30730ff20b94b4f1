"""The placement commands of ``holdfast``: explain, preview, override and restore."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.client import DaemonClient
from holdfast.cli.options import ClientCommand, client_options
from holdfast.cli.suggestion import pids, rule_names
from holdfast.cli.table import aligned, show
from holdfast.inert import inert
from holdfast.wording import BY_HAND, change_lines, pod_name

if TYPE_CHECKING:
    from holdfast.api.placement.v1 import placement_pb2 as pb
    from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub

ANY_PID = click.IntRange(1, 2**22)
LONGEST = 100  # characters of a command line or of patterns, for people; json has all of it


def stub(client: DaemonClient) -> PlacementStub:
    """Return the generated client, imported at the first call."""
    from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub

    return client.stub(PlacementStub)


@click.command(cls=ClientCommand)
@click.argument("pid", type=ANY_PID, shell_complete=pids)
@client_options
def explain(client: DaemonClient, pid: int) -> None:
    """Explain which rule applies to the process PID, why, and what prevents each change."""
    from holdfast.api.placement.v1.placement_pb2 import ExplainRequest

    answer = client.ask(stub(client).Explain, ExplainRequest(pid=pid))
    if not client.emitted(answer):
        show(explained(answer))


def explained(answer: pb.ExplainResponse) -> list[str]:
    """The lines of an explanation, for people."""
    some, decision = answer.process, answer.decision
    command = _cut(inert(" ".join(some.cmdline) or f"[{some.comm}]"))
    lines = [
        f"process {some.pid} ({some.comm}), child of {some.ppid}, user {some.uid}, {some.threads} threads",
        f"  command        {command}",
        f"  program        {some.exe or '(hidden)'}",
        *(f"  cgroup         {path}{_of(names)}" for path, names in _by_path(some).items()),
        f"  oom_score_adj  {some.oom_score_adj}",
        *([f"  pod            {_pod_line(some.pod)}"] if some.HasField("pod") else []),
        "rules, in their order",
    ]
    chosen = decision.rule
    for one in answer.considered:
        if not one.holds:
            wanted = _cut(inert(one.wanted))
            lines.append(f"  no   {one.rule}: {one.clause} is {one.found or '(empty)'}, wants {wanted}")
        else:
            lines.append(f"  yes  {one.rule}{'' if one.rule == chosen else ' (an earlier one decides)'}")
            lines += [f"         {key.key}: {_fact(key)}" for key in one.keys if one.rule == chosen]
    lines.append(f"decision: {_verdict(decision)}")
    verb = "would write" if decision.dry_run else "to write"
    lines += [f"  {verb:<15}{line}" for line in change_lines(decision.changes)]
    lines += [f"  in the way     {refusal.detail} [{refusal.reason}]" for refusal in decision.refusals]
    if answer.placement.rule == decision.rule:
        foreseen = [(refusal.field, refusal.reason) for refusal in decision.refusals]
        met = [refusal for refusal in answer.placement.refusals if (refusal.field, refusal.reason) not in foreseen]
        lines += [f"  last time      {refusal.detail} [{refusal.reason}]" for refusal in met]
    if answer.placement.rule == BY_HAND:
        until = f"{answer.placement.expires.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"
        lines.append(f"  override       oom_score_adj {answer.placement.oom_score_adj} until {until}, above the rules")
    return lines + [f"  note           {inert(note)}" for note in answer.notes]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _fact(key: pb.KeyStanding) -> str:
    return f"a claim: {inert(key.claim)}" if key.claim else "a fact"


def _verdict(decision: pb.Decision) -> str:
    if not decision.rule:
        return "no rule, nothing is done"
    how = (" as a child of a match" if decision.as_child else "") + (", by claim" if decision.by_claim else "")
    mode = ", a dry run" if decision.dry_run else ""
    done = "" if decision.changes or decision.refusals else ": everything is as it should be"
    return f"rule {decision.rule}{how}{mode}{done}"


def _by_path(process: pb.Process) -> dict[str, list[str]]:
    paths: dict[str, list[str]] = {}
    for hierarchy, path in sorted(process.cgroups.items()):
        paths.setdefault(path, []).append(hierarchy)
    return paths


def _of(hierarchies: list[str]) -> str:
    named = [name or "unified" for name in hierarchies]
    return "" if named == ["unified"] else f"  ({', '.join(named)})"


def _pod_line(pod: pb.Pod) -> str:
    name = pod_name(pod) if pod.name else f"uid {pod_name(pod)}"
    return f"{name}, {pod.qos or 'no class'}, container {pod.container_id[:12] or '(none)'}"


@click.command(cls=ClientCommand)
@click.option("--rule", default="", shell_complete=rule_names, help="Only what this rule would do.")
@click.option(
    "--rules",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Try the rules of this file instead of those in force; needs the unix socket or a granted certificate.",
)
@client_options
def preview(client: DaemonClient, rule: str, path: Path | None) -> None:
    """Show what the rules would write now, and what prevents each change. Nothing is written."""
    from holdfast.api.placement.v1.placement_pb2 import PreviewRequest, TryRequest

    if path is None:
        answer = client.ask(stub(client).Preview, PreviewRequest(rule=rule))
    else:
        answer = client.ask(stub(client).Try, TryRequest(rules_yaml=path.read_text("utf-8")))
    if not client.emitted(answer):
        show(previewed(answer))


def previewed(answer: pb.PreviewResponse) -> list[str]:
    """The lines of a preview, for people: one per change, one per refusal, and the sum."""
    rows, counts = [], Counter[str]()
    for some in answer.planned:
        decision, head = some.decision, (some.decision.rule, str(some.process.pid), some.process.comm)
        rows += [(*head, line) for line in change_lines(decision.changes)]
        rows += [(*head, f"refused: {refusal.detail}") for refusal in decision.refusals]
        counts["changes"] += len(decision.changes)
        counts["refusals"] += len(decision.refusals)
        counts["in order"] += not decision.changes and not decision.refusals
    total = (
        f"{answer.looked_at} processes examined, {len(answer.planned)} under a rule, {counts['in order']} of them as "
        f"they should be; {counts['changes']} changes, {counts['refusals']} refusals. Nothing was written."
    )
    return [*(aligned([("RULE", "PID", "NAME", "CHANGE"), *rows]).split("\n") if rows else []), total]


@click.command(cls=ClientCommand, context_settings={"ignore_unknown_options": True})  # so that -500 is a number
@click.argument("pid", type=ANY_PID, shell_complete=pids)
@click.argument("oom_score_adj", type=click.IntRange(-999, 1000))
@click.option("--for", "ttl", default="1h", show_default=True, metavar="DURATION", help="Duration: 90s, 30m, 12h.")
@click.option("--reason", default="", help="Reason, shown by explain and in the log.")
@client_options
def hold(client: DaemonClient, pid: int, oom_score_adj: int, ttl: str, reason: str) -> None:
    """Override the rules for the process PID with an OOM_SCORE_ADJ, for a limited time."""
    from google.protobuf.duration_pb2 import Duration

    from holdfast.api.placement.v1.placement_pb2 import HoldRequest
    from holdfast.config.quantity import parse_duration

    lasts = Duration()
    try:
        lasts.FromNanoseconds(int(parse_duration(ttl) * 1e9))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from None
    request = HoldRequest(pid=pid, oom_score_adj=oom_score_adj, ttl=lasts, reason=reason)
    answer = client.ask(stub(client).Hold, request)
    until = f"{answer.expires.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"
    line = f"{answer.pid} ({answer.comm}) has {answer.oom_score_adj} until {until}"
    if not client.emitted(answer):
        show([line])


@click.command(cls=ClientCommand)
@click.argument("pid", type=ANY_PID, shell_complete=pids)
@client_options
def release(client: DaemonClient, pid: int) -> None:
    """End the override of the process PID: the rules apply again."""
    from holdfast.api.placement.v1.placement_pb2 import ReleaseRequest

    answer = client.ask(stub(client).Release, ReleaseRequest(pid=pid))
    under = f"under rule {answer.placement.rule}" if answer.HasField("placement") else "under no rule"
    if not client.emitted(answer):
        show([f"{pid} is {under}"])


@click.command(cls=ClientCommand)
@click.option("--rule", default="", shell_complete=rule_names, help="Only what this rule wrote.")
@click.option("--pid", type=ANY_PID, shell_complete=pids, help="Only what was written to this process.")
@client_options
def restore(client: DaemonClient, rule: str, pid: int | None) -> int:
    """Restore everything: each value that holdfast wrote, and that did not change since, becomes what it was before.

    The rules concerned act again when rules are put in force next: by a reload that is not refused (SIGHUP is one,
    also with an unchanged file), by another bundle where the configuration follows one, or by a restart. Exit code 1
    when something could not be restored yet; it is tried again.
    """
    from holdfast.api.placement.v1.placement_pb2 import RestoreRequest

    answer = client.ask(stub(client).Restore, RestoreRequest(rule=rule, pid=pid or 0))
    if not client.emitted(answer):
        click.echo(
            f"{answer.given_back} restored, {answer.left} left as another program changed them, "
            f"{answer.gone} of processes that are gone"
            + (
                f"; {answer.apart} in the nearest group above, as their cgroup is gone or threaded"
                if answer.apart
                else ""
            )
        )
        for line in answer.failed:
            show([f"failed: {line}"], err=True)
    return int(bool(answer.failed))
