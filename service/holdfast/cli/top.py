"""``holdfast top``: pressure, the next victims, what is enforced by rule and by pod, and events, as they change."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct, field

from holdfast.cli.client import DaemonClient, client_options
from holdfast.cli.placement import change_lines, pod_name, size, stub
from holdfast.cli.victims import next_in_line
from holdfast.errors import HoldfastError
from holdfast.inert import inert

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from holdfast.api.placement.v1 import placement_pb2 as pb

_KEPT = 200


class Seen(Struct):
    """Result of the last query, and the reports since the start."""

    status: pb.StatusResponse
    rules: pb.ListRulesResponse
    victims: pb.VictimsResponse
    placements: pb.ListPlacementsResponse
    reports: deque[pb.Report] = field(default_factory=lambda: deque(maxlen=_KEPT))


@click.command()
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(min=0.2), help="Seconds per update.")
@click.option("--once", is_flag=True, help="Print one table and end.")
@client_options
def top(client: DaemonClient, every: float, once: bool) -> None:
    """Watch pressure, the next victims, the processes by rule and by pod, and the last events. Ends with Ctrl-C."""
    from rich.console import Console

    console = Console()
    reports: deque[pb.Report] = deque(maxlen=_KEPT)
    if once:
        console.print(screen(look(client, reports), console.height))
        return
    _live(client, console, reports, every)


def look(client: DaemonClient, reports: deque[pb.Report]) -> Seen:
    """Query everything once."""
    from holdfast.api.placement.v1.placement_pb2 import (
        ListPlacementsRequest,
        ListRulesRequest,
        StatusRequest,
        VictimsRequest,
    )

    asked = stub(client)
    return Seen(
        client.ask(asked.Status, StatusRequest()),
        client.ask(asked.ListRules, ListRulesRequest()),
        client.ask(asked.Victims, VictimsRequest(limit=3)),
        client.ask(asked.ListPlacements, ListPlacementsRequest()),
        reports,
    )


def _live(client: DaemonClient, console: Any, reports: deque[pb.Report], every: float) -> None:
    from rich.live import Live

    from holdfast.api.placement.v1.placement_pb2 import WatchRequest

    ended = threading.Event()
    failure: list[HoldfastError] = []

    def watch() -> None:
        try:
            for report in client.stream(stub(client).Watch, WatchRequest()):
                reports.append(report)
        except HoldfastError as error:
            failure.append(error)
        ended.set()

    first = look(client, reports)  # an unreachable daemon gives one line, not a thread's traceback
    threading.Thread(target=watch, name="watch", daemon=True).start()
    with Live(screen(first, console.height), console=console, screen=True, auto_refresh=False) as live:
        while not ended.wait(every):
            live.update(screen(look(client, reports), console.height), refresh=True)
    if failure:
        raise failure[0]


def screen(seen: Seen, height: int) -> Group:
    """All of it on one screen of ``height`` lines; the events get the lines that are left."""
    from rich.console import Group
    from rich.text import Text

    tables = [_rules(seen), *_pods(seen, max(3, height // 5)), _victims(seen, max(3, height // 4))]
    used = 4 + sum(table.row_count + 3 for table in tables)
    return Group(
        Text(inert(_head(seen.status))),
        Text(inert(_pressure(seen.status))),
        *tables,
        _events(seen, max(3, height - used)),
    )


def _head(status: pb.StatusResponse) -> str:
    mode = "dry run: nothing is written" if status.dry_run else "on"
    feed = "process events arrive" if not status.events else f"only rescans: {status.events}"
    took = status.last_sweep.ToNanoseconds() / 1e6
    return f"holdfast: {mode} · {feed} · last rescan {status.last_sweep_processes} processes in {took:.0f} ms"


def _pressure(status: pb.StatusResponse) -> str:
    if not status.pressure_pct:
        return "pressure: this kernel reports none"
    parts = (f"{name.replace('_', ' ')} {pct:.1f} %" for name, pct in sorted(status.pressure_pct.items()))
    return "pressure (10 s): " + " · ".join(parts)


def _table(title: str, *columns: str, wide: int = 0) -> Table:
    """A table whose last ``wide`` columns take what is left and are cut where there is too little."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, expand=wide > 0)
    for at, column in enumerate(columns):
        last = at >= len(columns) - wide
        table.add_column(column, no_wrap=True, overflow="ellipsis", ratio=1 if last else None)
    return table


def _row(table: Table, *cells: str) -> None:
    """A row of cells that are text and nothing else: a ``str`` would be rich's markup."""
    from rich.text import Text

    table.add_row(*(Text(inert(cell)) for cell in cells))


def _rules(seen: Seen) -> Table:
    table = _table("rules with processes", "rule", "mode", "held", "planned", "refused")
    for rule in seen.rules.rules:
        counts = rule.processes
        if any(counts.values()):
            mode = "suspended" if rule.suspended else "dry run" if rule.dry_run else "on"
            held = counts.get("held", 0) + counts.get("moving", 0)
            _row(table, rule.name, mode, str(held), str(counts.get("planned", 0)), str(_refused(counts)))
    return table


def _pods(seen: Seen, rows: int) -> list[Table]:
    """The pods under rules, first those that are not as they should be; no table on a node without pods."""
    states: dict[tuple[str, str], Counter[str]] = {}
    for some in seen.placements.placements:
        if some.HasField("pod"):
            states.setdefault((pod_name(some.pod), some.rule), Counter())[some.state] += 1
    if not states:
        return []
    table = _table("pods under rules", "pod", "rule", "held", "planned", "refused")
    ranked = sorted(states.items(), key=lambda one: (-_refused(one[1]), -one[1]["planned"], one[0]))
    for (pod, rule), counts in ranked[:rows]:
        held = str(counts["held"] + counts["moving"])
        _row(table, pod, rule, held, str(counts["planned"]), str(_refused(counts)))
    if len(ranked) > rows:
        _row(table, f"… and {len(ranked) - rows} more: holdfast ps")
    return [table]


def _refused(counts: Mapping[str, int]) -> int:
    return counts.get("refused", 0) + counts.get("partly", 0)


def _victims(seen: Seen, rows: int) -> Table:
    table = _table("next OOM victims", "where", "used", "limit", "now", "after the rules", wide=2)
    page = seen.victims.page_bytes
    for ranking in seen.victims.rankings[:rows]:
        _row(
            table,
            "the node" if ranking.domain == "/" else ranking.domain,
            size(ranking.usage_pages, page) if ranking.usage_pages else "-",
            size(ranking.limit_pages, page),
            next_in_line(ranking.now),
            next_in_line(ranking.after_rules),
        )
    return table


def _events(seen: Seen, rows: int) -> Table:
    table = _table("what happened", "time (UTC)", "what", "process", "rule", "pod", "", wide=2)
    for report in list(seen.reports)[-rows:]:
        changes = ", ".join(change_lines(report.changes))
        _row(
            table,
            f"{report.at.ToDatetime():%H:%M:%S}",
            report.happening,
            f"{report.comm} ({report.pid})" if report.pid else "-",  # what a pod asks for is no process's
            report.rule,
            pod_name(report.pod) if report.HasField("pod") else "-",
            report.detail or changes,
        )
    return table
