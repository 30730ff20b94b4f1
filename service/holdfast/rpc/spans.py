"""Tracing of calls through the OpenTelemetry SDK, and the sampling before it: imported only when tracing is on.

Whether a call is recorded is a function of its trace id (the lowest 64 bits below ratio × 2⁶⁴, as in the SDK's
TraceIdRatioBased), so every service with the same ratio records the same traces. The function is evaluated before the
SDK. A span is made only for a call that is recorded, under the id that was decided on, so the SDK, which evaluates the
same function, cannot decide otherwise. An unrecorded call still carries a valid context with flag 00, so that the
services it calls begin no traces of their own. Spans that plugins start inside a call follow that call.

W3C Trace Context; attributes by the semantic conventions for RPC spans.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorClient
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Status, StatusCode

from holdfast import log
from holdfast.errors import Code

LOG = log.named(__name__)

#: (follow the caller's decision where there is one, share of the others that is recorded)
Sampling = tuple[bool, float]

FLUSH_S = 5.0  # for spans still queued when the daemon ends
_LOW_64 = (1 << 64) - 1
_NOBODY = trace.INVALID_SPAN.get_span_context()
_ROOT = context.Context()
_ALONE = {"traceparent"}
_TRACEPARENT = re.compile("00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_NO_STATE = trace.TraceState()
#: Key of the span in a context; the library chooses it at random.
_SPAN = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, _ROOT)))
#: Codes that make a server span an error (semantic conventions for gRPC).
_ERRORS = frozenset(
    {Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS}
)
#: The trace id a decision was made about, for the span that is about to be made.
_decided: ContextVar[int] = ContextVar("decided", default=0)


class CallSampler(Sampler):
    """The one sampling decision, for our calls and for spans that plugins start themselves."""

    def __init__(self, sampling: Sampling) -> None:
        self.change(sampling)

    def change(self, sampling: Sampling) -> None:
        """Use ``sampling`` from now on."""
        self.parent_based, self.ratio = sampling
        self._bound = round(self.ratio * (_LOW_64 + 1))

    def records(self, trace_id: int, flags: int | None, *, remote: bool = True) -> bool:
        """Whether a span of a trace is recorded; ``flags`` are of the span above it, None for a root.

        Inside this process (not ``remote``) the decision for the span above always holds.
        """
        if flags is not None and (self.parent_based or not remote):
            return bool(flags & trace.TraceFlags.SAMPLED)
        return trace_id & _LOW_64 < self._bound

    def should_sample(  # noqa: PLR0913, PLR0917 (the SDK's signature)
        self,
        parent_context: context.Context | None,
        trace_id: int,
        name: str,
        kind: trace.SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[trace.Link] | None = None,
        trace_state: trace.TraceState | None = None,
    ) -> SamplingResult:
        """Return the decision for a span; the SDK calls this."""
        above = trace.get_current_span(parent_context).get_span_context()
        flags = above.trace_flags if above.is_valid else None
        if not self.records(trace_id, flags, remote=above.is_remote):
            return SamplingResult(Decision.DROP, trace_state=above.trace_state)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, above.trace_state)

    def get_description(self) -> str:
        """The sampler's name in the SDK's own messages."""
        return f"holdfast(parent_based={self.parent_based}, ratio={self.ratio:g})"


class Ids(RandomIdGenerator):
    """Random ids, except for a trace id that was decided on already."""

    def generate_trace_id(self) -> int:
        """The id of a new trace."""
        decided: int = _decided.get() or super().generate_trace_id()
        return decided


class CallTracing:
    """Tracing of calls: it decides whether a call is recorded, and makes the span that ends with it."""

    def __init__(
        self, processors: Iterable[SpanProcessor], sampling: Callable[[float | None, bool], Sampling], **resource: str
    ) -> None:
        """``sampling`` returns the sampling in force for ``tracing.ratio`` and ``tracing.parent_based``."""
        self._sampling = sampling
        self._setting: tuple[float | None, bool] = (None, True)
        self.choice = CallSampler(sampling(None, True))
        self._ids = Ids()
        self.provider = TracerProvider(
            sampler=self.choice,
            resource=Resource.create(dict(resource)),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        for processor in processors:
            self.provider.add_span_processor(processor)
        self._tracer = self.provider.get_tracer("holdfast.rpc")
        self._propagator = propagate.get_global_textmap()
        self._called: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}  # methods that exist, so few
        self._carried = frozenset(self._propagator.fields)

    def record_share(self, ratio: float | None) -> None:
        """Set ``tracing.ratio``; None leaves it to the OTEL_* variables."""
        self._setting = (ratio, self._setting[1])
        self.choice.change(self._sampling(*self._setting))

    def follow_parents(self, parent_based: bool) -> None:
        """Set ``tracing.parent_based``."""
        self._setting = (self._setting[0], parent_based)
        self.choice.change(self._sampling(*self._setting))

    def begin(self, full_method: str, metadata: Iterable[tuple[str, Any]], system: str = "grpc") -> CallSpan | None:
        """Make the trace of one call current for its task; return the span to end with the call, None if unrecorded."""
        carrier: dict[str, list[str]] = {}
        for key, value in metadata:
            if key in self._carried and isinstance(value, str):
                carrier.setdefault(key, []).append(value)
        if not carrier:
            return self._begun(full_method, system, _ROOT, _NOBODY)
        found = _TRACEPARENT.fullmatch(carrier["traceparent"][0]) if carrier.keys() == _ALONE else None
        if found is None:
            parent = self._propagator.extract(carrier, _ROOT)
            return self._begun(full_method, system, parent, trace.get_current_span(parent).get_span_context())
        # A traceparent of version 00 alone, which nearly every caller sends, is read here: 1 µs, the library takes 5.
        trace_id, flags = int(found[1], 16), int(found[3], 16)
        if not self.choice.records(trace_id, flags):
            context.attach(context.Context({_SPAN: Unrecorded(trace_id, flags, _NO_STATE)}))
            return None
        above = trace.SpanContext(trace_id, int(found[2], 16), True, trace.TraceFlags(flags), _NO_STATE)
        parent = trace.set_span_in_context(trace.NonRecordingSpan(above), _ROOT)
        return self._begun(full_method, system, parent, above)

    @contextmanager
    def of_channels(self) -> Iterator[None]:
        """Trace the calls over every channel that ``grpc.aio`` makes meanwhile, with OpenTelemetry's own interceptors:
        a client span for each, and its trace in the metadata. A unary call that is cancelled has no span.
        """
        instrumentor = GrpcAioInstrumentorClient()
        instrumentor.instrument(tracer_provider=self.provider, skip_dep_check=True)
        try:
            yield
        finally:
            instrumentor.uninstrument()

    def calling(self, full_method: str, system: str = "grpc") -> tuple[dict[str, str], CallSpan | None]:
        """For an outgoing call: return the metadata that carry its trace, and the span to end with it, None if
        unrecorded.
        """
        above = trace.get_current_span().get_span_context()
        trace_id = above.trace_id if above.is_valid else random.getrandbits(128) or 1
        flags = above.trace_flags if above.is_valid else None
        carrier: dict[str, str] = {}
        span: trace.Span
        call: CallSpan | None
        if not self.choice.records(trace_id, flags, remote=False):
            span, call = Unrecorded(trace_id, flags or 0, above.trace_state), None
        else:
            span = self._recorded(full_method, None, trace_id, system, trace.SpanKind.CLIENT)
            call = CallSpan(span, serves=False)
        self._propagator.inject(carrier, trace.set_span_in_context(span))
        return carrier, call

    def _begun(
        self, full_method: str, system: str, parent: context.Context, above: trace.SpanContext
    ) -> CallSpan | None:
        flags = above.trace_flags if above.is_valid else None
        trace_id = random.getrandbits(128) or 1 if flags is None else above.trace_id
        if not self.choice.records(trace_id, flags):
            span = Unrecorded(trace_id, flags or 0, above.trace_state)
            context.attach(context.Context({**parent, _SPAN: span}))
            return None
        recorded = self._recorded(full_method, parent, trace_id, system)
        context.attach(trace.set_span_in_context(recorded, parent))
        return CallSpan(recorded)

    def _recorded(
        self,
        full_method: str,
        parent: context.Context | None,
        trace_id: int,
        system: str,
        kind: trace.SpanKind = trace.SpanKind.SERVER,
    ) -> trace.Span:
        called = self._called.get((full_method, system))
        if called is None:
            called = self._called[full_method, system] = _called(full_method, system)
        name, attributes = called
        token = _decided.set(trace_id)
        try:
            return self._tracer.start_span(name, parent, kind, attributes)
        finally:
            _decided.reset(token)

    async def close(self, limit_s: float = FLUSH_S) -> None:
        """Send the queued spans. A collector that does not answer delays the daemon by at most ``limit_s`` seconds."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            try:
                self.provider.shutdown()
            finally:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(done.set)

        # Not the loop's executor: the end of the loop would wait for it.
        threading.Thread(target=shut_down, name="tracing.close", daemon=True).start()
        try:
            async with asyncio.timeout(limit_s):
                await done.wait()
        except TimeoutError:
            LOG.warning("traces not sent before the end", seconds=limit_s)


