"""``holdfast status``: one screen with the state of the daemon, what it enforces, what is missing, the last changes."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click
from msgspec import Struct

from holdfast.cli.client import DaemonClient
from holdfast.cli.options import ClientCommand, client_options
from holdfast.cli.plugins import status as plugin_status
from holdfast.cli.table import plain
from holdfast.errors import HoldfastError, Unreachable
from holdfast.inert import inert
from holdfast.wording import (
    BY_HAND,
    STATES,
    domain_of,
    feed_of,
    mode_of,
    next_in_line,
    refusals_of,
    rescan_of,
)

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

MOST_MISSING, MOST_CHANGES = 6, 5  # lines, so that all fits into 24


class Answers(Struct):
    """The daemon's answers by name; ``refused`` has a line for each call that it refused."""

    by_name: dict[str, Any]
    refused: list[str]

    def of(self, name: str) -> Any:
        """One answer; None if the call was refused."""
        return self.by_name.get(name)


@click.command(cls=ClientCommand)
@client_options
def status(client: DaemonClient) -> int:
    """Show on one screen whether the daemon is well, what it enforces, what is missing, and what changed last.

    With -o json it is one object with the API's message of each call. Exit code 0 when the daemon serves, 1 when it
    does not, 3 when no daemon answers.
    """
    from grpc_health.v1.health_pb2 import HealthCheckResponse

    answers = _ask(client)
    health = answers.of("health")
    serves = health is not None and health.status == HealthCheckResponse.SERVING
    if client.for_programs:
        client.print_document({name: plain(answer) for name, answer in answers.by_name.items()})
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        click.echo("\n".join(_cut(inert(line), width) for line in screen(answers, client.target.address, serves)))
    return int(not serves)


def _cut(line: str, width: int | None) -> str:
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def _ask(client: DaemonClient) -> Answers:
    from google.protobuf.empty_pb2 import Empty
    from grpc_health.v1.health_pb2 import HealthCheckRequest
    from grpc_health.v1.health_pb2_grpc import HealthStub

    from holdfast.api.config.v1.config_pb2 import ShowRequest
    from holdfast.api.config.v1.config_pb2_grpc import ConfigStub
    from holdfast.api.placement.v1 import placement_pb2 as pb
    from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub
    from holdfast.api.services.introspection.v1.introspection_pb2 import PluginsRequest
    from holdfast.api.services.introspection.v1.introspection_pb2_grpc import IntrospectionStub
    from holdfast.api.services.version.v1.version_pb2_grpc import VersionStub

    placement, about = client.stub(PlacementStub), client.stub(IntrospectionStub)
    calls: dict[str, tuple[Callable[..., Any], Any]] = {
        "health": (client.stub(HealthStub).Check, HealthCheckRequest()),
        "version": (client.stub(VersionStub).Version, Empty()),
        "plugins": (about.Plugins, PluginsRequest()),
        "config": (client.stub(ConfigStub).Show, ShowRequest()),
        "placement": (placement.Status, pb.StatusRequest()),
        "rules": (placement.ListRules, pb.ListRulesRequest()),
        "placements": (placement.ListPlacements, pb.ListPlacementsRequest()),
        "victims": (placement.Victims, pb.VictimsRequest(limit=1)),
        "kills": (placement.Kills, pb.KillsRequest(limit=1)),
    }
    answers = Answers({}, [])
    for name, (method, request) in calls.items():
        try:
            answers.by_name[name] = client.ask(method, request)
        except Unreachable:
            raise
        except HoldfastError as error:
            answers.refused.append(f"{name}: {error}")
    return answers


def screen(answers: Answers, address: str, serves: bool) -> list[str]:
    """The lines for people."""
    version = answers.of("version")
    about = f"holdfast {version.version if version is not None else '?'} at {address}"
    lines = [f"{about} {'serves' if serves else 'does not serve: holdfast health --all'}", *_state(answers)]
    for title, most, found in (
        ("missing", MOST_MISSING, _missing(answers)),
        ("last changes (UTC)", MOST_CHANGES, _changes(answers)),
    ):
        rows = list(found)
        more = [f"… and {len(rows) - most} more"] if len(rows) > most else []
        lines += [title, *(f"  {row}" for row in [*rows[:most], *more] or ["nothing"])]
    return lines


def _state(answers: Answers) -> Iterator[str]:
    config, placement, rules = answers.of("config"), answers.of("placement"), answers.of("rules")
    if config is not None:
        last_good = ", the last good one" if config.is_last_good else ""
        yield f"  configuration  {config.hash[:12]}, in force since {_at(config.in_force_since)} UTC{last_good}"
    if placement is not None:
        yield f"  events         {feed_of(placement)}; last rescan {rescan_of(placement)}"
    if rules is not None:
        modes = Counter(map(mode_of, rules.rules))
        words = ", ".join(f"{number} {mode}" for mode, number in modes.most_common()) or "none"
        yield f"  rules          {words}"
    if (placements := answers.of("placements")) is not None:
        counts = Counter(some.state for some in placements.placements)
        by_hand = sum(some.rule == BY_HAND for some in placements.placements)
        words = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state] or state == "held")
        yield f"  processes      {words}" + (f"; {by_hand} overridden by hand" if by_hand else "")
    if (victims := answers.of("victims")) is not None and victims.rankings:
        yield f"  next victim    {next_in_line(victims.rankings[0].now)}"


def _missing(answers: Answers) -> Iterator[str]:
    yield from answers.refused
    config, placements, plugins = answers.of("config"), answers.of("placements"), answers.of("plugins")
    placement = answers.of("placement")
    if placement is not None and placement.events:
        yield f"process events: {placement.events}"
    if config is not None and config.refused:
        yield f"the files are refused: {config.refused}"
    if config is not None and config.needs_restart:
        yield f"waits for a restart: {', '.join(config.needs_restart)}"
    for plugin in plugins.plugins if plugins is not None else ():
        if plugin_status(plugin) == "error":
            yield f"plugin {plugin.id}: {plugin.init_err.message}"
    for number, reason, detail in refusals_of(placements.placements if placements is not None else ()):
        yield f"{number} × {detail} [{reason}]"


def _changes(answers: Answers) -> Iterator[str]:
    """The last changes, the latest first."""
    found: list[tuple[int, str]] = []
    placements, kills = answers.of("placements"), answers.of("kills")
    for some in placements.placements if placements is not None else ():
        if some.HasField("since"):
            words = f"{some.comm} ({some.pid}) {some.state} by {some.rule}: oom_score_adj {some.oom_score_adj}"
            found.append((some.since.ToNanoseconds(), f"{_at(some.since)}  {words}"))
    for kill in kills.kills if kills is not None else ():
        words = f"OOM kill: {kill.comm} ({kill.pid}), {domain_of(kill)} ran out"
        found.append((kill.at.ToNanoseconds(), f"{_at(kill.at)}  {words}"))
    latest = sorted(found, key=lambda one: -one[0])[:MOST_CHANGES]
    return (words for _, words in latest)


def _at(moment: Timestamp) -> str:
    return f"{moment.ToDatetime():%Y-%m-%d %H:%M:%S}"
