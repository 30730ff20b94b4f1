"""The servers: gRPC on a unix socket and on TCP, ttrpc, metrics and debug. Registered into first, opened last.

They open in containerd's order, gRPC's socket at the very end: where it exists, everything else is there. They
close first: no call may reach a plugin that is closing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc

from holdfast import log, rpc, ttrpc
from holdfast.config import Settings
from holdfast.errors import BootError
from holdfast.metrics import Registry
from holdfast.plugin import PluginSet, PluginState, Registration, State
from holdfast.plugin.services import OffersGrpc, OffersTtrpc
from holdfast.plugin.serving import ServingBoard
from holdfast.server.http import HttpServer, Routes
from holdfast.server.sockets import (
    Owner,
    UnixSocket,
    bind_private,
    listen_tcp,
    listen_unix,
    split_address,
    tcp_refusal,
)
from holdfast.server.tasks import Tasks
from holdfast.server.ttrpc_layer import intercept

LOG = log.named(__name__)
ITSELF = "holdfast"
HEALTH = "grpc.health.v1.Health"


class Listeners:
    """Every server of one daemon, not yet open.

    Raises:
        BootError: the TLS files cannot be used.
    """

    def __init__(self, settings: Settings, layer: rpc.Layer, plugins: PluginSet, board: ServingBoard) -> None:
        self._settings, self._layer, self._plugins, self._board = settings, layer, plugins, board
        self._credentials = rpc.server_credentials(settings)
        if self._credentials is not None:
            LOG.info("setting up tls on tcp GRPC services...")
        self._node = rpc.Registrar(layer, plugins.absence)
        self._fleet = rpc.Registrar(layer, plugins.absence, rpc.policy(settings.grpc.grants))
        self._probes = rpc.Registrar(layer, lambda _: f"this port serves {HEALTH} alone")
        self._ttrpc = ttrpc.Server(interceptors=[intercept(layer)])

    def register(self, plugin: PluginState) -> None:
        """Have the servers serve what a plugin offers.

        Raises:
            BootError: two plugins offer one service, or a handler cannot be served; with the plugin's URI.
        """
        before = set(self._node.services)
        try:
            if hasattr(plugin.instance, "register_grpc"):  # isinstance of a Protocol takes 30 µs a class
                by_grpc: OffersGrpc = plugin.instance
                for registrar in self._registrars(plugin.registration):
                    by_grpc.register_grpc(registrar)
            if hasattr(plugin.instance, "register_ttrpc"):
                by_ttrpc: OffersTtrpc = plugin.instance
                by_ttrpc.register_ttrpc(self._ttrpc)
        except Exception as error:  # a plugin author's code; half-registered services must not be served
            raise BootError(f"failed to register services of plugin {plugin.uri}: {error}") from error
        for service in (*set(self._node.services).difference(before), *plugin.registration.services):
            if self._board.serves(service) is None:  # a plugin that said of itself that it does not is believed
                self._board.set(service, True)

    def _registrars(self, registration: Registration) -> Iterator[rpc.Registrar]:
        """Those of the gRPC listeners that the settings ask for."""
        yield self._node
        if self._settings.grpc.tcp_address:
            yield self._fleet
        if self._settings.grpc.health_address and HEALTH in registration.services:
            yield self._probes

    def mark_absent(self) -> None:
        """Have health say NOT_SERVING for what plugins that are not ready would have served."""
        for plugin in self._plugins:
            if plugin.state is not State.READY:
                for service in plugin.registration.services:
                    if self._board.serves(service) is None:
                        self._board.set(service, False)

    async def open(self, stack: AsyncExitStack, tasks: Tasks, metrics: Registry, debug: Routes) -> None:
        """Listen everywhere the settings say; ``stack`` closes in reverse.

        Raises:
            BootError: ``failed to get listener for …: …``.
        """
        settings = self._settings
        if settings.debug.address:
            owner = Owner(settings.debug.uid, settings.debug.gid)
            await self._open_http(stack, "debug endpoint", settings.debug.address, owner, debug)
        if settings.metrics.address:
            from holdfast.server.pages import metrics_routes

            await self._open_http(stack, "metrics endpoint", settings.metrics.address, Owner(), metrics_routes(metrics))
        self._open_ttrpc(stack, tasks)
        await self._open_tcp(stack, "TCP grpc endpoint", settings.grpc.tcp_address, self._fleet, self._credentials)
        await self._open_tcp(stack, "health endpoint", settings.grpc.health_address, self._probes, None)
        await self._open_unix(stack)

    @property
    def running(self) -> int:
        """Calls in flight."""
        return self._layer.gate.running

    async def drain(self, grace_s: float) -> int:
        """Refuse new calls, end the endless ones, wait for the rest; how many were still running at the end."""
        return await self._layer.gate.drain(grace_s)

    async def _open_http(self, stack: AsyncExitStack, what: str, address: str, owner: Owner, routes: Routes) -> None:
        server = HttpServer(routes)
        if os.path.isabs(address):
            published = UnixSocket(what, address, owner)
            stack.callback(published.close)
            sock = listen_unix(published)
        else:
            sock = listen_tcp(what, address)
            address = _shown(sock.getsockname())
        stack.push_async_callback(server.close)
        await server.start(sock)
        LOG.info("serving...", address=address, listener=what)

    def _open_ttrpc(self, stack: AsyncExitStack, tasks: Tasks) -> None:
        address = self._settings.ttrpc_address
        published = UnixSocket("main ttrpc endpoint", address, Owner(*self._settings.ttrpc_owner))
        stack.callback(published.close)
        sock = listen_unix(published)
        stack.push_async_callback(self._ttrpc.shutdown, 0)
        tasks.start(ITSELF, "ttrpc", lambda: self._ttrpc.serve(sock), once=True)  # until the drain
        LOG.info("serving...", address=address, listener="ttrpc")

    async def _open_tcp(
        self,
        stack: AsyncExitStack,
        what: str,
        address: str,
        registrar: rpc.Registrar,
        credentials: grpc.ServerCredentials | None,
    ) -> None:
        if not address:
            return
        host, port = split_address(what, address)
        listen_tcp(what, address).close()  # for the kernel's reason: gRPC's core keeps it to itself
        server = self._server(registrar)
        target = f"[{host}]:{port}" if ":" in host else f"{host or '[::]'}:{port}"
        try:
            if credentials is None:
                bound = server.add_insecure_port(target)
            else:
                bound = server.add_secure_port(target, credentials)
        except RuntimeError as error:
            raise tcp_refusal(what, address, OSError(0, str(error))) from error
        stack.push_async_callback(server.stop, 0)
        await _start(server)
        LOG.info("serving...", address=f"{host}:{bound}", listener=what, tls=credentials is not None)

    async def _open_unix(self, stack: AsyncExitStack) -> None:
        grpc_settings = self._settings.grpc
        published = UnixSocket("main endpoint", grpc_settings.address, Owner(grpc_settings.uid, grpc_settings.gid))
        stack.callback(published.close)
        server = self._server(self._node)
        path = published.open()
        try:
            bind_private(lambda: server.add_insecure_port(f"unix:{path}"))
        except RuntimeError as error:
            raise BootError(f"failed to get listener for main endpoint: {grpc_settings.address}: {error}") from error
        stack.push_async_callback(server.stop, 0)
        await _start(server)
        published.publish()
        LOG.info("serving...", address=grpc_settings.address, listener="grpc")

    def _server(self, registrar: rpc.Registrar) -> grpc.aio.Server:
        return grpc.aio.server(
            handlers=[registrar],
            options=rpc.server_options(self._settings),
        )


async def _start(server: grpc.aio.Server) -> None:
    """Start a gRPC server to the end even when the boot is cancelled: half started, its `stop` would raise."""
    starting = asyncio.ensure_future(server.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await starting
        raise


def _shown(name: Any) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
