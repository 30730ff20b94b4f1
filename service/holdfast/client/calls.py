"""Each call as a value: the service, the method, the request, and the part of the answer that the caller gets.

The two clients only carry a call out, each in its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from msgspec import Struct
from msgspec.structs import replace

from holdfast.api.config.v1 import config_pb2
from holdfast.api.config.v1.config_pb2_grpc import ConfigStub
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub
from holdfast.api.services.events.v1 import events_pb2
from holdfast.api.services.events.v1.events_pb2_grpc import EventsStub
from holdfast.api.services.introspection.v1 import introspection_pb2
from holdfast.api.services.introspection.v1.introspection_pb2_grpc import IntrospectionStub
from holdfast.api.services.version.v1 import version_pb2
from holdfast.api.services.version.v1.version_pb2_grpc import VersionStub
from holdfast.api.types.event_pb2 import Envelope

T = TypeVar("T")


class Call(Struct, Generic[T], frozen=True):
    """One call. ``take`` turns the answer, or each message of a stream, into what the caller gets."""

    stub: Callable[[Any], Any]
    method: str
    request: Any
    take: Callable[[Any], T]


def version() -> Call[version_pb2.VersionResponse]:
    """Version and revision of the daemon."""
    return Call(VersionStub, "Version", Empty(), _whole)


def serves(service: str) -> Call[bool]:
    """Whether the daemon, or one service, serves."""
    serving = health_pb2.HealthCheckResponse.SERVING
    request = health_pb2.HealthCheckRequest(service=service)
    return Call(HealthStub, "Check", request, lambda answer: bool(answer.status == serving))


def plugins(filters: tuple[str, ...]) -> Call[list[introspection_pb2.Plugin]]:
    """The plugins and the state of each."""
    request = introspection_pb2.PluginsRequest(filters=filters)
    return Call(IntrospectionStub, "Plugins", request, lambda answer: list(answer.plugins))


def config() -> Call[config_pb2.ShowResponse]:
    """The configuration in force."""
    return Call(ConfigStub, "Show", config_pb2.ShowRequest(), _whole)


def status() -> Call[pb.StatusResponse]:
    """The state of the engine."""
    return Call(PlacementStub, "Status", pb.StatusRequest(), _whole)


def rules(filters: Iterable[str], fields: Iterable[str]) -> Call[list[pb.RuleInfo]]:
    """The rules in force, in their order."""
    request = pb.ListRulesRequest(filters=filters, read_mask=FieldMask(paths=fields))
    return Call(PlacementStub, "ListRules", request, lambda answer: list(answer.rules))


def processes(rule: str, filters: Iterable[str], fields: Iterable[str], page_size: int) -> Call[list[pb.PlacementInfo]]:
    """The processes under a rule, or under any."""
    mask = FieldMask(paths=fields)
    request = pb.ListPlacementsRequest(rule=rule, filters=filters, read_mask=mask, page_size=page_size)
    return Call(PlacementStub, "ListPlacements", request, lambda answer: list(answer.placements))


def next_page(call: Call[T], answer: Any) -> Call[T] | None:
    """The call for the next page; None: the answer was the last one."""
    if not answer.next_page_token:
        return None
    request = type(call.request)()
    request.CopyFrom(call.request)
    request.page_token = answer.next_page_token
    return replace(call, request=request)


def explain(pid: int) -> Call[pb.ExplainResponse]:
    """One process against every rule."""
    return Call(PlacementStub, "Explain", pb.ExplainRequest(pid=pid), _whole)


def preview(
    rule: str, rules_yaml: str | None, filters: Iterable[str], fields: Iterable[str], page_size: int
) -> Call[pb.PreviewResponse]:
    """The changes that the rules in force, or those in ``rules_yaml``, would make."""
    mask = FieldMask(paths=fields)
    if rules_yaml is None:
        request = pb.PreviewRequest(rule=rule, filters=filters, read_mask=mask, page_size=page_size)
        return Call(PlacementStub, "Preview", request, _whole)
    tried = pb.TryRequest(rules_yaml=rules_yaml, filters=filters, read_mask=mask, page_size=page_size)
    return Call(PlacementStub, "Try", tried, _whole)


def victims(
    cgroup: str, limit: int, filters: Iterable[str], fields: Iterable[str], page_size: int
) -> Call[pb.VictimsResponse]:
    """The OOM killer's ranking."""
    mask = FieldMask(paths=fields)
    request = pb.VictimsRequest(cgroup=cgroup, limit=limit, filters=filters, read_mask=mask, page_size=page_size)
    return Call(PlacementStub, "Victims", request, _whole)


def kills(limit: int, filters: Iterable[str], fields: Iterable[str]) -> Call[pb.KillsResponse]:
    """The OOM kills, newest first."""
    request = pb.KillsRequest(limit=limit, filters=filters, read_mask=FieldMask(paths=fields))
    return Call(PlacementStub, "Kills", request, _whole)


def hold(pid: int, oom_score_adj: int, for_s: float, reason: str) -> Call[pb.PlacementInfo]:
    """Override the rules for one process."""
    ttl = Duration()
    ttl.FromNanoseconds(int(for_s * 1e9))
    request = pb.HoldRequest(pid=pid, oom_score_adj=oom_score_adj, ttl=ttl, reason=reason)
    return Call(PlacementStub, "Hold", request, _whole)


def release(pid: int) -> Call[pb.PlacementInfo | None]:
    """End an override."""

    def placement(answer: pb.ReleaseResponse) -> pb.PlacementInfo | None:
        return answer.placement if answer.HasField("placement") else None

    return Call(PlacementStub, "Release", pb.ReleaseRequest(pid=pid), placement)


def restore(rule: str, pid: int) -> Call[pb.RestoreResponse]:
    """Restore values."""
    return Call(PlacementStub, "Restore", pb.RestoreRequest(rule=rule, pid=pid), _whole)


def watch(request: pb.WatchRequest) -> Call[pb.Report]:
    """Reports of the engine, as they happen."""
    return Call(PlacementStub, "Watch", request, _whole)


def events(filters: tuple[str, ...]) -> Call[Envelope]:
    """Events of all namespaces, as they happen."""
    return Call(EventsStub, "Subscribe", events_pb2.SubscribeRequest(filters=filters), _whole)


def _whole(answer: Any) -> Any:
    return answer
