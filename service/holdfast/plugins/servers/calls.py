"""Traces and metrics of calls: the daemon puts both into the layer around every method (`rpc.layer`).

Their order there is fixed, metrics inside of traces. Without `grpc-otel` it makes no spans; without `grpc-prometheus`
no registry has its counters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from holdfast import rpc
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import METRICS

if TYPE_CHECKING:
    from holdfast.rpc.spans import CallTracing


@plugin(METRICS, "grpc-otel")
async def grpc_otel(context: InitContext) -> AsyncIterator[CallTracing | None]:
    """Trace calls, also those that plugins make, if the ``OTEL_*`` variables name an exporter; else be nothing."""
    tracing = rpc.tracing_from(context.settings)
    if tracing is None:
        yield None
        return
    try:
        with tracing.of_channels():
            context.daemon.call_on_setting("tracing.ratio", tracing.record_share)
            context.daemon.call_on_setting("tracing.parent_based", tracing.follow_parents)
            yield tracing
    finally:
        await tracing.close()


@plugin(METRICS, "grpc-prometheus")
async def grpc_prometheus(context: InitContext) -> AsyncIterator[rpc.Counters]:
    """Count calls."""
    settings = context.settings.metrics
    counters = rpc.Counters(histogram=settings.grpc_histogram, zero_series=settings.grpc_zero_series)
    counters.add_to(context.metrics)
    yield counters
    context.metrics.remove(*counters.families())
