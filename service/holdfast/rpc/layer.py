"""The interceptor chain, applied once to each method when it is registered: there is nothing left to chain per call.

Order, outermost first: namespace, OpenTelemetry, Prometheus, errors → status. (Stacked per-call interceptors cost
20–33 % of the throughput, one wrapped handler under 5 %: docs/performance.md.) Two more things are of the daemon
rather than of the chain and stand outside it: the drain's gate, and on TCP the caller's right to the method.

Messages are parsed and printed here, not in the gRPC core, so that a request that cannot be parsed is counted and
answered in the words containerd uses.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import grpc

from holdfast import log, namespaces
from holdfast.errors import Canceled, HoldfastError, Internal, MisusedPlugin, Unavailable, code_of
from holdfast.rpc.counters import Counters, MethodCounters, MethodType
from holdfast.rpc.draining import SHUTTING_DOWN, Gate
from holdfast.rpc.status import STATUS_CODES
from holdfast.rpc.tracing import Tracing

LOG = log.named(__name__)

Behavior = Callable[[Any, Any], Any]
#: Raises PermissionDenied for a caller who may not call the method; called with the gRPC context.
Authorize = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Layer:
    """What every method of the daemon is wrapped in."""

    counters: Counters
    gate: Gate = field(default_factory=Gate)
    tracing: Tracing | None = None

    def wrap(self, full_method: str, handler: Any, authorize: Authorize | None = None) -> Any:
        """A handler of the same shape around ``handler`` (a grpc.RpcMethodHandler).

        Raises:
            MisusedPlugin: its behaviour is not async.
        """
        kind = MethodType.of(handler.request_streaming, handler.response_streaming)
        behavior: Behavior = getattr(handler, _BEHAVIORS[kind])
        call = _Method(self, full_method, kind, handler, authorize, self.counters.method(full_method, kind))
        if inspect.isasyncgenfunction(behavior) and handler.response_streaming:
            return _MAKERS[kind](call.streaming(behavior))
        if not inspect.iscoroutinefunction(behavior):
            raise MisusedPlugin(f"{full_method}: its handler must be an `async def`")
        if handler.response_streaming:
            return _MAKERS[kind](call.writing(behavior), response_serializer=call.sent)
        return _MAKERS[kind](call.single(behavior))


class _Method:
    """One method being wrapped: what its calls share."""

    def __init__(
        self,
        layer: Layer,
        full_method: str,
        kind: MethodType,
        handler: Any,
        authorize: Authorize | None,
        counters: MethodCounters,
    ) -> None:
        self.gate, self.tracing, self.counters = layer.gate, layer.tracing, counters
        self.full_method, self.authorize = full_method, authorize
        self.client_streams = kind in (MethodType.CLIENT_STREAM, MethodType.BIDI_STREAM)
        self._parse = handler.request_deserializer or _as_it_is
        self._print = handler.response_serializer or _as_it_is

    def single(self, behavior: Behavior) -> Behavior:
        """Around a method that answers once."""
        gate = self.gate

        async def call(request: Any, context: Any) -> bytes:
            began, span = self._begin(context)
            code = 0
            try:
                with gate:
                    if self.authorize is not None:
                        self.authorize(context)
                    data = self.sent(await behavior(self._received(request), context))
                code = _set_code(context)
                return data
            except BaseException as error:
                code, outcome = await self._failed(error, context)
                raise outcome from outcome.__cause__
            finally:
                self._end(began, span, code)

        return call

    def streaming(self, behavior: Behavior) -> Behavior:
        """Around a method that answers with a stream."""
        gate = self.gate

        async def call(request: Any, context: Any) -> AsyncIterator[bytes]:
            began, span = self._begin(context)
            code = 0
            task = gate.add_stream()
            try:
                with gate:
                    if self.authorize is not None:
                        self.authorize(context)
                    async with aclosing(behavior(self._received(request), context)) as replies:
                        async for reply in replies:
                            yield self.sent(reply)
                code = _set_code(context)
            except GeneratorExit:  # the client went away between two messages
                code = int(Canceled.code)
                raise
            except BaseException as error:
                code, outcome = await self._failed(error, context)
                raise outcome from outcome.__cause__
            finally:
                gate.drop_stream(task)
                self._end(began, span, code)

        return call

    def writing(self, behavior: Behavior) -> Behavior:
        """Around a method that writes its stream to the context itself; grpc prints its messages with `sent`."""
        gate = self.gate

        async def call(request: Any, context: Any) -> None:
            began, span = self._begin(context)
            code = 0
            task = gate.add_stream()
            try:
                with gate:
                    if self.authorize is not None:
                        self.authorize(context)
                    await behavior(self._received(request), context)
                code = _set_code(context)
            except BaseException as error:
                code, outcome = await self._failed(error, context)
                raise outcome from outcome.__cause__
            finally:
                gate.drop_stream(task)
                self._end(began, span, code)

        return call

    def sent(self, reply: Any) -> bytes:
        """One message as it goes out, counted."""
        try:
            data: bytes = self._print(reply)
        except Exception as error:
            raise Internal(f"grpc: error while marshaling: {error}") from error
        self.counters.sent += 1
        return data

    def _begin(self, context: Any) -> tuple[float, Any]:
        self.counters.started += 1
        metadata = context.invocation_metadata() or ()
        for key, value in metadata:
            if key == namespaces.GRPC_HEADER:
                namespaces.enter(value)
                break
        span = self.tracing.begin(self.full_method, metadata) if self.tracing is not None else None
        return perf_counter() if self.counters.seconds is not None else 0.0, span

    def _end(self, began: float, span: Any, code: int) -> None:
        self.counters.handled[code] += 1
        if self.counters.seconds is not None:
            self.counters.seconds.observe(perf_counter() - began)
        if span is not None:
            span.end(code)

    def _received(self, request: Any) -> Any:
        """The request as the handler wants it: parsed, or an iterator that parses."""
        return self._each(request) if self.client_streams else self._parsed(request)

    async def _each(self, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for data in requests:
            yield self._parsed(data)

    def _parsed(self, data: bytes) -> Any:
        self.counters.received += 1
        try:
            return self._parse(data)
        except Exception as error:  # protobuf's DecodeError, or whatever a hand-written deserializer raises
            raise Internal(f"grpc: error unmarshalling request: {error}") from error

    async def _failed(self, error: BaseException, context: Any) -> tuple[int, BaseException]:
        """Answer what a handler raised: the code it is counted under, and what grpc.aio is to see of it."""
        if isinstance(error, grpc.aio.AbortError):
            return _set_code(context), error
        if isinstance(error, asyncio.CancelledError) and error.args == (SHUTTING_DOWN,):
            error = Unavailable(SHUTTING_DOWN)
        if not isinstance(error, Exception):  # the caller gave up, or the process ends
            return int(code_of(error)), error
        code = code_of(error)
        if not isinstance(error, HoldfastError):
            LOG.error("handler failed", method=self.full_method, error=f"{type(error).__name__}: {error}")
        try:
            await context.abort(STATUS_CODES[code], str(error) or type(error).__name__)
        except grpc.aio.AbortError as answered:
            return int(code), answered
        raise AssertionError("abort returned")


def _set_code(context: Any) -> int:
    """The code a handler set by ``context.set_code`` or ``context.abort``; 0 when it set none."""
    code = context.code()
    return int(code if isinstance(code, int) else code.value[0]) if code else 0


def _as_it_is(data: Any) -> Any:
    return data


_BEHAVIORS = {
    MethodType.UNARY: "unary_unary",
    MethodType.SERVER_STREAM: "unary_stream",
    MethodType.CLIENT_STREAM: "stream_unary",
    MethodType.BIDI_STREAM: "stream_stream",
}
_MAKERS: dict[MethodType, Callable[..., Any]] = {
    MethodType.UNARY: grpc.unary_unary_rpc_method_handler,
    MethodType.SERVER_STREAM: grpc.unary_stream_rpc_method_handler,
    MethodType.CLIENT_STREAM: grpc.stream_unary_rpc_method_handler,
    MethodType.BIDI_STREAM: grpc.stream_stream_rpc_method_handler,
}
