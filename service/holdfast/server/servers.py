"""The server plugins of one daemon: they open last, in their order, and close first, in reverse.

The values that they share are made here, among them the layer around each method, from the plugins that measure calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from holdfast import failure, log, rpc
from holdfast.config import Settings
from holdfast.errors import BootError, DeadlineExceeded, MisusedPlugin
from holdfast.failure import contained
from holdfast.listener.connections import ConnectionMetrics
from holdfast.listener.descriptors import Bounds
from holdfast.listener.listening import Listening, Shared
from holdfast.plugin import Endpoint, PluginSet, PluginState, State
from holdfast.plugin.services import METRICS, SERVER, ServiceTable
from holdfast.plugin.serving import ServingBoard
from holdfast.server.absent import why_absent
from holdfast.server.services import GRPC, Services

LOG = log.named(__name__)
PROMETHEUS, OTEL = "grpc-prometheus", "grpc-otel"


class Servers:
    """Every server of one daemon that is ready, not yet open."""

    def __init__(
        self,
        settings: Settings,
        plugins: PluginSet,
        board: ServingBoard,
        endpoints: Mapping[str, Iterable[Endpoint]],
        bounds: Bounds,
    ) -> None:
        self._limit_s, self._plugins = settings.timeout_s("plugin.init") or None, plugins
        measured = plugins.all(METRICS)
        self._gate = rpc.Gate(settings.grpc.max_concurrent_rpcs)
        layer = rpc.InterceptorLayer(measured.get(PROMETHEUS) or rpc.Counters(), self._gate, measured.get(OTEL))
        services = rpc.GrpcRegistrar(layer, self._absence)
        self.connections = ConnectionMetrics()
        shared = Shared(settings, layer, services, self._absence, bounds, self.connections)
        self._servers = [
            (plugin, Listening(shared, endpoints.get(plugin.uri, ())))
            for plugin in plugins.ready()
            if plugin.registration.kind == SERVER
        ]
        self.services = Services(plugins, board, {GRPC: services, **self._tables()})

    def _tables(self) -> dict[str, ServiceTable]:
        tables: dict[str, ServiceTable] = {}
        for plugin, listening in self._servers:
            if not hasattr(plugin.instance, "table"):
                continue
            try:
                method, table = plugin.instance.offered_by, plugin.instance.table(listening)
                if method in tables or method == GRPC:
                    raise MisusedPlugin(f"another server takes what plugins offer by {method}")
                tables[method] = table
            except BaseException as raised:  # a plugin author's code may raise anything
                _failed(plugin, raised)
        return tables

    def _absence(self, service: str) -> str | None:
        return self._plugins.absence(service) or why_absent(service)

    async def start(self, stack: AsyncExitStack) -> None:
        """Start every server; ``stack`` closes them in reverse.

        Raises:
            BootError: ``failed to get listener for …: …``.
        """
        for plugin, listening in self._servers:
            if plugin.state is not State.READY:
                continue
            if not hasattr(plugin.instance, "start"):
                LOG.warning("plugin does not implement server interface, will not be started", id=plugin.uri)
                continue
            stack.push_async_callback(self._close, plugin, listening)
            try:
                await _in_time("start", partial(plugin.instance.start, listening), self._limit_s)
            except BaseException as raised:  # a plugin author's code may raise anything
                if isinstance(raised, BootError) and not any(one.optional for one in listening.endpoints):
                    raise
                _failed(plugin, raised)
                await self._contained("close", plugin, listening.stack.aclose)

    @property
    def address(self) -> str:
        """Where the last server that started listens: gRPC's socket, unless it is disabled."""
        open_ones = [one for plugin, one in self._servers if plugin.state is State.READY and one.endpoints]
        return open_ones[-1].endpoints[-1].address if open_ones else "no address"

    @property
    def running(self) -> int:
        """Calls in flight."""
        return self._gate.running

    async def drain(self, grace_s: float) -> int:
        """Refuse new calls, end the endless ones, wait for the rest; return how many were still running at the end.

        Servers that drain themselves do so meanwhile.
        """
        own = [
            self._contained("drain", plugin, partial(plugin.instance.drain, grace_s), grace_s)
            for plugin, _ in self._servers
            if hasattr(plugin.instance, "drain") and plugin.state is State.READY
        ]
        left, _ = await asyncio.gather(self._gate.drain(grace_s), asyncio.gather(*own))
        return left

    async def _close(self, plugin: PluginState, listening: Listening) -> None:
        if hasattr(plugin.instance, "close"):
            await self._contained("close", plugin, plugin.instance.close, self._limit_s)
        await self._contained("close", plugin, listening.stack.aclose)

    async def _contained(
        self, step: str, plugin: PluginState, run: Callable[[], Awaitable[Any]], limit_s: float | None = None
    ) -> None:
        """Run a step of a server's end; an error is logged, as the other servers must still be closed."""
        try:
            await _in_time(step, run, limit_s)
        except BaseException as raised:  # a plugin author's code may raise anything
            LOG.error(f"failed to {step} server", id=plugin.uri, **failure.fields(contained(raised)))


async def _in_time(step: str, run: Callable[[], Awaitable[Any]], limit_s: float | None) -> None:
    """Wait for a step, at most ``limit_s`` seconds. Raises DeadlineExceeded."""
    deadline = asyncio.timeout(limit_s)
    try:
        async with deadline:
            await run()
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise DeadlineExceeded(f"{step} did not end within {limit_s:g}s") from error


def _failed(plugin: PluginState, raised: BaseException) -> None:
    plugin.state, plugin.error = State.FAILED, contained(raised)
    LOG.error(f"failed to start server {plugin.uri}", **failure.fields(plugin.error))
