"""ttrpc on a unix socket, for shims and other small programs: what a plugin registers by ``register_ttrpc``."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from holdfast.config import Settings
from holdfast.listener.listening import Listening, say_served
from holdfast.metrics import Counter, Gauge
from holdfast.plugin import Endpoint, InitContext, SkipPlugin, server
from holdfast.plugins.kinds import GRPC, TTRPC

if TYPE_CHECKING:
    from holdfast.ttrpc import Server


class TtrpcServer:
    """The ttrpc endpoint."""

    offered_by = "register_ttrpc"

    def __init__(self, context: InitContext) -> None:
        self._context = context

    def table(self, listening: Listening) -> Server:
        """Return the engine, which has the table of its services itself."""
        from holdfast.listener.ttrpc_layer import intercept
        from holdfast.ttrpc import Server

        shared = listening.shared
        server = Server(interceptors=[intercept(shared.layer)], max_connections=shared.bounds.ttrpc.total)
        self._context.metrics.add(*_families(server))
        self._server = server
        return server

    async def start(self, listening: Listening) -> None:
        """Serve on each endpoint."""
        for endpoint in listening.endpoints:
            sock = listening.open(endpoint)
            listening.stack.push_async_callback(self._server.shutdown, 0)
            self._context.background("serve", partial(self._serve, sock), once=True)  # until it is closed
            say_served(endpoint)

    async def _serve(self, sock: socket.socket) -> None:
        try:
            await self._server.serve(sock)
        except OSError as error:
            self._context.fault("accept", f"ttrpc: accept: {error}", vital=True)
            raise


def _families(server: Server) -> tuple[Counter, Gauge]:
    return (
        Counter(
            "holdfast_ttrpc_connections_refused_total",
            "ttrpc connections refused: as many as may be were open, or the peer's user or group is another.",
            ["reason"],
            read=lambda: [((why,), number) for why, number in server.refused.items()],
        ),
        Gauge(
            "holdfast_ttrpc_connections",
            "ttrpc connections that are open.",
            read=lambda: [((), server.connections)],
        ),
    )


def _endpoints(settings: Settings, _: None) -> list[Endpoint]:
    return [Endpoint("ttrpc", "main ttrpc endpoint", settings.ttrpc_address, *settings.ttrpc_owner)]


@server("ttrpc", _endpoints, requires=[TTRPC, GRPC])
async def ttrpc(context: InitContext) -> AsyncIterator[TtrpcServer]:
    """Serve ttrpc where a plugin offers a service there."""
    if not context.plugins.any_offers(TtrpcServer.offered_by):
        raise SkipPlugin("no ttrpc services configured")
    yield TtrpcServer(context)
