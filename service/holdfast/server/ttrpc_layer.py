"""The layer of `rpc` around ttrpc methods: the same namespace, traces, counters and gate, by the same families.

Neither package knows the other; this is where both are known. Errors need no step here: the ttrpc server answers an
error with its own code and sentence.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from time import perf_counter
from typing import Any

from holdfast import namespaces
from holdfast.errors import Code, code_of
from holdfast.rpc import Layer, MethodType
from holdfast.ttrpc import Handler, Kind, ServerCall


def intercept(layer: Layer) -> Any:
    """A ttrpc interceptor: wraps each handler once, when its service is registered."""

    def wrap(full_method: str, kind: Kind, handler: Handler) -> Handler:
        scope = _Scopes(layer, full_method, kind)
        return _streaming(scope, handler) if kind.server_streaming else _single(scope, handler)

    return wrap


class _Scopes:
    """What one method's calls share, and the block each of them runs in."""

    def __init__(self, layer: Layer, full_method: str, kind: Kind) -> None:
        self.gate, self.tracing, self.full_method = layer.gate, layer.tracing, full_method
        self.counters = layer.counters.method(full_method, MethodType(kind.value))
        self.client_streams = kind.client_streaming

    def begin(self, call: ServerCall) -> _Scope:
        self.counters.started += 1
        namespaces.enter(call.metadata.first(namespaces.TTRPC_HEADER))
        return _Scope(self, self.tracing.begin(self.full_method, call.metadata.pairs()) if self.tracing else None)

    def received(self, request: Any) -> Any:
        if self.client_streams:
            return self._each(request)
        self.counters.received += 1
        return request

    async def _each(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            self.counters.received += 1
            yield request


class _Scope:
    """One call."""

    __slots__ = ("_began", "_of", "_span")

    def __init__(self, of: _Scopes, span: Any) -> None:
        self._of, self._span = of, span
        self._began = perf_counter() if of.counters.seconds is not None else 0.0

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        counters = self._of.counters
        code = int(Code.OK if error is None else Code.CANCELED if kind is GeneratorExit else code_of(error))
        counters.handled[code] += 1
        if counters.seconds is not None:
            counters.seconds.observe(perf_counter() - self._began)
        if self._span is not None:
            self._span.end(code)


def _single(scopes: _Scopes, handler: Handler) -> Handler:
    async def wrapped(request: Any, call: ServerCall) -> Any:
        with scopes.begin(call), scopes.gate:
            reply = await handler(scopes.received(request), call)
            scopes.counters.sent += 1
            return reply

    return wrapped


def _streaming(scopes: _Scopes, handler: Handler) -> Handler:
    async def wrapped(request: Any, call: ServerCall) -> AsyncIterator[Any]:
        task = scopes.gate.add_stream()
        try:
            with scopes.begin(call), scopes.gate:
                async with aclosing(handler(scopes.received(request), call)) as replies:
                    async for reply in replies:
                        scopes.counters.sent += 1
                        yield reply
        finally:
            scopes.gate.drop_stream(task)

    return wrapped
