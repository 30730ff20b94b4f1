from __future__ import annotations

from typing import Any

import pytest
from holdfast.api.config.v1 import config_pb2  # noqa: F401 (their descriptors are what is read)
from holdfast.api.placement.v1 import placement_pb2  # noqa: F401
from holdfast.api.services.containers.v1 import containers_pb2  # noqa: F401
from holdfast.api.services.content.v1 import content_pb2  # noqa: F401
from holdfast.api.services.events.v1 import events_pb2  # noqa: F401
from holdfast.api.services.images.v1 import images_pb2  # noqa: F401
from holdfast.api.services.introspection.v1 import introspection_pb2  # noqa: F401
from holdfast.api.services.leases.v1 import leases_pb2  # noqa: F401
from holdfast.api.services.namespaces.v1 import namespace_pb2  # noqa: F401
from holdfast.api.services.version.v1 import version_pb2  # noqa: F401
from holdfast.config.schema import Grant
from holdfast.errors import PermissionDenied
from holdfast.rpc.auth import identities_of, policy, reads

PUBLISH = "/containerd.services.events.v1.Events/Publish"
SUBSCRIBE = "/containerd.services.events.v1.Events/Subscribe"


class Caller:
    """The part of a gRPC context that identifies the caller."""

    def __init__(self, *names: str, common: str = "") -> None:
        self._properties: dict[str, list[bytes]] = {"transport_security_type": [b"ssl"]}
        if names:
            self._properties["x509_subject_alternative_name"] = [name.encode() for name in names]
        if common:
            self._properties["x509_common_name"] = [common.encode()]

    def auth_context(self) -> dict[str, Any]:
        return self._properties


def may(grants: list[Grant], method: str, caller: Caller) -> bool:
    authorize = policy(grants)(method)
    if authorize is None:
        return True
    try:
        authorize(caller)
    except PermissionDenied:
        return False
    return True


def test_a_method_reads_when_its_proto_says_so():
    assert reads(SUBSCRIBE)
    assert not reads(PUBLISH)


@pytest.mark.parametrize(
    "method", ["/no.such.Service/Get", "/containerd.services.events.v1.Events/Gone", "nonsense", ""]
)
def test_a_method_nobody_described_does_not_read(method):
    assert not reads(method)


@pytest.mark.parametrize(
    "method",
    [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_health_and_reflection_ask_for_nothing(method):
    assert policy([])(method) is None


@pytest.mark.parametrize(
    "method",
    [
        "containers.v1.Containers/Get",
        "containers.v1.Containers/ListStream",
        "content.v1.Content/Info",
        "content.v1.Content/Read",
        "images.v1.Images/List",
        "leases.v1.Leases/ListResources",
        "namespaces.v1.Namespaces/List",
    ],
)
def test_reading_what_clients_keep_needs_a_grant(method):
    method = f"/containerd.services.{method}"
    assert reads(method)
    assert not may([], method, Caller("anybody"))
    assert may([Grant(identities=("ops",), methods=("/containerd.services.*",))], method, Caller("ops"))
    with pytest.raises(PermissionDenied, match="reads what is kept for the node's own clients"):
        policy([])(method)(Caller())


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("/holdfast.placement.v1.Placement/Explain", "reads the command lines of processes"),
        (SUBSCRIBE, "reads the events of all namespaces"),
        ("/holdfast.config.v1.Config/Show", "reads the daemon's configuration"),
    ],
)
def test_reading_command_lines_events_and_the_configuration_needs_a_grant(method, why):
    assert reads(method)
    assert may([Grant(identities=("CN=monitor",), methods=(method,))], method, Caller(common="monitor"))
    with pytest.raises(PermissionDenied, match=f"{why} and is not granted to CN=monitor over TCP"):
        policy([])(method)(Caller(common="monitor"))


@pytest.mark.parametrize(
    "method",
    [
        "/containerd.services.version.v1.Version/Version",
        "/containerd.services.introspection.v1.Introspection/Plugins",
        "/holdfast.placement.v1.Placement/ListRules",
        "/holdfast.placement.v1.Placement/Watch",
    ],
)
def test_looking_at_the_daemon_itself_asks_for_nothing(method):
    assert policy([])(method) is None


def test_a_name_that_only_begins_like_health_is_not_health():
    assert policy([])("/grpc.health.v1.HealthX/Check") is not None
    assert policy([])("/grpc.reflectionx.Evil/Do") is not None


def test_what_changes_the_node_needs_a_grant_for_the_callers_name():
    grants = [Grant(identities=("spiffe://example.org/ops/*", "CN=operator"), methods=(PUBLISH,))]
    assert may(grants, PUBLISH, Caller("spiffe://example.org/ops/ada"))
    assert may(grants, PUBLISH, Caller("other", "spiffe://example.org/ops/ada"))
    assert may(grants, PUBLISH, Caller(common="operator"))
    assert not may(grants, PUBLISH, Caller("spiffe://example.org/dev/ada"))
    assert not may(grants, PUBLISH, Caller("operator"))
    assert not may(grants, PUBLISH, Caller(common="operator2"))
    assert not may(grants, PUBLISH, Caller())


def test_an_alternative_name_cannot_pose_as_a_common_name():
    grants = [Grant(identities=("CN=operator",), methods=("*",))]
    assert not may(grants, PUBLISH, Caller("CN=operator"))


def test_a_grant_covers_only_its_methods_and_star_is_any_text():
    grants = [Grant(identities=("a",), methods=("/x.Y/*",)), Grant(identities=("b",), methods=("*",))]
    assert may(grants, "/x.Y/Z", Caller("a"))
    assert not may(grants, "/x.Y2/Z", Caller("a"))
    assert may(grants, "/x.Y2/Z", Caller("b"))


def test_dots_in_a_grant_are_dots():
    grants = [Grant(identities=("a.b",), methods=("/x.Y/Z",))]
    assert not may(grants, "/x.Y/Z", Caller("aXb"))
    assert not may(grants, "/xxY/Z", Caller("a.b"))


def test_the_refusal_says_who_what_and_what_to_do():
    authorize = policy([])(PUBLISH)
    with pytest.raises(PermissionDenied) as caught:
        authorize(Caller("spiffe://example.org/dev/ada"))
    for words in (PUBLISH, "spiffe://example.org/dev/ada", "grpc.grants"):
        assert words in str(caught.value)
    with pytest.raises(PermissionDenied, match="a client without a certificate"):
        authorize(Caller())


def test_identities_are_alternative_names_then_the_common_name():
    assert identities_of(Caller("a", "b", common="c")) == ["a", "b", "CN=c"]
