"""Registration of the services that plugins offer, after the last init: all services of a plugin, or none."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from holdfast import failure, log
from holdfast.errors import FailedPrecondition, MisusedPlugin, ServedAlready
from holdfast.failure import contained
from holdfast.plugin import PluginSet, PluginState, State
from holdfast.plugin.services import ServiceTable
from holdfast.plugin.serving import ServingBoard

LOG = log.named(__name__)
GRPC, TCP, TTRPC = "register_grpc", "register_tcp", "register_ttrpc"


class Services:
    """The tables of the servers, by the method of plugins that fills each.

    A method without a table is not called: no server takes what it offers.
    """

    def __init__(self, plugins: PluginSet, board: ServingBoard, tables: Mapping[str, ServiceTable]) -> None:
        self._plugins, self._board, self._tables = plugins, board, tables
        self._owners: dict[str, str] = {}  # plugins' URIs by service

    def register(self, plugin: PluginState) -> None:
        """Register a plugin's services. If one of them cannot be served, the plugin has failed."""
        before = self._served()
        try:
            for method, table in self._tables.items():
                if hasattr(plugin.instance, method):  # isinstance of a Protocol takes 30 µs a class
                    _call(getattr(plugin.instance, method), table)
        except BaseException as raised:  # a plugin author's code may raise anything
            for method, service in self._served() - before:
                self._tables[method].withdraw(service)
            plugin.state, plugin.error = State.FAILED, self._named(contained(raised))
            LOG.error(f"failed to register services of plugin {plugin.uri}", **failure.fields(plugin.error))
            return
        added = self._served() - before
        self._owners.update({service: plugin.uri for _, service in added})
        on_node = [service for method, service in added if method == GRPC]
        for service in (*on_node, *plugin.registration.services):
            if self._board.serves(service) is None:  # a state that the plugin itself has set is kept
                self._board.set(service, True)

    def unoffered(self, plugin: PluginState) -> list[str]:
        """The services that a ready plugin declares and no server has."""
        if plugin.state is not State.READY or self._is_for_others(plugin.instance):
            return []
        return [service for service in plugin.registration.services if service not in self._owners]

    def mark_absent(self) -> None:
        """Set NOT_SERVING in health for the services of plugins that are not ready."""
        for plugin in self._plugins:
            if plugin.state is not State.READY:
                for service in plugin.registration.services:
                    if self._board.serves(service) is None:
                        self._board.set(service, False)

    def _served(self) -> set[tuple[str, str]]:
        return {(method, service) for method, table in self._tables.items() for service in table.services}

    def _is_for_others(self, instance: Any) -> bool:
        """Whether a plugin offers services to a server that is not here. TCP has those of the socket, as a rule."""
        offered = {method for method in (GRPC, TCP, TTRPC) if hasattr(instance, method)}
        if GRPC in offered:
            offered.discard(TCP)
        return bool(offered - self._tables.keys())

    def _named(self, error: Exception) -> Exception:
        """The error about a service that is served twice, with the plugin that serves it already."""
        if not isinstance(error, ServedAlready):
            return error
        found = FailedPrecondition(f"{error} (by plugin {self._owners.get(error.service, 'itself')})")
        found.word, found.__cause__ = "", error
        return found


def _call(method: Callable[[Any], object], registrar: object) -> None:
    result = method(registrar)
    if isinstance(result, Coroutine):
        result.close()
        raise MisusedPlugin(f"{getattr(method, '__qualname__', method)} must not be async")
