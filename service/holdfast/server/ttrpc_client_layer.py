"""The layer of `rpc` around our outgoing ttrpc calls: go-grpc-prometheus's client metrics, and the trace
carried along.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from holdfast.errors import Canceled, Code, code_of
from holdfast.rpc import Counters, MethodType
from holdfast.rpc.counters import MethodCounters
from holdfast.ttrpc import CallOptions, ClientInterceptor, Invoke, Kind

if TYPE_CHECKING:
    from holdfast.rpc.spans import CallTracing

SYSTEM = "ttrpc"  # rpc.system of the spans
Ended = Callable[[BaseException | None], None]


def intercept_calls(counters: Counters, tracing: CallTracing | None = None) -> ClientInterceptor:
    """Return a ttrpc client interceptor; ``counters`` are of side ``client``."""

    def wrap(full_method: str, kind: Kind, invoke: Invoke, /) -> Invoke:
        method = counters.method(full_method, MethodType(kind.value))

        async def call(request: Any, options: CallOptions) -> Any:
            carried, span = tracing.calling(full_method, SYSTEM) if tracing is not None else ({}, None)
            metadata = options.metadata
            for key, value in carried.items():
                metadata = metadata.replacing(key, value)
            began = perf_counter()
            method.started += 1
            method.sent += request is not None

            def ended(error: BaseException | None) -> None:
                code = Code.OK if error is None else code_of(error)
                method.handled[code] += 1
                if method.seconds is not None:
                    method.seconds.observe(perf_counter() - began)
                if span is not None:
                    span.end(code, str(error or ""))

            try:
                reply = await invoke(request, CallOptions(options.timeout, metadata, options.wait_for_ready))
            except BaseException as error:
                ended(error)
                raise
            if kind is not Kind.UNARY:
                return CountedCall(reply, method, ended)
            method.received += 1
            ended(None)
            return reply

        return call

    return wrap


class CountedCall:
    """Streaming call that counts its messages and its end; all else is as in the call it wraps."""

    def __init__(self, call: Any, method: MethodCounters, ended: Ended) -> None:
        self._call, self._method, self._ended = call, method, ended
        self._over = False

    async def send(self, request: Any) -> None:
        """See `ClientCall.send`."""
        await self._call.send(request)
        self._method.sent += 1

    async def half_close(self) -> None:
        """See `ClientCall.half_close`."""
        await self._call.half_close()

    async def finish(self) -> Any:
        """See `ClientCall.finish`."""
        reply = await self._watched(self._call.finish())
        self._end(None)
        return reply

    def __aiter__(self) -> Self:
        self._call.__aiter__()
        return self

    async def __anext__(self) -> Any:
        return await self._watched(self._call.__anext__())

    async def receive(self) -> Any:
        """See `ClientCall.receive`."""
        return await self._watched(self._call.receive())

    def cancel(self) -> None:
        """See `ClientCall.cancel`; a call left before its end is counted as canceled."""
        self._call.cancel()
        if not self._over:
            self._end(Canceled("left by its caller"))

    async def _watched(self, step: Any) -> Any:
        try:
            reply = await step
        except (StopAsyncIteration, EOFError):
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise
        self._method.received += 1
        return reply

    def _end(self, error: BaseException | None) -> None:
        if not self._over:
            self._over = True
            self._ended(error)
