"""gRPC on a unix socket, for the node's own clients: every service that a plugin registers by ``register_grpc``."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast.config import Settings
from holdfast.listener.listening import Listening
from holdfast.plugin import Endpoint, InitContext, server
from holdfast.plugins.kinds import GRPC, METRICS


class GrpcServer:
    """The main endpoint."""

    async def start(self, listening: Listening) -> None:
        """Serve on each endpoint."""
        for endpoint in listening.endpoints:
            await listening.serve_grpc(endpoint, listening.services)


def _endpoints(settings: Settings, _: None) -> list[Endpoint]:
    section = settings.grpc
    return [Endpoint("grpc", "main endpoint", section.address, section.uid, section.gid)]


@server("grpc", _endpoints, requires=[GRPC, METRICS])
async def grpc(context: InitContext) -> AsyncIterator[GrpcServer]:
    """Serve gRPC on the node."""
    yield GrpcServer()
