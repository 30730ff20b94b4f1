"""Server reflection under both of its names: v1, and v1alpha, which older grpcurl asks for.

The library serves v1alpha. v1 is the same messages under another package (grpc/reflection/v1/reflection.proto says
so), so its methods are the same handlers, and its descriptor is the old one renamed, for who describes the describer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc

from holdfast.plugin import InitContext, SkipPlugin, plugin
from holdfast.plugin.serving import ServingBoard
from holdfast.plugins.kinds import GRPC

V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"
V1 = "grpc.reflection.v1.ServerReflection"


class Reflection:
    """Answers from the process's descriptor pool, for the services the board names."""

    def __init__(self, board: ServingBoard) -> None:
        self._board = board

    async def ServerReflectionInfo(  # noqa: N802
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[Any]:
        """One answer a question; the library is imported with the first call."""
        from grpc_reflection.v1alpha import _async

        _add_v1_descriptor()
        servicer = _async.ReflectionServicer(service_names=self._names())
        async for answer in servicer.ServerReflectionInfo(requests, context):
            yield answer

    def register_grpc(self, registrar: Any) -> None:
        """Offer both names, unwrapped: a person at a prompt, not traffic."""
        handler = grpc.stream_stream_rpc_method_handler(self.ServerReflectionInfo, _parse, _print)
        for service in (V1, V1ALPHA):
            registrar.add_methods(service, {f"/{service}/ServerReflectionInfo": handler}, wrapped=False)

    def _names(self) -> Iterable[str]:
        return sorted(name for name in self._board.names() if name)


def _parse(data: bytes) -> Any:
    from grpc_reflection.v1alpha import reflection_pb2

    return reflection_pb2.ServerReflectionRequest.FromString(data)


def _print(answer: Any) -> bytes:
    data: bytes = answer.SerializeToString()
    return data


def _add_v1_descriptor() -> None:
    from google.protobuf import descriptor_pb2, descriptor_pool
    from grpc_reflection.v1alpha import reflection_pb2

    pool = descriptor_pool.Default()
    name = "grpc/reflection/v1/reflection.proto"
    try:
        pool.FindFileByName(name)
    except KeyError:
        renamed = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(renamed)
        renamed.name = name
        renamed.package = "grpc.reflection.v1"
        for message in renamed.message_type:
            for field in message.field:
                field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
        for service in renamed.service:
            for method in service.method:
                method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
                method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
        pool.Add(renamed)


@plugin(GRPC, "reflection", services=[V1, V1ALPHA])
async def reflection(context: InitContext) -> AsyncIterator[Reflection]:
    """Reflection, unless the configuration turned it off."""
    if not context.settings.grpc.reflection:
        raise SkipPlugin("grpc.reflection is false")
    yield Reflection(context.serving)
