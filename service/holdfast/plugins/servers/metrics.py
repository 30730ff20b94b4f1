"""Prometheus metrics over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast.config import Settings
from holdfast.listener.listening import Listening
from holdfast.metrics import Registry
from holdfast.plugin import Endpoint, InitContext, SkipPlugin, server
from holdfast.plugin.serving import ServingBoard


class MetricsServer:
    """The metrics endpoint."""

    def __init__(self, registry: Registry, board: ServingBoard) -> None:
        self._registry, self._board = registry, board

    async def start(self, listening: Listening) -> None:
        """Serve on each endpoint."""
        from holdfast.plugins.servers.pages import metrics_routes

        routes = metrics_routes(self._registry, lambda: bool(self._board.serves("")))
        for endpoint in listening.endpoints:
            await listening.serve_http(endpoint, routes)


def _endpoints(settings: Settings, _: None) -> list[Endpoint]:
    address = settings.metrics.address
    return [Endpoint("metrics", "metrics endpoint", address)] if address else []


@server("metrics", _endpoints)
async def metrics(context: InitContext) -> AsyncIterator[MetricsServer]:
    """Serve metrics where an address is set."""
    if not context.settings.metrics.address:
        raise SkipPlugin
    yield MetricsServer(context.metrics, context.serving)
