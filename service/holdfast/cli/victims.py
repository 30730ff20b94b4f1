"""``holdfast victims`` and ``holdfast kills``: what the OOM killer would choose next, and what it has chosen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from holdfast.cli.client import DaemonClient, client_options
from holdfast.cli.placement import ANY_PID, pod_name, size, stub
from holdfast.cli.table import aligned, as_json, plain, show
from holdfast.inert import valid

if TYPE_CHECKING:
    from holdfast.api.placement.v1 import placement_pb2 as pb

LIMIT = click.IntRange(1, 2**32 - 1)  # the API's uint32, in which 0 means its default


@click.command()
@click.option("--cgroup", default="", help="Only this memory cgroup; it must have a limit.")
@click.option("-l", "--limit", type=LIMIT, default=5, show_default=True, help="Number of candidates of each.")
@client_options
def victims(client: DaemonClient, cgroup: str, limit: int) -> None:
    """Show which process the OOM killer would choose next: on the node, and in each memory cgroup with a limit.

    The kernel's own arithmetic, now and with everything the rules require (dry run or not).
    """
    from holdfast.api.placement.v1.placement_pb2 import VictimsRequest

    answer = client.ask(stub(client).Victims, VictimsRequest(cgroup=valid(cgroup), limit=limit))
    if client.json:
        click.echo(as_json(plain(answer)))
        return
    show(_apart(ranked(ranking, answer) for ranking in answer.rankings) or ["no process can be chosen"])


def _apart(paragraphs: Iterable[list[str]]) -> list[str]:
    """The lines of all paragraphs, with an empty one between two."""
    return [line for paragraph in paragraphs for line in ("", *paragraph)][1:]


def ranked(ranking: pb.Ranking, answer: pb.VictimsResponse) -> list[str]:
    """The lines of one memory domain, for people."""
    page = answer.page_bytes
    swap = f" and {size(ranking.swap_pages, page)} swap" if ranking.swap_pages else ""
    used = f", {size(ranking.usage_pages, page)} used" if ranking.usage_pages else ""
    name = "the node" if ranking.domain == "/" else ranking.domain
    after = {one.pid: at for at, one in enumerate(ranking.after_rules.candidates, 1)}
    in_pods = any(map(_pod_of, ranking.now.candidates))
    rows = [
        (
            str(at),
            str(one.pid),
            one.comm,
            str(one.oom_score_adj),
            size(one.memory_pages, page),
            size(one.points, page) if one.HasField("points") else f"never ({one.why})",
            str(after.get(one.pid, "later")),
            one.rule or "-",
            *([_pod_of(one) or "-"] if in_pods else []),
        )
        for at, one in enumerate(ranking.now.candidates, 1)
    ]
    head = ("#", "PID", "NAME", "ADJ", "MEMORY", "POINTS", "# AFTER THE RULES", "RULE", *(["POD"] if in_pods else []))
    table = aligned([head, *rows])
    return [
        f"{name}: {size(ranking.limit_pages, page)}{swap}{used}, {ranking.processes} processes",
        *("  " + line for line in table.split("\n")),
        f"  now:             {verdict(ranking.now, answer)}",
        f"  after the rules: {verdict(ranking.after_rules, answer)}",
    ]


def _pod_of(candidate: pb.Candidate) -> str:
    """``namespace/pod/container``; empty outside of pods."""
    return pod_name(candidate.pod) if candidate.HasField("pod") else ""


def _called(candidate: pb.Candidate) -> str:
    """``postgres (123) db/pg-0/postgres``."""
    return " ".join(filter(None, (f"{candidate.comm} ({candidate.pid})", _pod_of(candidate))))


def next_in_line(order: pb.Order) -> str:
    """The process that the OOM killer would choose next, in a few words."""
    able = [one for one in order.candidates if one.HasField("points")]
    if not able:
        return "no process"
    others = f" or {order.tied - 1} other(s): a tie" if order.tie else ""
    group = f" + {len(order.killed_with_it)} of its group" if order.kill_group else ""
    return f"{_called(able[0])}{others}{group}"


def verdict(order: pb.Order, answer: pb.VictimsResponse) -> str:
    """The process that the OOM killer would choose next, and how certain that is."""
    page, unsure = answer.page_bytes, size(answer.uncertainty_pages, answer.page_bytes)
    able = [one for one in order.candidates if one.HasField("points")]
    if not able:
        return "no process can be chosen: the kernel panics, or waits for memory (vm.panic_on_oom)"
    words = _called(able[0])
    if order.tie:
        words = f"a tie of {order.tied}: any of them may be chosen, the kernel's counters are off by up to {unsure}"
    elif order.HasField("margin_pages"):
        words += f", {size(order.margin_pages, page)} ahead (counters may be off by {unsure})"
    if order.kill_group:
        words += f"; and with it all {len(order.killed_with_it)} of {order.kill_group} (memory.oom.group)"
        words += f" but {len(order.spared)} with -1000" if order.spared else ""
    return words


@click.command()
@click.argument("pid", type=ANY_PID, required=False)
@click.option("-l", "--limit", type=LIMIT, default=20, show_default=True, help="Number of kills, newest first.")
@client_options
def kills(client: DaemonClient, pid: int | None, limit: int) -> None:
    """List the OOM kills since installation, or explain the kill of the process PID."""
    from holdfast.api.placement.v1.placement_pb2 import KillsRequest

    answer = client.ask(stub(client).Kills, KillsRequest(limit=0 if pid else limit))
    found = [kill for kill in answer.kills if pid in (None, kill.pid)]
    if client.json:
        click.echo(as_json([plain(kill) for kill in found]))
    elif pid is not None:
        show(_apart(told(kill, answer.page_bytes) for kill in found) or [f"{pid}: no OOM kill is known"])
    elif found:
        head = ("WHEN (UTC)", "PID", "NAME", "MEMORY", "ADJ", "RAN OUT", "RULE", "POD")
        click.echo(aligned([head, *_rows(found, answer)]))
    else:
        click.echo("no OOM kills since holdfast was installed")


def _rows(found: list[pb.Kill], answer: pb.KillsResponse) -> list[tuple[str, ...]]:
    return [
        (
            f"{kill.at.ToDatetime():%Y-%m-%d %H:%M:%S}",
            str(kill.pid),
            kill.comm,
            size(kill.rss_pages, answer.page_bytes),
            str(kill.oom_score_adj),
            _domain(kill),
            kill.rule or "-",
            _pod(kill) or "-",
        )
        for kill in found
    ]


def _pod(kill: pb.Kill) -> str:
    """``namespace/pod/container``; the uid if no runtime had reported the pod; empty outside of pods."""
    named = "/".join(filter(None, (kill.pod_namespace, kill.pod_name, kill.container)))
    return named if kill.pod_name else kill.pod


def _domain(kill: pb.Kill) -> str:
    return "the node" if kill.domain == "/" else kill.domain or "a memory cgroup"


def told(kill: pb.Kill, page: int) -> list[str]:
    """The lines that explain why one process was killed."""
    at = f"{kill.at.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        f"{kill.comm} ({kill.pid}), user {kill.uid}, was killed at {at}",
        f"  ran out        {_domain(kill)}",
        f"  was in         {kill.group or 'not known'}",
        f"  had            {size(kill.rss_pages, page)} in memory, oom_score_adj {kill.oom_score_adj}",
        f"  rule           {kill.rule or 'none'}",
    ]
    if kill.pod:
        lines.append(f"  pod            {_pod(kill)}, container {kill.container_id[:12]}")
    if kill.HasField("pressure_pct"):
        lines.append(f"  pressure       {kill.pressure_pct:.1f} % of the ten seconds before, work waited for memory")
    if kill.predicted:
        seconds = (kill.at.ToNanoseconds() - kill.looked_at.ToNanoseconds()) / 1e9
        when = "at that moment, by the kernel's own table" if abs(seconds) < 1 else f"{seconds:.0f} s before"
        lines.append(f"  in line        {when}")
        rows = [
            (
                str(at),
                str(one.pid),
                one.comm,
                str(one.oom_score_adj),
                size(one.points, page),
                "killed" if one.pid == kill.pid else "",
            )
            for at, one in enumerate(kill.predicted, 1)
        ]
        lines += ["    " + row for row in aligned([("#", "PID", "NAME", "ADJ", "POINTS", ""), *rows]).split("\n")]
    return lines
