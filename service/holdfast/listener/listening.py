"""The means of a server: one call for a socket with its relay and its bounds, and the end of all in reverse."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import grpc
from msgspec import Struct

from holdfast import log, rpc
from holdfast.config import Settings
from holdfast.errors import BootError
from holdfast.listener.client_frames import ClientFrames, EncryptedFrames
from holdfast.listener.connections import ConnectionMetrics, Connections
from holdfast.listener.descriptors import Bounds, ConnectionBound
from holdfast.listener.front import Front
from holdfast.listener.sockets import InnerSocket, Owner, UnixSocket, bind_private, listen_tcp, listen_unix
from holdfast.plugin import Endpoint
from holdfast.rpc.options import NODE, Traffic
from holdfast.rpc.registrar import WhyAbsent

if TYPE_CHECKING:
    from holdfast.listener.http import Guard, Routes

LOG = log.named(__name__)
UNREAD_CALLS = 128  # over a unix socket, beyond the gate's limit: their request has not arrived; each takes 20 KiB


class Shared(Struct, frozen=True):
    """Values that all servers of a daemon have in common.

    ``services`` are those that plugins register by ``register_grpc``, ``layer`` is around each method, and
    ``why_absent`` returns why a service is not served.
    """

    settings: Settings
    layer: rpc.InterceptorLayer
    services: rpc.GrpcRegistrar
    why_absent: WhyAbsent
    bounds: Bounds
    connections: ConnectionMetrics


class Listening:
    """Means of one server. ``endpoints`` are those of its registration; closing ``stack`` closes what was opened."""

    def __init__(self, shared: Shared, endpoints: Iterable[Endpoint] = ()) -> None:
        self.shared, self.endpoints = shared, tuple(endpoints)
        self.stack = AsyncExitStack()

    @property
    def services(self) -> rpc.GrpcRegistrar:
        """Services of the unix socket, as a handler for ``grpc.aio.server``; ``only`` makes one for some of them."""
        return self.shared.services

    def open(self, endpoint: Endpoint) -> socket.socket:
        """Return a socket that listens; a unix socket has its owner and mode 0660.

        Raises:
            BootError: ``failed to get listener for …: …``.
        """
        if endpoint.is_unix:
            published = UnixSocket(endpoint.purpose, endpoint.address, Owner(endpoint.uid, endpoint.gid))
            self.stack.callback(published.close)
            sock = listen_unix(published)
        else:
            sock = listen_tcp(endpoint.purpose, endpoint.address)
        self.stack.callback(sock.close)
        return sock

    async def serve_http(self, endpoint: Endpoint, routes: Routes, guard: Guard | None = None) -> None:
        """Serve ``routes``; ``guard`` refuses requests before any of them.

        Raises:
            BootError: see `open`.
        """
        from holdfast.listener.http import HttpServer

        sock = self.open(endpoint)
        server = HttpServer(routes, Connections(endpoint.name, self._bound(endpoint), self.shared.connections), guard)
        self.stack.push_async_callback(server.close)
        server.start(sock)
        say_served(endpoint, sock)

    async def serve_grpc(
        self, endpoint: Endpoint, services: grpc.GenericRpcHandler, traffic: Traffic | None = None
    ) -> None:
        """Serve ``services``: behind the relay, except on a unix socket that only root may open.

        ``traffic`` is the most that one connection may bring at a time.

        Raises:
            BootError: see `open`.
        """
        bound, settings = self._bound(endpoint), self.shared.settings
        relayed = not endpoint.is_unix or Owner(endpoint.uid, endpoint.gid).is_shared
        if traffic is None:
            traffic = rpc.shared_traffic(settings, bound.per_peer) if relayed else NODE
        calls = settings.grpc.max_concurrent_rpcs if endpoint.is_unix else 0
        server = grpc.aio.server(
            handlers=[services],
            options=rpc.server_options(settings, traffic, 0 if relayed else bound.total),
            maximum_concurrent_rpcs=calls + UNREAD_CALLS if calls else None,
        )
        if not relayed:
            await self._directly(endpoint, server)
        elif endpoint.credentials is None:
            await self._behind_relay(endpoint, server, ClientFrames)
        else:
            await self._behind_relay(endpoint, server, EncryptedFrames if traffic.request_bytes else None)

    async def _behind_relay(
        self, endpoint: Endpoint, server: grpc.aio.Server, frames: type[ClientFrames] | None
    ) -> None:
        """Accept on the endpoint, for a server that listens on a socket of this process."""
        sock, settings = self.open(endpoint), self.shared.settings
        add_port: Callable[[str], object] = server.add_insecure_port
        if secure := endpoint.credentials is not None:
            add_port = partial(server.add_secure_port, server_credentials=endpoint.credentials)
        paths = []
        for number, add in enumerate((add_port, server.add_insecure_port)):
            inner = InnerSocket(endpoint.purpose, settings.state, f"{endpoint.name} {settings.root} {number}")
            self.stack.callback(inner.close)
            inner.bind(add)
            paths.append(inner.path)
        bounds = (self._bound(endpoint), self.shared.bounds.silent)
        front = Front(endpoint.name, sock, (paths[0], paths[1]), bounds, self.shared.connections, frames)
        self.stack.push_async_callback(front.close)
        self.stack.push_async_callback(server.stop, 0)
        await _start(server)
        front.start()
        say_served(endpoint, sock, **({} if endpoint.is_unix else {"tls": secure}))

    async def _directly(self, endpoint: Endpoint, server: grpc.aio.Server) -> None:
        published = UnixSocket(endpoint.purpose, endpoint.address, Owner(endpoint.uid, endpoint.gid))
        self.stack.callback(published.close)
        path = published.open()
        try:
            bind_private(lambda: server.add_insecure_port(f"unix:{path}"))
        except RuntimeError as error:
            words = f"failed to get listener for {endpoint.purpose}: {endpoint.address}: {error}"
            raise BootError(words) from error
        self.stack.push_async_callback(server.stop, 0)
        await _start(server)
        published.publish()
        say_served(endpoint)

    def _bound(self, endpoint: Endpoint) -> ConnectionBound:
        return self.shared.bounds.of(endpoint.name)


def say_served(endpoint: Endpoint, sock: socket.socket | None = None, **fields: object) -> None:
    """Log the address of a listener that is open; ``sock`` knows the port that the kernel chose."""
    address = endpoint.address
    if not endpoint.is_unix and sock is not None:
        host, port = sock.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    LOG.info("serving...", address=address, listener=endpoint.purpose, **fields)


async def _start(server: grpc.aio.Server) -> None:
    """Start a gRPC server completely even if the boot is cancelled: `stop` of a half-started server would raise."""
    starting = asyncio.ensure_future(server.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await starting
        raise
