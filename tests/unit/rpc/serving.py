"""A real grpc.aio server on a unix socket, with one service whose methods a test brings, and what a test asks of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from holdfast.rpc import Counters, GrpcRegistrar, InterceptorLayer
from holdfast.rpc.counters import GO_CODES

from tests.running import async_until

SERVICE = "test.v1.Echo"
SHAPES = {
    "unary": grpc.unary_unary_rpc_method_handler,
    "server": grpc.unary_stream_rpc_method_handler,
    "client": grpc.stream_unary_rpc_method_handler,
    "bidi": grpc.stream_stream_rpc_method_handler,
}


def text(words: str) -> StringValue:
    return StringValue(value=words)


def handler(shape: str, behavior: Any, answer: Any = StringValue) -> Any:
    return SHAPES[shape](behavior, StringValue.FromString, answer.SerializeToString)


def generic(methods: dict[str, Any], service: str = SERVICE) -> Any:
    return grpc.method_handlers_generic_handler(service, methods)


@dataclass
class Served:
    """A server, and a client of it."""

    channel: grpc.aio.Channel
    server: grpc.aio.Server
    layer: InterceptorLayer
    registrar: GrpcRegistrar
    target: str = field(default="")

    def method(self, shape: str, name: str, service: str = SERVICE, raw: bool = False) -> Any:
        make = {
            "unary": self.channel.unary_unary,
            "server": self.channel.unary_stream,
            "client": self.channel.stream_unary,
            "bidi": self.channel.stream_stream,
        }[shape]
        if raw:
            return make(f"/{service}/{name}")
        return make(f"/{service}/{name}", StringValue.SerializeToString, StringValue.FromString)

    def counted(self, name: str, service: str = SERVICE) -> dict[str, int]:
        """Return a method's counters that are not zero, by go-grpc-prometheus's words."""
        method = next(
            found
            for found in self.layer.counters._methods.values()
            if found.labels["grpc_method"] == name and found.labels["grpc_service"] == service
        )
        numbers = {"started": method.started, "received": method.received, "sent": method.sent}
        numbers.update(zip(GO_CODES, method.handled, strict=True))
        return {word: number for word, number in numbers.items() if number}


@asynccontextmanager
async def serving(
    directory: Path,
    methods: dict[str, Any] | None = None,
    *,
    layer: InterceptorLayer | None = None,
    why_absent: Callable[[str], str | None] = lambda service: None,
    policy: Any = None,
    options: Any = (),
    register: Callable[[GrpcRegistrar], None] | None = None,
) -> AsyncIterator[Served]:
    layer = layer or InterceptorLayer(Counters())
    registrar = GrpcRegistrar(layer, why_absent, policy)
    if methods:
        registrar.add_generic_rpc_handlers((generic(methods),))
    if register is not None:
        register(registrar)
    server = grpc.aio.server(handlers=[registrar], options=options)
    target = f"unix:{directory / 's'}"
    server.add_insecure_port(target)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(target) as channel:
            yield Served(channel, server, layer, registrar, target)
    finally:
        await server.stop(0)
        await _all_counted(layer)


async def _all_counted(layer: InterceptorLayer) -> None:
    """A client that left is counted when the handler's task is cancelled; the stop does not wait for that task."""
    methods = layer.counters._methods
    await async_until(lambda: all(one.started == sum(one.handled) for one in methods.values()), "all are counted")


async def refused(call: Any) -> tuple[str, str]:
    """The code's name and the sentence a call failed with."""
    try:
        if hasattr(call, "__await__"):
            await call
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details()
    raise AssertionError("the call succeeded")
