"""The endpoint for diagnostics: stacks, tasks, the configuration in force, the log level."""

from __future__ import annotations

from collections.abc import AsyncIterator

from holdfast import log
from holdfast.config import Settings
from holdfast.listener.listening import Listening
from holdfast.plugin import Endpoint, InitContext, SkipPlugin, server
from holdfast.plugin.context import DaemonServices


class DebugServer:
    """The debug endpoint."""

    def __init__(self, daemon: DaemonServices) -> None:
        self._daemon = daemon

    async def start(self, listening: Listening) -> None:
        """Serve on each endpoint; over TCP requests of web pages, and those that write, are refused."""
        from holdfast.plugins.servers.pages import debug_routes, guard_address

        daemon = self._daemon
        routes = debug_routes(
            lambda threads: daemon.stacks(threads=threads),
            lambda: daemon.configuration().values,
            log.level_name,
            daemon.set_log_level,
        )
        for endpoint in listening.endpoints:
            await listening.serve_http(endpoint, routes, None if endpoint.is_unix else guard_address)


def _endpoints(settings: Settings, _: None) -> list[Endpoint]:
    section = settings.debug
    endpoint = Endpoint("debug", "debug endpoint", section.address, section.uid, section.gid)
    return [endpoint] if section.address else []


@server("debug", _endpoints)
async def debug(context: InitContext) -> AsyncIterator[DebugServer]:
    """Serve diagnostics where an address is set."""
    if not context.settings.debug.address:
        raise SkipPlugin
    yield DebugServer(context.daemon)
