"""The servers: gRPC on a unix socket and on TCP, ttrpc, metrics, debug and the page.

Plugins register first; the servers open last.

They open in containerd's order, gRPC's socket at the very end: once it exists, all the others are open. They close
first, so that no call reaches a plugin that is closing.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from typing import Any

import grpc
import msgspec

from holdfast import failure, log, rpc, ttrpc
from holdfast.config import Settings
from holdfast.config.schema import Debug, Web
from holdfast.errors import BootError, FailedPrecondition, MisusedPlugin, ServedAlready
from holdfast.failure import contained
from holdfast.metrics import Counter, Gauge, Registry
from holdfast.plugin import PluginSet, PluginState, State
from holdfast.plugin.services import OffersGrpc, OffersTcp, OffersTtrpc, OffersWeb
from holdfast.plugin.serving import ServingBoard
from holdfast.server.absent import why_absent
from holdfast.server.connections import ConnectionMetrics, Connections
from holdfast.server.descriptors import Bounds, ConnectionBound, raise_limit
from holdfast.server.front import Front
from holdfast.server.http import HttpServer, Routes
from holdfast.server.sockets import InnerSocket, Owner, UnixSocket, bind_private, listen_tcp, listen_unix
from holdfast.server.tasks import Tasks
from holdfast.server.ttrpc_layer import intercept
from holdfast.server.web import WebPages, guard_web

LOG = log.named(__name__)
ITSELF = "holdfast"
HEALTH = "grpc.health.v1.Health"
UNREAD_CALLS = 128  # over the unix socket, beyond the gate's limit: their request has not arrived; each takes 20 KiB
FLEET_CALLS = 256  # calls over TCP at a time, and at most a quarter of all: the node's own clients always have the rest


def refuse_taken(settings: Settings) -> None:
    """Check that every address can be listened on, before anything starts that would have to be undone.

    `Listeners.open` opens the sockets for good after the plugins; it refuses an address that was taken in between.

    Raises:
        BootError: ``failed to get listener for …: …``, the message of `Listeners.open`.
    """
    debug, metrics, node, web = settings.debug.address, settings.metrics.address, settings.grpc, settings.web.address
    tcp = (
        ("debug endpoint", "" if os.path.isabs(debug) else debug),
        ("metrics endpoint", "" if os.path.isabs(metrics) else metrics),
        ("web endpoint", "" if os.path.isabs(web) else web),
        ("TCP grpc endpoint", node.tcp_address),
        ("health endpoint", node.health_address),
    )
    unix = (
        ("debug endpoint", debug if os.path.isabs(debug) else ""),
        ("metrics endpoint", metrics if os.path.isabs(metrics) else ""),
        ("web endpoint", web if os.path.isabs(web) else ""),
        ("main ttrpc endpoint", settings.ttrpc_address),
        ("main endpoint", node.address),
    )
    with ExitStack() as held:  # all at once: two of ours may name the same port
        for purpose, address in tcp:
            if address:
                held.enter_context(listen_tcp(purpose, address))
    for purpose, path in unix:
        if path:
            UnixSocket(purpose, path, Owner()).refuse_if_taken()


class Listeners:
    """Every server of one daemon, not yet open.

    Raises:
        BootError: the TLS files cannot be used.
    """

    def __init__(
        self, settings: Settings, layer: rpc.InterceptorLayer, plugins: PluginSet, board: ServingBoard
    ) -> None:
        self._settings, self._layer, self._plugins, self._board = settings, layer, plugins, board
        self._credentials = rpc.server_credentials(settings)
        if self._credentials is not None:
            LOG.info("setting up tls on tcp GRPC services...")
        self._node = rpc.GrpcRegistrar(layer, self._absence)
        calls = settings.grpc.max_concurrent_rpcs
        shared = msgspec.structs.replace(
            layer, gate=layer.gate.share(min(FLEET_CALLS, max(1, calls // 4)) if calls else FLEET_CALLS)
        )
        self._fleet = rpc.GrpcRegistrar(shared, self._absence_on_tcp, rpc.policy(settings.grpc.grants))
        self._probes = rpc.GrpcRegistrar(layer, lambda _: f"this port serves {HEALTH} alone")
        self._bounds = Bounds.within(raise_limit())
        self._connections = ConnectionMetrics()
        self._owners: dict[str, str] = {}  # plugins' URIs by service
        self._web = WebPages(board, is_private=os.path.isabs(settings.web.address))
        self._ttrpc = ttrpc.Server(interceptors=[intercept(layer)], max_connections=self._bounds.ttrpc.total)

    def register(self, plugin: PluginState) -> None:
        """Register a plugin's services with the servers: all of them, or none if one cannot be served. The plugin has
        failed then.
        """
        before, pages = self._served(), self._web.registered
        try:
            if hasattr(plugin.instance, "register_grpc"):  # isinstance of a Protocol takes 30 µs a class
                by_grpc: OffersGrpc = plugin.instance
                _call(by_grpc.register_grpc, self._node)
                if self._settings.grpc.health_address and HEALTH in plugin.registration.services:
                    _call(by_grpc.register_grpc, self._probes)
            if hasattr(plugin.instance, "register_tcp") and self._settings.grpc.tcp_address:
                by_tcp: OffersTcp = plugin.instance
                _call(by_tcp.register_tcp, self._fleet)
            if hasattr(plugin.instance, "register_web") and self._settings.web.address:
                by_web: OffersWeb = plugin.instance
                _call(by_web.register_web, self._web)
            if hasattr(plugin.instance, "register_ttrpc"):
                by_ttrpc: OffersTtrpc = plugin.instance
                _call(by_ttrpc.register_ttrpc, self._ttrpc)
        except BaseException as raised:  # a plugin author's code may raise anything
            for server, service in self._served() - before:
                server.withdraw(service)
            self._web.registered = pages
            plugin.state, plugin.error = State.FAILED, self._named(contained(raised))
            LOG.error(f"failed to register services of plugin {plugin.uri}", **failure.fields(plugin.error))
            return
        added = self._served() - before
        self._owners.update({service: plugin.uri for _, service in added})
        on_node = [service for server, service in added if server is self._node]
        for service in (*on_node, *plugin.registration.services):
            if self._board.serves(service) is None:  # a state that the plugin itself has set is kept
                self._board.set(service, True)

    def _absence(self, service: str) -> str | None:
        return self._plugins.absence(service) or why_absent(service)

    def _absence_on_tcp(self, service: str) -> str | None:
        if service in self._node.services:
            return "its plugin offers it on the unix socket alone"
        return self._absence(service)

    def _served(self) -> set[tuple[rpc.GrpcRegistrar | ttrpc.Server, str]]:
        by_grpc = ((one, service) for one in (self._node, self._fleet, self._probes) for service in one.services)
        return {*by_grpc, *((self._ttrpc, service) for service in self._ttrpc.services())}

    def unoffered(self, plugin: PluginState) -> list[str]:
        """The services that a ready plugin declares and no server has."""
        if plugin.state is not State.READY or self._is_for_tcp_alone(plugin.instance):
            return []
        return [service for service in plugin.registration.services if service not in self._owners]

    def _is_for_tcp_alone(self, instance: Any) -> bool:
        """Whether a plugin offers services on TCP and nowhere else, and there is no TCP here."""
        elsewhere = hasattr(instance, "register_grpc") or hasattr(instance, "register_ttrpc")
        return not self._settings.grpc.tcp_address and hasattr(instance, "register_tcp") and not elsewhere

    def _named(self, error: Exception) -> Exception:
        """The error about a service that is served twice, with the plugin that serves it already."""
        if not isinstance(error, ServedAlready):
            return error
        found = FailedPrecondition(f"{error} (by plugin {self._owners.get(error.service, 'itself')})")
        found.word, found.__cause__ = "", error
        return found

    def mark_absent(self) -> None:
        """Set NOT_SERVING in health for the services of plugins that are not ready."""
        for plugin in self._plugins:
            if plugin.state is not State.READY:
                for service in plugin.registration.services:
                    if self._board.serves(service) is None:
                        self._board.set(service, False)

    async def open(self, stack: AsyncExitStack, tasks: Tasks, metrics: Registry, debug: Routes) -> None:
        """Listen on every configured address; ``stack`` closes the servers in reverse.

        Raises:
            BootError: ``failed to get listener for …: …``.
        """
        settings = self._settings
        metrics.add(*self._families())
        if settings.debug.address:
            await self._open_debug(stack, settings.debug, debug)
        if settings.metrics.address:
            from holdfast.server.pages import metrics_routes

            table = Connections("metrics", self._bounds.metrics, self._connections)
            server = HttpServer(metrics_routes(metrics, lambda: bool(self._board.serves(""))), table)
            await self._open_http(stack, "metrics endpoint", settings.metrics.address, Owner(), server)
        if settings.web.address:
            await self._open_web(stack, settings.web)
        self._open_ttrpc(stack, tasks)
        await self._open_fleet(stack)
        await self._open_probes(stack)
        await self._open_unix(stack)

    def _families(self) -> tuple[Counter, ...]:
        server = self._ttrpc
        return (
            self._connections.closed,
            self._connections.open,
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

    @property
    def running(self) -> int:
        """Calls in flight."""
        return self._layer.gate.running

    async def drain(self, grace_s: float) -> int:
        """Refuse new calls, end the endless ones, wait for the rest; return how many were still running at the end."""
        return await self._layer.gate.drain(grace_s)

    async def _open_debug(self, stack: AsyncExitStack, settings: Debug, routes: Routes) -> None:
        from holdfast.server.pages import guard_address

        table = Connections("debug", self._bounds.debug, self._connections)
        server = HttpServer(routes, table, None if os.path.isabs(settings.address) else guard_address)
        await self._open_http(stack, "debug endpoint", settings.address, Owner(settings.uid, settings.gid), server)

    async def _open_web(self, stack: AsyncExitStack, settings: Web) -> None:
        table = Connections("web", self._bounds.web, self._connections)
        server = HttpServer(self._web.routes(), table, guard_web)
        await self._open_http(stack, "web endpoint", settings.address, Owner(settings.uid, settings.gid), server)

    async def _open_http(
        self, stack: AsyncExitStack, purpose: str, address: str, owner: Owner, server: HttpServer
    ) -> None:
        if os.path.isabs(address):
            published = UnixSocket(purpose, address, owner)
            stack.callback(published.close)
            sock = listen_unix(published)
        else:
            sock = listen_tcp(purpose, address)
            address = _shown(sock.getsockname())
        stack.push_async_callback(server.close)
        server.start(sock)
        LOG.info("serving...", address=address, listener=purpose)

    def _open_ttrpc(self, stack: AsyncExitStack, tasks: Tasks) -> None:
        address = self._settings.ttrpc_address
        published = UnixSocket("main ttrpc endpoint", address, Owner(*self._settings.ttrpc_owner))
        stack.callback(published.close)
        sock = listen_unix(published)
        stack.push_async_callback(self._ttrpc.shutdown, 0)
        tasks.start(ITSELF, "ttrpc", lambda: self._ttrpc.serve(sock), once=True)  # until the drain
        LOG.info("serving...", address=address, listener="ttrpc")

    async def _open_fleet(self, stack: AsyncExitStack) -> None:
        settings = self._settings
        if not settings.grpc.tcp_address:
            return
        options = rpc.server_options(settings, rpc.fleet_traffic(settings))
        server = grpc.aio.server(handlers=[self._fleet], options=options)
        where = _Fronted("TCP grpc endpoint", settings.grpc.tcp_address, "tcp", self._bounds.tcp)
        await self._open_tcp(stack, where, server, self._credentials)

    async def _open_probes(self, stack: AsyncExitStack) -> None:
        settings = self._settings
        if not settings.grpc.health_address:
            return
        server = grpc.aio.server(handlers=[self._probes], options=rpc.server_options(settings, rpc.PROBES))
        where = _Fronted("health endpoint", settings.grpc.health_address, "health", self._bounds.health)
        await self._open_tcp(stack, where, server, None)

    async def _open_tcp(
        self,
        stack: AsyncExitStack,
        fronted: _Fronted,
        server: grpc.aio.Server,
        credentials: grpc.ServerCredentials | None,
    ) -> None:
        """Accept on an address, for a server that listens on a socket of this process."""
        sock = listen_tcp(fronted.purpose, fronted.address)
        stack.callback(sock.close)
        address = _shown(sock.getsockname())
        add = server.add_insecure_port
        if credentials is not None:
            add = partial(server.add_secure_port, server_credentials=credentials)
        front = self._before(stack, fronted, sock, add)
        await _start_behind(stack, server, front)
        LOG.info("serving...", address=address, listener=fronted.purpose, tls=credentials is not None)

    def _before(
        self, stack: AsyncExitStack, fronted: _Fronted, sock: socket.socket, add_port: Callable[[str], object]
    ) -> Front:
        """Return the relay that accepts on ``sock``, for a server that ``add_port`` makes listen on an inner socket."""
        inner = InnerSocket(fronted.purpose, self._settings.state, f"{fronted.listener} {self._settings.root}")
        stack.callback(inner.close)
        inner.bind(add_port)
        front = Front(fronted.listener, sock, inner.path, (fronted.bound, self._bounds.silent), self._connections)
        stack.push_async_callback(front.close)
        return front

    async def _open_unix(self, stack: AsyncExitStack) -> None:
        grpc_settings, bound = self._settings.grpc, self._bounds.grpc
        owner = Owner(grpc_settings.uid, grpc_settings.gid)
        published = UnixSocket("main endpoint", grpc_settings.address, owner)
        stack.callback(published.close)
        calls = grpc_settings.max_concurrent_rpcs
        unread = calls + UNREAD_CALLS if calls else None
        if owner.is_shared:
            options = rpc.server_options(self._settings, rpc.shared_traffic(self._settings, bound.per_peer))
            server = grpc.aio.server(handlers=[self._node], options=options, maximum_concurrent_rpcs=unread)
            where = _Fronted("main endpoint", grpc_settings.address, "grpc", bound)
            front = self._before(stack, where, listen_unix(published), server.add_insecure_port)
            await _start_behind(stack, server, front)
            LOG.info("serving...", address=grpc_settings.address, listener="grpc")
            return
        options = rpc.server_options(self._settings, connections=bound.total)
        server = grpc.aio.server(handlers=[self._node], options=options, maximum_concurrent_rpcs=unread)
        path = published.open()
        try:
            bind_private(lambda: server.add_insecure_port(f"unix:{path}"))
        except RuntimeError as error:
            raise BootError(f"failed to get listener for main endpoint: {grpc_settings.address}: {error}") from error
        stack.push_async_callback(server.stop, 0)
        await _start(server)
        published.publish()
        LOG.info("serving...", address=grpc_settings.address, listener="grpc")


class _Fronted(msgspec.Struct, frozen=True):
    """A listener that users other than root reach: its name in errors and logs, its address, its name in metrics, its
    bound.
    """

    purpose: str
    address: str
    listener: str
    bound: ConnectionBound


async def _start(server: grpc.aio.Server) -> None:
    """Start a gRPC server completely even if the boot is cancelled: `stop` of a half-started server would raise."""
    starting = asyncio.ensure_future(server.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await starting
        raise


async def _start_behind(stack: AsyncExitStack, server: grpc.aio.Server, front: Front) -> None:
    stack.push_async_callback(server.stop, 0)
    await _start(server)
    front.start()


def _call(method: Callable[[Any], object], registrar: object) -> None:
    result = method(registrar)
    if isinstance(result, Coroutine):
        result.close()
        raise MisusedPlugin(f"{getattr(method, '__qualname__', method)} must not be async")


def _shown(name: Any) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
