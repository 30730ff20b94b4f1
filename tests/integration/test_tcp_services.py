"""Which services of a plugin are on TCP: those that it offers there, below the policy of `rpc.auth`."""

from __future__ import annotations

import sys

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from holdfast.api.placement.v1.placement_pb2 import WatchRequest

from tests.peers.daemon import ENVIRON
from tests.running import PATIENCE_S

PLUGINS = """
import grpc
from google.protobuf.empty_pb2 import Empty
from holdfast.plugin import Kind, plugin

async def answer(request, context):
    return Empty()

class Service:
    def __init__(self, name):
        self.name = name

    def register_grpc(self, registrar):
        method = grpc.unary_unary_rpc_method_handler(answer, Empty.FromString, Empty.SerializeToString)
        registrar.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(self.name, {"Call": method}),))

class OnBoth(Service):
    register_tcp = Service.register_grpc

class OnTcp:
    def __init__(self, name):
        self.register_tcp = Service(name).register_grpc

@plugin(Kind("io.example.here.v1"), "here", services=["example.v1.Here"])
async def here(context):
    yield Service("example.v1.Here")

@plugin(Kind("io.example.both.v1"), "both", services=["example.v1.Both"])
async def both(context):
    yield OnBoth("example.v1.Both")

@plugin(Kind("io.example.there.v1"), "there", services=["example.v1.There"])
async def there(context):
    yield OnTcp("example.v1.There")
"""
CONFIG = (
    "root: {0}/root\nstate: {0}/state\ngrpc: {{address: {0}/s.sock, tcp_address: '{1}'}}\nmetrics: {{address: ''}}\n"
    "web: {{address: ''}}\n"
)


@pytest.fixture
def daemon(start, short_dir):
    (short_dir / "offered.py").write_text(PLUGINS)

    def run(tcp: str):
        (short_dir / "c.yaml").write_text(CONFIG.format(short_dir, tcp))
        names = ",".join(f"offered:{name}" for name in ("here", "both", "there"))
        command = [sys.executable, "-m", "holdfast", "run", "-c", short_dir / "c.yaml", "--plugin", names]
        running = start(command, env=ENVIRON, cwd=short_dir)
        running.line("successfully booted")
        return running

    return run


#: Without a grant, of all that the daemon serves; what SECURITY.md calls the read-only methods for a TCP client.
OPEN_OVER_TCP = {
    "/containerd.services.introspection.v1.Introspection/Plugins",
    "/containerd.services.introspection.v1.Introspection/Server",
    "/containerd.services.version.v1.Version/Version",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/holdfast.bundle.v1.Bundles/List",
    "/holdfast.placement.v1.Placement/Kills",
    "/holdfast.placement.v1.Placement/ListPlacements",
    "/holdfast.placement.v1.Placement/ListRules",
    "/holdfast.placement.v1.Placement/Preview",
    "/holdfast.placement.v1.Placement/Status",
    "/holdfast.placement.v1.Placement/Victims",
    "/holdfast.placement.v1.Placement/Watch",
}


def served(channel: grpc.Channel) -> set[str]:
    """Every method of every service, by reflection."""

    def files(**asked: str) -> list[descriptor_pb2.FileDescriptorProto]:
        answers = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**asked)]))
        return [
            descriptor_pb2.FileDescriptorProto.FromString(file)
            for answer in answers
            for file in answer.file_descriptor_response.file_descriptor_proto
        ]

    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    (listed,) = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="*")]))
    return {
        f"/{name}/{method.name}"
        for name in (service.name for service in listed.list_services_response.service)
        for file in files(file_containing_symbol=name)
        for service in file.service
        if f"{file.package}.{service.name}" == name
        for method in service.method
    }


#: Requests to methods that would answer an empty one when something happens on the node.
REQUESTS = {"/holdfast.placement.v1.Placement/Watch": WatchRequest(snapshot=True).SerializeToString()}


def refused(channel: grpc.Channel, method: str) -> bool:
    call = channel.stream_stream(method)(iter([REQUESTS.get(method, b"")]), timeout=PATIENCE_S)
    try:
        next(call, None)
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.PERMISSION_DENIED
    finally:
        call.cancel()
    return False


def answered(target: str, service: str) -> tuple[str, str]:
    with grpc.insecure_channel(target) as channel:
        try:
            channel.unary_unary(f"/example.v1.{service}/Call")(b"", timeout=PATIENCE_S)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def test_a_plugin_offers_each_service_where_it_says(daemon, short_dir):
    running = daemon("127.0.0.1:0")
    tcp = running.line('listener="TCP grpc endpoint"').split("address=")[1].split()[0].strip('"')
    node = f"unix:{short_dir}/s.sock"
    assert [answered(node, service)[0] for service in ("Here", "Both", "There")] == ["OK", "OK", "UNIMPLEMENTED"]
    assert answered(tcp, "Here") == (
        "UNIMPLEMENTED",
        "unknown service example.v1.Here (its plugin offers it on the unix socket alone)",
    )
    for service in ("Both", "There"):  # not declared as reading: the policy stays on top
        code, words = answered(tcp, service)
        assert (code, "is not granted to a client without a certificate" in words) == ("PERMISSION_DENIED", True)


def test_a_service_for_tcp_alone_is_no_fault_where_there_is_no_tcp(daemon, short_dir):
    daemon("")
    with grpc.insecure_channel(f"unix:{short_dir}/s.sock") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=PATIENCE_S) == b"\x08\x01"
        assert check(b"\x0a\x0fexample.v1.Both", timeout=PATIENCE_S) == b"\x08\x01"


def test_without_a_grant_the_methods_that_are_named_here_answer_over_tcp_and_no_other(daemon, short_dir):
    tcp = daemon("127.0.0.1:0").line('listener="TCP grpc endpoint"').split("address=")[1].split()[0].strip('"')
    with grpc.insecure_channel(f"unix:{short_dir}/s.sock") as node, grpc.insecure_channel(tcp) as fleet:
        methods = {method for method in served(node) if not method.startswith("/example.")}
        assert len(methods) > 60
        assert {method for method in methods if not refused(fleet, method)} == OPEN_OVER_TCP
