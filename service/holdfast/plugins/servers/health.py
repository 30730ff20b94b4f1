"""A port for probes without TLS: gRPC's health service and nothing else, in plaintext."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast import rpc
from holdfast.config import Settings
from holdfast.listener.listening import Listening
from holdfast.plugin import Endpoint, InitContext, SkipPlugin, server
from holdfast.plugins.kinds import GRPC, METRICS

HEALTH = "grpc.health.v1.Health"


class HealthServer:
    """The health endpoint."""

    async def start(self, listening: Listening) -> None:
        """Serve on each endpoint."""
        services = listening.services.only([HEALTH], f"this port serves {HEALTH} alone")
        for endpoint in listening.endpoints:
            await listening.serve_grpc(endpoint, services, rpc.PROBES)


def _endpoints(settings: Settings, _: None) -> list[Endpoint]:
    address = settings.grpc.health_address
    return [Endpoint("health", "health endpoint", address)] if address else []


@server("health", _endpoints, requires=[GRPC, METRICS])
async def health(context: InitContext) -> AsyncIterator[HealthServer]:
    """Serve health where an address is set."""
    if not context.settings.grpc.health_address:
        raise SkipPlugin
    yield HealthServer()
