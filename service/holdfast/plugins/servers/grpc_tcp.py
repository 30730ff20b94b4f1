"""gRPC over TCP, for the fleet: the services that a plugin registers by ``register_tcp``, under the grants' policy."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from holdfast import log, rpc
from holdfast.config import Settings
from holdfast.listener.listening import Listening
from holdfast.plugin import Endpoint, InitContext, SkipPlugin, server
from holdfast.plugins.kinds import GRPC, METRICS

LOG = log.named(__name__)
FLEET_CALLS = 256  # calls over TCP at a time, and at most a quarter of all: the node's own clients always have the rest


class TcpServer:
    """The TCP endpoint, with a table and a policy of its own."""

    offered_by = "register_tcp"

    def table(self, listening: Listening) -> rpc.GrpcRegistrar:
        """Return the table of the services on TCP: its calls leave room for those of the node."""
        shared, settings = listening.shared, listening.shared.settings

        def why_absent(service: str) -> str | None:
            if service in listening.services.services:
                return "its plugin offers it on the unix socket alone"
            return shared.why_absent(service)

        calls = settings.grpc.max_concurrent_rpcs
        gate = shared.layer.gate.share(min(FLEET_CALLS, max(1, calls // 4)) if calls else FLEET_CALLS)
        layer = msgspec.structs.replace(shared.layer, gate=gate)
        self._services = rpc.GrpcRegistrar(layer, why_absent, rpc.policy(settings.grpc.grants))
        return self._services

    async def start(self, listening: Listening) -> None:
        """Serve on each endpoint."""
        for endpoint in listening.endpoints:
            await listening.serve_grpc(endpoint, self._services, rpc.fleet_traffic(listening.shared.settings))


def _endpoints(settings: Settings, _: None) -> list[Endpoint]:
    section = settings.grpc
    credentials = rpc.server_credentials(settings)  # also without an address: wrong files are an error
    if credentials is not None:
        LOG.info("setting up tls on tcp GRPC services...")
    found = Endpoint("tcp", "TCP grpc endpoint", section.tcp_address, credentials=credentials)
    return [found] if found.address else []


@server("grpc-tcp", _endpoints, requires=[GRPC, METRICS])
async def grpc_tcp(context: InitContext) -> AsyncIterator[TcpServer]:
    """Serve gRPC over TCP where an address is set and a plugin offers a service there."""
    if not context.settings.grpc.tcp_address:
        raise SkipPlugin
    if not context.plugins.any_offers(TcpServer.offered_by):
        raise SkipPlugin("no tcp grpc services configured")
    yield TcpServer()
