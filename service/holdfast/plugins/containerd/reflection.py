"""Server reflection under both of its names: v1, and v1alpha, which older grpcurl asks for.

The library serves v1alpha. v1 is the same messages under another package (grpc/reflection/v1/reflection.proto states
it), so its methods are the same handlers, and its descriptor is the old one renamed, to describe reflection itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from functools import cache
from typing import Any

import grpc

from holdfast.plugin import InitContext, SkipPlugin, plugin
from holdfast.plugins.kinds import GRPC

V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"
V1 = "grpc.reflection.v1.ServerReflection"


class Reflection:
    """Answers from the process's descriptor pool, for the services that gRPC serves, without ttrpc's own."""

    def __init__(self) -> None:
        self._registrars: list[Any] = []  # read late: plugins that register after us are listed too

    async def ServerReflectionInfo(  # noqa: N802
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        """Send one response for each request; the first call imports the library."""
        from grpc_reflection.v1alpha import _async

        servicer = _async.ReflectionServicer(service_names=self._names(), pool=Pools())
        async for answer in servicer.ServerReflectionInfo(requests, context):
            yield answer

    def register_grpc(self, registrar: Any) -> None:
        """Register both names, unwrapped: people at a prompt use them, not traffic."""
        self._registrars.append(registrar)
        handler = grpc.stream_stream_rpc_method_handler(self.ServerReflectionInfo, _parse, _print)
        for service in (V1, V1ALPHA):
            registrar.add_methods(service, {f"/{service}/ServerReflectionInfo": handler}, wrapped=False)

    register_tcp = register_grpc

    def _names(self) -> Iterable[str]:
        return sorted({name for registrar in self._registrars for name in registrar.services})


def _parse(data: bytes) -> Any:
    from grpc_reflection.v1alpha import reflection_pb2

    return reflection_pb2.ServerReflectionRequest.FromString(data)


def _print(answer: Any) -> bytes:
    data: bytes = answer.SerializeToString()
    return data


class Pools:
    """The process's descriptors, and v1 of reflection itself from a pool of its own.

    In the process's pool our v1 would clash with the v1 of a plugin that brings the real file.
    """

    def __init__(self) -> None:
        from google.protobuf import descriptor_pool

        self._all = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._all, name)

    def FindFileByName(self, name: str) -> Any:  # noqa: N802
        """Return a file of either pool; KeyError when there is none."""
        return _first(lambda pool: pool.FindFileByName(name), self._all)

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802
        """Return the file of a service, method, message or field of either pool; KeyError when there is none."""
        return _first(lambda pool: pool.FindFileContainingSymbol(symbol), self._all)


def _first(find: Callable[[Any], Any], pool: Any) -> Any:
    try:
        return find(pool)
    except KeyError:
        return find(_v1_pool())


@cache
def _v1_pool() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool
    from grpc_reflection.v1alpha import reflection_pb2

    renamed = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(renamed)
    renamed.name, renamed.package = "grpc/reflection/v1/reflection.proto", "grpc.reflection.v1"
    for message in renamed.message_type:
        for field in message.field:
            if field.type_name:  # an empty one that is set is refused
                field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for service in renamed.service:
        for method in service.method:
            method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
            method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(renamed)
    return pool


@plugin(GRPC, "reflection", services=[V1, V1ALPHA])
async def reflection(context: InitContext) -> AsyncIterator[Reflection]:
    """Serve reflection, unless the configuration turned it off."""
    if not context.settings.grpc.reflection:
        raise SkipPlugin("grpc.reflection is false")
    yield Reflection()
