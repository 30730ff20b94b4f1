"""``holdfast victims`` and ``holdfast kills``: what the OOM killer would choose next, and what it has chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from holdfast.cli.client import DaemonClient
from holdfast.cli.listing import OUTPUTS, Listing, Shown, list_options
from holdfast.cli.options import ClientCommand, client_options, client_options_for
from holdfast.cli.placement import ANY_PID, stub
from holdfast.cli.suggestion import killed, memory_cgroups
from holdfast.cli.table import NONE, Column, aligned, show
from holdfast.errors import NotFound
from holdfast.inert import valid
from holdfast.wording import domain_of, pod_of, pod_of_kill, size, verdict

if TYPE_CHECKING:
    from holdfast.api.placement.v1 import placement_pb2 as pb

LIMIT = click.IntRange(1, 2**32 - 1)  # the API's uint32, in which 0 means its default


@click.command(cls=ClientCommand)
@click.option(
    "--cgroup", default="", shell_complete=memory_cgroups, help="Only this memory cgroup; it must have a limit."
)
@click.option("-l", "--limit", type=LIMIT, default=5, show_default=True, help="Number of candidates of each.")
@client_options
def victims(client: DaemonClient, cgroup: str, limit: int) -> None:
    """Show which process the OOM killer would choose next: on the node, and in each memory cgroup with a limit.

    The kernel's own arithmetic, now and with everything the rules require (dry run or not).
    """
    from holdfast.api.placement.v1.placement_pb2 import VictimsRequest

    answer = client.ask(stub(client).Victims, VictimsRequest(cgroup=valid(cgroup), limit=limit))
    if client.emitted(answer):
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
    in_pods = any(map(pod_of, ranking.now.candidates))
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
            *([pod_of(one) or "-"] if in_pods else []),
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


def listing_of(page_bytes: Callable[[], int]) -> Listing[pb.Kill]:
    """Kills as a list. ``page_bytes`` is known when the daemon has answered."""
    return Listing(
        field="kills",
        columns=(
            Column("WHEN (UTC)", lambda kill: f"{kill.at.ToDatetime():%Y-%m-%d %H:%M:%S}"),
            Column("PID", lambda kill: str(kill.pid), key=lambda kill: kill.pid),
            Column("NAME", lambda kill: kill.comm),
            Column("MEMORY", lambda kill: size(kill.rss_pages, page_bytes()), key=lambda kill: kill.rss_pages),
            Column("ADJ", lambda kill: str(kill.oom_score_adj), key=lambda kill: kill.oom_score_adj),
            Column("RAN OUT", domain_of, most=30),
            Column("RULE", lambda kill: kill.rule or NONE),
            Column("POD", lambda kill: pod_of_kill(kill) or NONE, seldom=True),
            Column("CGROUP", lambda kill: kill.group or NONE, wide=True),
        ),
        name=lambda kill: str(kill.pid),
        identity=lambda kill: (kill.pid, kill.at.ToNanoseconds()),
        empty="no OOM kills since holdfast was installed",
    )


@click.command(cls=ClientCommand)
@click.argument("pid", type=ANY_PID, required=False, shell_complete=killed)
@click.option("-l", "--limit", type=LIMIT, default=20, show_default=True, help="Number of kills, newest first.")
@list_options(listing_of(int).columns)
@client_options_for("table", *OUTPUTS)
def kills(client: DaemonClient, pid: int | None, limit: int, shown: Shown) -> None:
    """List the OOM kills since installation, or explain the kill of the process PID.

    Exit code 1 if no kill of PID is known.
    """
    from holdfast.api.placement.v1.placement_pb2 import KillsRequest

    page_bytes = 0

    def ask() -> pb.KillsResponse:
        nonlocal page_bytes
        answer: pb.KillsResponse = client.ask(stub(client).Kills, KillsRequest(limit=0 if pid else limit))
        page_bytes = answer.page_bytes
        kept = [kill for kill in answer.kills if pid in (None, kill.pid)]
        del answer.kills[:]
        answer.kills.extend(kept)
        return answer

    if pid is None:
        listing_of(lambda: page_bytes).show(client, ask, shown)
        return
    answer = ask()
    if not answer.kills:
        raise NotFound(f"OOM kill of process {pid}")
    if not client.emitted(answer):
        show(_apart(told(kill, answer.page_bytes) for kill in answer.kills))


def told(kill: pb.Kill, page: int) -> list[str]:
    """The lines that explain why one process was killed."""
    at = f"{kill.at.ToDatetime():%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        f"{kill.comm} ({kill.pid}), user {kill.uid}, was killed at {at}",
        f"  ran out        {domain_of(kill)}",
        f"  was in         {kill.group or 'not known'}",
        f"  had            {size(kill.rss_pages, page)} in memory, oom_score_adj {kill.oom_score_adj}",
        f"  rule           {kill.rule or 'none'}",
    ]
    if kill.pod:
        lines.append(f"  pod            {pod_of_kill(kill)}, container {kill.container_id[:12]}")
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
