from __future__ import annotations

import grpc
import pytest
from holdfast.api.services.version.v1 import version_pb2_grpc
from holdfast.api.services.version.v1.version_pb2 import VersionResponse
from holdfast.errors import AlreadyExists, MisusedPlugin
from holdfast.rpc import Counters, GrpcRegistrar, InterceptorLayer

from tests.unit.rpc.serving import SERVICE, generic, handler, refused, serving, text

VERSION = "containerd.services.version.v1.Version"


class Versions(version_pb2_grpc.VersionServicer):
    async def Version(self, request, context):
        return VersionResponse(version="1")


async def echo(request, context):
    return request


def nobody(service: str) -> None:
    return None


async def test_generated_code_registers_as_it_would_with_a_server(short_dir):
    async with serving(
        short_dir, register=lambda registrar: version_pb2_grpc.add_VersionServicer_to_server(Versions(), registrar)
    ) as served:
        answer = await version_pb2_grpc.VersionStub(served.channel).Version(
            version_pb2_grpc.google_dot_protobuf_dot_empty__pb2.Empty()
        )
        assert answer.version == "1"
    assert served.registrar.services == (VERSION,)
    assert served.counted("Version", VERSION)["OK"] == 1


def test_nothing_is_registered_with_the_core_by_method():
    registrar = GrpcRegistrar(InterceptorLayer(Counters()), nobody)
    version_pb2_grpc.add_VersionServicer_to_server(Versions(), registrar)
    assert isinstance(registrar, grpc.GenericRpcHandler)


def test_a_service_registered_twice_is_refused_and_the_first_stays():
    registrar = GrpcRegistrar(InterceptorLayer(Counters()), nobody)
    first = handler("unary", echo)
    registrar.add_generic_rpc_handlers((generic({"M": first}),))
    with pytest.raises(AlreadyExists, match=SERVICE):
        registrar.add_generic_rpc_handlers((generic({"N": first}),))
    assert registrar.services == (SERVICE,)


def test_a_service_with_one_bad_handler_is_not_served_at_all():
    registrar = GrpcRegistrar(InterceptorLayer(Counters()), nobody)
    with pytest.raises(MisusedPlugin):
        registrar.add_generic_rpc_handlers((generic({"M": handler("unary", echo), "N": handler("unary", len)}),))
    assert registrar.services == ()
    assert registrar._methods == {}


def test_a_handler_of_another_make_is_refused():
    class Own(grpc.GenericRpcHandler):
        def service(self, details):
            return None

    with pytest.raises(MisusedPlugin, match=r"Own: use grpc\.method_handlers_generic_handler"):
        GrpcRegistrar(InterceptorLayer(Counters()), nobody).add_generic_rpc_handlers((Own(),))


async def test_unknown_services_and_methods_are_named_as_grpc_go_names_them(short_dir):
    async with serving(short_dir, {"M": handler("unary", echo)}) as served:
        for shape in ("unary", "server"):
            assert await refused(served.method(shape, "M", "no.such.Service")(text(""))) == (
                "UNIMPLEMENTED",
                "unknown service no.such.Service",
            )
            assert await refused(served.method(shape, "X")(text(""))) == (
                "UNIMPLEMENTED",
                f"unknown method X for service {SERVICE}",
            )
        malformed = served.channel.unary_unary("/nothing")
        assert await refused(malformed(b"")) == ("UNIMPLEMENTED", 'malformed method name: "/nothing"')


async def test_a_service_whose_plugin_failed_is_answered_with_the_reason(short_dir):
    reasons = {"lost.v1.Service": "plugin io.containerd.grpc.v1.lost failed: no disk"}
    async with serving(short_dir, {"M": handler("unary", echo)}, why_absent=reasons.get) as served:
        assert await refused(served.method("unary", "M", "lost.v1.Service")(text(""))) == (
            "UNIMPLEMENTED",
            "unknown service lost.v1.Service (plugin io.containerd.grpc.v1.lost failed: no disk)",
        )


async def test_an_unwrapped_service_is_served_and_not_counted(short_dir):
    def register(registrar: GrpcRegistrar) -> None:
        registrar.add_methods(SERVICE, {f"/{SERVICE}/M": handler("unary", echo)}, wrapped=False)

    async with serving(short_dir, register=register) as served:
        served.layer.gate.closed = True  # a draining daemon still answers it
        assert await served.method("unary", "M")(text("a")) == text("a")
    assert list(served.layer.counters._methods) == []


async def test_a_choice_of_the_services_serves_these_and_says_so_of_the_others(short_dir):
    whole = GrpcRegistrar(InterceptorLayer(Counters()), nobody)
    whole.add_generic_rpc_handlers((generic({"M": handler("unary", echo)}),))
    version_pb2_grpc.add_VersionServicer_to_server(Versions(), whole)
    chosen = whole.only([VERSION, "none.of.it"])
    assert chosen.services == (VERSION,)
    assert chosen._absence(f"/{SERVICE}/M") == f"unknown service {SERVICE} (this listener serves {VERSION} alone)"
    assert whole.only([VERSION], "for probes")._absence(f"/{SERVICE}/M") == f"unknown service {SERVICE} (for probes)"
    assert whole.services == (SERVICE, VERSION)
