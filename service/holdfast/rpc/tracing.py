"""OpenTelemetry on every call, decided before anything is made: an unsampled call costs a context, not a span.

Off (nothing asks for traces) it is None and costs nothing. On, the OpenTelemetry SDK makes the spans that are recorded;
an unsampled call still carries its trace id onward with flag 00, so that callees do not begin traces of their own.
W3C Trace Context; attributes by the semantic conventions for RPC spans. ``OTEL_*`` variables keep their meaning.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from holdfast import log
from holdfast.config import Settings
from holdfast.config.schema import Tracing as TracingSettings
from holdfast.errors import BootError, Code

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

LOG = log.named(__name__)
_CARRIED = ("traceparent", "tracestate", "baggage")
#: Codes that make a server span an error (semantic conventions, gRPC).
_ERRORS = frozenset(
    {Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS}
)
_SAMPLERS = {
    "always_on": (False, 1.0),
    "always_off": (False, 0.0),
    "traceidratio": (False, None),
    "parentbased_always_on": (True, 1.0),
    "parentbased_always_off": (True, 0.0),
    "parentbased_traceidratio": (True, None),
}


class Tracing:
    """Decides for each call whether it is recorded, and hands out what ends with it."""

    def __init__(self, processor: SpanProcessor, ratio: float, parent_based: bool = True) -> None:
        from opentelemetry import context, trace
        from opentelemetry.baggage.propagation import W3CBaggagePropagator
        from opentelemetry.sdk.trace import TracerProvider, sampling
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.ratio, self.parent_based = ratio, parent_based
        self._context, self._trace = context, trace
        self._provider = TracerProvider(sampler=sampling.ALWAYS_ON, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        trace.set_tracer_provider(self._provider)
        self._tracer = self._provider.get_tracer("holdfast.rpc")
        self._ids = RandomIdGenerator()
        self._propagators = (TraceContextTextMapPropagator(), W3CBaggagePropagator())

    def begin(self, full_method: str, metadata: Iterable[tuple[str, Any]]) -> Call:
        """The trace of one call, made current for its task."""
        carrier = {key: value for key, value in metadata if key in _CARRIED and isinstance(value, str)}
        parent = self._context.Context()
        if carrier:
            for propagator in self._propagators:
                parent = propagator.extract(carrier, parent)
        above = self._trace.get_current_span(parent).get_span_context()
        if above.is_valid and self.parent_based:
            recorded = bool(above.trace_flags.sampled)
        else:
            recorded = self.ratio > 0 and (self.ratio >= 1 or random.random() < self.ratio)  # noqa: S311
        span = self._recorded(full_method, parent) if recorded else self._unrecorded(above)
        self._context.attach(self._trace.set_span_in_context(span, parent))
        if recorded:
            ids = span.get_span_context()
            log.trace_ids.set((f"{ids.trace_id:032x}", f"{ids.span_id:016x}"))
        return Call(span if recorded else None)

    def record_share(self, ratio: float | None) -> None:
        """Record another share of root calls from now on (a reload); None leaves it to the OTEL_* variables."""
        self.ratio = ratio if ratio is not None else sampler(None)[1]

    def close(self) -> None:
        """Send what is still queued."""
        self._provider.shutdown()

    def _recorded(self, full_method: str, parent: Any) -> Any:
        service, _, method = full_method.removeprefix("/").rpartition("/")
        return self._tracer.start_span(
            full_method.removeprefix("/"),
            parent,
            self._trace.SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
        )

    def _unrecorded(self, above: Any) -> Any:
        trace = self._trace
        return trace.NonRecordingSpan(
            trace.SpanContext(
                above.trace_id if above.is_valid else self._ids.generate_trace_id(),
                self._ids.generate_span_id(),
                is_remote=False,
                trace_flags=trace.TraceFlags(0),
                trace_state=above.trace_state,
            )
        )


class Call:
    """The span of one call, if it is recorded."""

    __slots__ = ("_span",)

    def __init__(self, span: Any) -> None:
        self._span = span

    def end(self, code: int) -> None:
        """The call ended with ``code``."""
        span = self._span
        if span is None:
            return
        span.set_attribute("rpc.grpc.status_code", code)
        if code in _ERRORS:
            from opentelemetry.trace import Status, StatusCode

            span.set_status(Status(StatusCode.ERROR, Code(code).name))
        span.end()
        log.trace_ids.set(None)


def tracing_from(settings: Settings, environ: Mapping[str, str] = os.environ) -> Tracing | None:
    """Tracing as the configuration and the ``OTEL_*`` variables ask for; None when nothing does.

    An exporter must be named (OTEL_TRACES_EXPORTER) or an OTLP endpoint given: without either there is nowhere to
    send a span to, and making one would be for nothing.

    Raises:
        BootError: an exporter or sampler nobody knows, or the OTLP one without the extra that brings it.
    """
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    endpoint = any(name in environ for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
    exporter = environ.get("OTEL_TRACES_EXPORTER", "otlp" if endpoint else "none")
    if exporter == "none":
        return None
    parent_based, ratio = sampler(settings.tracing, environ)
    tracing = Tracing(_processor(exporter), ratio, parent_based)
    LOG.info("tracing calls", exporter=exporter, ratio=ratio, parent_based=parent_based)
    return tracing


def sampler(configured: TracingSettings | None, environ: Mapping[str, str] = os.environ) -> tuple[bool, float]:
    """Whether to follow the caller's decision, and the share of root calls to record.

    Raises:
        BootError: OTEL_TRACES_SAMPLER or its argument cannot be understood.
    """
    if configured is not None and configured.ratio is not None:
        return configured.parent_based, configured.ratio
    name = environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    argument = environ.get("OTEL_TRACES_SAMPLER_ARG", "1.0")
    if name not in _SAMPLERS:
        raise BootError(f"OTEL_TRACES_SAMPLER: {name}: expected one of {', '.join(_SAMPLERS)}")
    parent_based, ratio = _SAMPLERS[name]
    try:
        asked = float(argument)
    except ValueError:
        asked = -1.0
    if ratio is None and not 0 <= asked <= 1:
        raise BootError(f"OTEL_TRACES_SAMPLER_ARG: {argument}: expected a number from 0 to 1")
    return parent_based, asked if ratio is None else ratio


def _processor(exporter: str) -> SpanProcessor:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    if exporter == "console":
        return BatchSpanProcessor(ConsoleSpanExporter())
    if exporter != "otlp":
        raise BootError(f"OTEL_TRACES_EXPORTER: {exporter}: expected otlp, console or none")
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise BootError("OTEL_TRACES_EXPORTER: otlp: not installed; pip install 'holdfast[otlp]'") from error
    return BatchSpanProcessor(OTLPSpanExporter())
