"""The scope of one call on either transport: its namespace, its span, and its counters."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from holdfast import namespaces
from holdfast.errors import Code
from holdfast.rpc.counters import MethodCounters

if TYPE_CHECKING:
    from holdfast.rpc.spans import CallTracing


class CallScope:
    """One call, from its start (here, ``began_s`` by `time.perf_counter`) to `end`."""

    __slots__ = ("_counters", "_span", "began_s", "full_method")

    def __init__(
        self,
        full_method: str,
        counters: MethodCounters,
        tracing: CallTracing | None,
        metadata: Iterable[tuple[str, Any]],
        system: str = "grpc",
    ) -> None:
        """Count the call as started; enter its namespace and its trace, which ``metadata`` carry.

        ``system`` is the spans' ``rpc.system``, and with it the transport whose header has the namespace.
        """
        counters.started += 1
        header = namespaces.GRPC_HEADER if system == "grpc" else namespaces.TTRPC_HEADER
        for key, value in metadata:
            if key == header:
                namespaces.enter(value)
                break
        self._counters = counters
        self._span = tracing.begin(full_method, metadata, system) if tracing is not None else None
        self.full_method, self.began_s = full_method, perf_counter()

    def end(self, code: Code, words: str) -> None:
        """Count the end under ``code``; ``words`` say why it is not OK."""
        self._counters.handled[code] += 1
        if (distribution := self._counters.seconds) is not None:
            seconds = perf_counter() - self.began_s
            distribution.observe(seconds)
            if self._span is not None:
                distribution.show(seconds, self._span.trace_id, time())
        if self._span is not None:
            self._span.end(code, words)
