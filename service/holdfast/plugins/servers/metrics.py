"""Prometheus metrics over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast.config import Settings
from holdfast.listener.listening import Listening
from holdfast.metrics import Registry
from holdfast.plugin import Endpoint, InitContext, SkipPlugin, server


class MetricsServer:
    """The metrics endpoint."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def start(self, listening: Listening) -> None:
        """Serve on each endpoint."""
        from holdfast.plugins.servers.pages import metrics_routes

        for endpoint in listening.endpoints:
            await listening.serve_http(endpoint, metrics_routes(self._registry))


def _endpoints(settings: Settings, _: None) -> list[Endpoint]:
    address = settings.metrics.address
    return [Endpoint("metrics", "metrics endpoint", address)] if address else []


@server("metrics", _endpoints)
async def metrics(context: InitContext) -> AsyncIterator[MetricsServer]:
    """Serve metrics where an address is set."""
    if not context.settings.metrics.address:
        raise SkipPlugin
    yield MetricsServer(context.metrics)
