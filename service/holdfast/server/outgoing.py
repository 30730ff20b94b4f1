"""Channels and clients for the calls that plugins make: each call carries the namespace and the trace of the call that
it is made for.

Calls over ``grpc.aio`` carry the trace already (`rpc.spans`, ``of_channels``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from holdfast import namespaces, ttrpc
from holdfast.errors import Code, code_of
from holdfast.ttrpc import CallOptions, Invoke, Kind

if TYPE_CHECKING:
    from holdfast.rpc.spans import CallTracing

ChannelOptions = Sequence[tuple[str, Any]]


def grpc_channel(
    target: str, credentials: grpc.ChannelCredentials | None = None, options: ChannelOptions = ()
) -> grpc.aio.Channel:
    """Return a channel whose calls carry the namespace."""
    interceptors = [_UnaryUnary(), _UnaryStream(), _StreamUnary(), _StreamStream()]
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)


def ttrpc_client(target: str, tracing: CallTracing | None) -> ttrpc.Client:
    """Return a client whose calls carry the namespace, and the trace if calls are traced."""
    return ttrpc.Client(target, interceptors=[_named_calls if tracing is None else _traced_calls(tracing)])


def _named_calls(full_method: str, kind: Kind, invoke: Invoke, /) -> Invoke:
    async def named(request: Any, options: CallOptions) -> Any:
        return await invoke(request, options._replace(metadata=_with_namespace(options.metadata)))

    return named


def _traced_calls(tracing: CallTracing) -> ttrpc.ClientInterceptor:
    def wrap(full_method: str, kind: Kind, invoke: Invoke, /) -> Invoke:
        async def traced(request: Any, options: CallOptions) -> Any:
            carried, span = tracing.calling(full_method, "ttrpc")
            metadata = _with_namespace(options.metadata)
            for key, value in carried.items():
                metadata = metadata.replacing(key, value)
            code, words = Code.OK, ""
            try:
                return await invoke(request, options._replace(metadata=metadata))  # of a stream: until it is open
            except BaseException as error:
                code = Code.CANCELED if isinstance(error, asyncio.CancelledError) else code_of(error)
                words = str(error)
                raise
            finally:
                if span is not None:
                    span.end(code, words)

        return traced

    return wrap


def _with_namespace(metadata: ttrpc.Metadata) -> ttrpc.Metadata:
    namespace = namespaces.current()
    if not namespace or namespaces.TTRPC_HEADER in metadata:
        return metadata
    return metadata.replacing(namespaces.TTRPC_HEADER, namespace)


def _named(details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
    """Details of a call with its namespace, unless the caller named another one."""
    namespace, metadata = namespaces.current(), details.metadata
    if not namespace or any(key == namespaces.GRPC_HEADER for key, _ in metadata or ()):
        return details
    pairs = (*(metadata or ()), (namespaces.GRPC_HEADER, namespace))
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, grpc.aio.Metadata(*pairs), details.credentials, details.wait_for_ready
    )


Continuation = Callable[[grpc.aio.ClientCallDetails, Any], Any]


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Continuation, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_named(client_call_details), request)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Continuation, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_named(client_call_details), request)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Continuation, client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        return await continuation(_named(client_call_details), request_iterator)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Continuation, client_call_details: grpc.aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        return await continuation(_named(client_call_details), request_iterator)
