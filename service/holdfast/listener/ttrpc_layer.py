"""The layer of `rpc` around ttrpc methods: the same namespace, traces, counters and gate, with the same metrics.

`rpc` and `ttrpc` do not know each other; this module knows both. Errors need no step here: the ttrpc server answers an
error with its own code and sentence.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import aclosing, nullcontext
from typing import Any

from holdfast.errors import SHUTTING_DOWN, Code, MisusedPlugin, Unavailable, code_of
from holdfast.failure import contained, ends_the_task
from holdfast.rpc import InterceptorLayer, MethodType
from holdfast.rpc.call_scope import CallScope
from holdfast.ttrpc import Handler, Interceptor, Kind, ServerCall

SYSTEM = "ttrpc"  # rpc.system of the spans


def intercept(layer: InterceptorLayer) -> Interceptor:
    """Return a ttrpc interceptor that wraps each handler once, when its service is registered."""

    def wrap(full_method: str, kind: Kind, handler: Handler) -> Handler:
        if not kind.server_streaming and not inspect.iscoroutinefunction(handler):
            raise MisusedPlugin(
                f"{full_method}: {getattr(handler, '__qualname__', handler)} must be an `async def`;"
                " call what blocks in it through asyncio.to_thread"
            )
        method = _Method(layer, full_method, kind)
        return method.streaming(handler) if kind.server_streaming else method.single(handler)

    return wrap


class _Method:
    """One wrapped method: the state that its calls share."""

    def __init__(self, layer: InterceptorLayer, full_method: str, kind: Kind) -> None:
        self.gate, self.tracing, self.full_method = layer.gate, layer.tracing, full_method
        self.counters = layer.counters.method(full_method, MethodType(kind.value))
        self._client_streams = kind.client_streaming

    def single(self, handler: Handler) -> Handler:
        """Wrap a method that answers once."""

        async def wrapped(request: Any, call: ServerCall) -> Any:
            with _Call(self, call) as scope, self.gate:  # noqa: F841 (`thread_dump` finds it)
                reply = await handler(self._received(request), call)
                self.counters.sent += 1
                return reply

        return wrapped

    def streaming(self, handler: Handler) -> Handler:
        """Wrap a method that answers with a stream."""

        async def wrapped(request: Any, call: ServerCall) -> AsyncIterator[Any]:
            stream = self.gate.add_stream()
            try:
                with _Call(self, call) as scope, self.gate:  # noqa: F841 (`thread_dump` finds it)
                    replies = handler(self._received(request), call)
                    async with aclosing(replies) if hasattr(replies, "aclose") else nullcontext():
                        async for reply in replies:
                            self.counters.sent += 1
                            yield reply
            finally:
                self.gate.drop_stream(stream)

        return wrapped

    def _received(self, request: Any) -> Any:
        if self._client_streams:
            return self._each(request)
        self.counters.received += 1
        return request

    async def _each(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            self.counters.received += 1
            yield request


class _Call:
    """One call as a context: its scope ends under the code of what it raised."""

    __slots__ = ("_call", "_gate", "_scope")

    def __init__(self, method: _Method, call: ServerCall) -> None:
        self._gate, self._call = method.gate, call
        pairs = tuple(call.metadata.pairs())
        self._scope = CallScope(method.full_method, method.counters, method.tracing, pairs, SYSTEM)

    def __enter__(self) -> CallScope:
        """Return the scope, which began with the object."""
        return self._scope

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        cut = isinstance(error, (asyncio.CancelledError, GeneratorExit)) and self._gate.was_cut()
        self._scope.end(Code.UNAVAILABLE if cut else self._code(error), str(error or ""))
        if cut and kind is asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            raise Unavailable(SHUTTING_DOWN) from None

    def _code(self, error: BaseException | None) -> Code:
        if error is None:
            return Code.OK
        if ends_the_task(error):  # GeneratorExit: while a reply was being sent
            return Code.DEADLINE_EXCEEDED if self._call.time_remaining() == 0 else Code.CANCELED
        return code_of(contained(error))
