"""Values that tab completion offers, as the daemon has them: rules, services, bundles, processes, pods.

A daemon that cannot be reached, or that does not answer within `WAIT_S`, gives no suggestions and no message: the shell
is in the middle of a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast import namespaces
from holdfast.cli.client import DaemonClient
from holdfast.client.connection import Target, Tls, default_address
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from holdfast.api.placement.v1 import placement_pb2 as pb

WAIT_S = 1.0
#: A value and what the shell says about it; bash shows the value alone.
Pair = tuple[str, str]
Suggest = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def from_daemon(ask: Callable[[DaemonClient], Iterable[Pair]]) -> Suggest:
    """Turn a question to the daemon into click's ``shell_complete``."""

    def suggest(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        client = _client(context)
        try:
            found = dict(ask(client))
        except HoldfastError:
            return []
        finally:
            client.close()
        return [
            CompletionItem(value, help=about or None)
            for value, about in found.items()
            if value.startswith(incomplete) and value.isprintable() and " " not in value
        ]

    return suggest


def _client(context: click.Context) -> DaemonClient:
    """The connection that the words before the cursor ask for."""
    given = context.params
    files = {name: _path(given.get(f"tls_{name}")) for name in ("ca", "cert", "key")}
    tls = Tls(**files, server_name=given.get("tls_server_name"))
    address = given.get("address") or default_address()
    return DaemonClient(Target(address, namespaces.DEFAULT, WAIT_S, tls), "table", for_programs=False)


def _path(given: object) -> Path | None:
    return None if given is None else Path(str(given))


def _placements(client: DaemonClient, *fields: str) -> Iterable[pb.PlacementInfo]:
    from google.protobuf.field_mask_pb2 import FieldMask

    from holdfast.api.placement.v1.placement_pb2 import ListPlacementsRequest
    from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub

    request = ListPlacementsRequest(read_mask=FieldMask(paths=fields))
    answer: pb.ListPlacementsResponse = client.ask(client.stub(PlacementStub).ListPlacements, request)
    return answer.placements


@from_daemon
def rule_names(client: DaemonClient) -> Iterable[Pair]:
    """The rules in force, each with its reason."""
    from google.protobuf.field_mask_pb2 import FieldMask

    from holdfast.api.placement.v1.placement_pb2 import ListRulesRequest
    from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub

    request = ListRulesRequest(read_mask=FieldMask(paths=["name", "reason"]))
    answer = client.ask(client.stub(PlacementStub).ListRules, request)
    return ((rule.name, rule.reason) for rule in answer.rules)


@from_daemon
def pids(client: DaemonClient) -> Iterable[Pair]:
    """The processes under a rule."""
    return ((str(some.pid), f"{some.comm}, {some.rule}") for some in _placements(client, "pid", "comm", "rule"))


@from_daemon
def pods(client: DaemonClient) -> Iterable[Pair]:
    """The pods that have processes under a rule."""
    return ((some.pod.name, some.pod.namespace) for some in _placements(client, "pod") if some.pod.name)


@from_daemon
def pod_namespaces(client: DaemonClient) -> Iterable[Pair]:
    """The namespaces of these pods."""
    return ((some.pod.namespace, "") for some in _placements(client, "pod") if some.pod.namespace)


@from_daemon
def memory_cgroups(client: DaemonClient) -> Iterable[Pair]:
    """The memory cgroups with a limit."""
    from holdfast.api.placement.v1.placement_pb2 import VictimsRequest
    from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub

    answer = client.ask(client.stub(PlacementStub).Victims, VictimsRequest(limit=1))
    return ((ranking.domain, f"{ranking.processes} processes") for ranking in answer.rankings if ranking.domain != "/")


@from_daemon
def killed(client: DaemonClient) -> Iterable[Pair]:
    """The processes that the OOM killer killed."""
    from holdfast.api.placement.v1.placement_pb2 import KillsRequest
    from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub

    answer = client.ask(client.stub(PlacementStub).Kills, KillsRequest(limit=100))
    return ((str(kill.pid), f"{kill.comm}, {kill.at.ToDatetime():%Y-%m-%d %H:%M}") for kill in answer.kills)


@from_daemon
def services(client: DaemonClient) -> Iterable[Pair]:
    """The services that health knows."""
    from grpc_health.v1 import health_pb2
    from grpc_health.v1.health_pb2_grpc import HealthStub

    if not hasattr(health_pb2, "HealthListRequest"):  # before 1.85
        return ()
    states = health_pb2.HealthCheckResponse.ServingStatus
    answer = client.ask(client.stub(HealthStub).List, health_pb2.HealthListRequest())
    return ((name, states.Name(state.status)) for name, state in sorted(answer.statuses.items()) if name)


@from_daemon
def bundles(client: DaemonClient) -> Iterable[Pair]:
    """The bundles of the node."""
    from holdfast.api.bundle.v1.bundle_pb2 import ListRequest
    from holdfast.api.bundle.v1.bundle_pb2_grpc import BundlesStub

    answer = client.ask(client.stub(BundlesStub).List, ListRequest())
    return ((one.name or one.digest, one.digest) for one in answer.bundles)


def builtin_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The files of built-in rules; they come with the command itself."""
    from click.shell_completion import CompletionItem

    from holdfast.node.rule import builtin

    return [CompletionItem(name) for name in (*builtin.names(), *builtin.optional()) if name.startswith(incomplete)]