def _called(full_method: str, system: str) -> tuple[str, dict[str, str]]:
    """Name and attributes of the spans of a method."""
    name = full_method.removeprefix("/")
    service, _, method = name.rpartition("/")
    return name, {"rpc.system": system, "rpc.service": service, "rpc.method": method}


class Unrecorded(trace.NonRecordingSpan):
    """Span of a call that is not recorded. Its context for outgoing calls is made at first use: few calls
    make calls.
    """

    def __init__(self, trace_id: int, flags: int, state: trace.TraceState) -> None:
        self._above = (trace_id, flags, state)

    def __getattr__(self, name: str) -> Any:
        if name != "_context":
            raise AttributeError(name)
        trace_id, flags, state = self._above
        kept = trace.TraceFlags(flags & ~trace.TraceFlags.SAMPLED)
        made = trace.SpanContext(trace_id, random.getrandbits(64) or 1, False, kept, state)
        return self.__dict__.setdefault(name, made)  # two threads that ask at once get the same


class CallSpan:
    """The recorded span of one call."""

    __slots__ = ("_serves", "_span")

    def __init__(self, span: trace.Span, *, serves: bool = True) -> None:
        self._span, self._serves = span, serves
        if serves:  # lines logged meanwhile have this call's ids
            log.trace_ids.set(span.get_span_context())

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hexadecimal digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def end(self, code: int, words: str = "") -> None:
        """End the span with ``code`` and, unless the call succeeded, ``words``."""
        span = self._span
        span.set_attribute("rpc.grpc.status_code", int(code))
        if code in _ERRORS:
            span.set_attribute("error.type", Code(code).name)
            span.set_status(Status(StatusCode.ERROR, words or Code(code).name))
        span.end()
        if self._serves:
            log.trace_ids.set(None)
