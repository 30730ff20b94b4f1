"""Set-up of tracing: whether and where, from the configuration and the standard ``OTEL_*`` variables.

OpenTelemetry (by `spans`) is imported only if traces are exported. The variables keep the meaning that
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ gives them, with two exceptions: the
exporter defaults to none (a node without a collector must not try to reach one), or to otlp if an OTLP endpoint is
named; and the service's name is holdfast.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import holdfast
from holdfast import log
from holdfast.config import Settings
from holdfast.errors import BootError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from holdfast.rpc.spans import CallTracing, Sampling

LOG = log.named(__name__)
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
#: OTEL_TRACES_SAMPLER: follow the caller's decision, and the share of the others (None: the argument says).
_SAMPLERS: dict[str, tuple[bool, float | None]] = {
    "always_on": (False, 1.0),
    "always_off": (False, 0.0),
    "traceidratio": (False, None),
    "parentbased_always_on": (True, 1.0),
    "parentbased_always_off": (True, 0.0),
    "parentbased_traceidratio": (True, None),
}
#: OTLP's protocol → the module of its exporter, and what to install for it.
_OTLP = {
    "grpc": ("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "holdfastd[otlp]"),
    "http/protobuf": (
        "opentelemetry.exporter.otlp.proto.http.trace_exporter",
        "opentelemetry-exporter-otlp-proto-http",
    ),
}


def tracing_from(settings: Settings, environ: Mapping[str, str] = os.environ) -> CallTracing | None:
    """Return tracing as the configuration and the ``OTEL_*`` variables ask for; None without an exporter, also if the
    only one is not installed.

    Raises:
        BootError: an unknown exporter, protocol, sampler or propagator.
    """
    wanted = exporters(environ)
    if not wanted:
        if settings.tracing.ratio and "OTEL_TRACES_EXPORTER" not in environ:
            LOG.warning("tracing.ratio is set, but traces go nowhere; set OTEL_EXPORTER_OTLP_ENDPOINT")
        return None
    try:
        from holdfast.rpc.spans import CallTracing
    except ValueError as error:  # opentelemetry.propagate reads OTEL_PROPAGATORS when it is imported
        raise BootError(f"OTEL_PROPAGATORS: {error}") from error
    processors = [processor for name in wanted for processor in _processors(name, environ)]
    if not processors:
        return None
    tracing = CallTracing(
        processors,
        lambda ratio, parent_based: sampler(ratio, parent_based, environ),
        **_identity(environ),
    )
    tracing.follow_parents(settings.tracing.parent_based)
    tracing.record_share(settings.tracing.ratio)
    _offer_to_plugins(tracing)
    LOG.info("tracing calls", exporter=",".join(wanted), sampler=tracing.choice.get_description())
    return tracing


def exporters(environ: Mapping[str, str]) -> list[str]:
    """The names of OTEL_TRACES_EXPORTER, or the default where it is not set; none when tracing is off."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    asked = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    if not asked:
        asked = "otlp" if any(environ.get(name) for name in _ENDPOINTS) else "none"
    names = [name.strip() for name in asked.split(",")]
    return [name for name in dict.fromkeys(names) if name and name != "none"]


def sampler(ratio: float | None, parent_based: bool, environ: Mapping[str, str] = os.environ) -> Sampling:
    """Whether to follow the caller's decision, and the share of other calls to record.

    Raises:
        BootError: OTEL_TRACES_SAMPLER or its argument cannot be understood.
    """
    if ratio is not None:
        return parent_based, ratio
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip() or "parentbased_always_on"
    if name not in _SAMPLERS:
        raise BootError(f"OTEL_TRACES_SAMPLER: {name}: expected one of {', '.join(_SAMPLERS)}")
    follow, share = _SAMPLERS[name]
    if share is not None:
        return follow, share
    argument = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1.0"
    try:
        share = float(argument)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise BootError(f"OTEL_TRACES_SAMPLER_ARG: {argument}: expected a number from 0 to 1")
    return follow, share


def _processors(name: str, environ: Mapping[str, str]) -> Iterator[SpanProcessor]:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    if name == "console":
        yield BatchSpanProcessor(ConsoleSpanExporter())
        return
    if name != "otlp":
        raise BootError(f"OTEL_TRACES_EXPORTER: {name}: expected otlp, console or none")
    variable = next((variable for variable in _PROTOCOLS if environ.get(variable)), _PROTOCOLS[0])
    protocol = environ.get(variable) or "grpc"
    if protocol not in _OTLP:
        raise BootError(f"{variable}: {protocol}: expected one of {', '.join(_OTLP)}")
    module, install = _OTLP[protocol]
    try:
        yield BatchSpanProcessor(import_module(module).OTLPSpanExporter())
    except ImportError as error:  # a node that cannot report its calls still has to serve them
        LOG.warning(
            "traces are not exported over OTLP; the exporter is not installed",
            protocol=protocol,
            install=f"pip install '{install}'",
            error=error,
        )


def _identity(environ: Mapping[str, str]) -> dict[str, str]:
    """Our resource attributes; those of the environment take precedence."""
    named = bool(environ.get("OTEL_SERVICE_NAME")) or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return {"service.version": holdfast.__version__} | ({} if named else {"service.name": "holdfast"})


def _offer_to_plugins(tracing: CallTracing) -> None:
    """Send spans that plugins start by ``opentelemetry.trace`` to the same exporters as ours."""
    from opentelemetry import trace

    trace.set_tracer_provider(tracing.provider)
