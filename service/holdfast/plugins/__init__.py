"""The list of built-in plugins. To add a plugin, write it and name it here; others use an entry point instead.

- `containerd`: plugins under containerd's kinds
- `node`: plugins for the node work
- `proxy`: plugins in other processes
- `servers`: the servers, and the plugins that measure calls
- `web`: the page for a browser
- `config`: the service for the daemon's own configuration
- `kinds`: the kinds by which plugins find each other
- `message`: conversion between the API's messages and the store's values
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from holdfast import __version__
from holdfast.config import Settings
from holdfast.errors import HoldfastError
from holdfast.failure import sentence
from holdfast.plugin import Kind, Registration
from holdfast.plugin.decorator import check, failing
from holdfast.plugin.graph import twice
from holdfast.plugins.kinds import ENTRY_POINT, SERVER

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "holdfast.plugins"

#: ``module:name`` of each built-in registration, in registration order (containerd's, then ours). The two that
#: measure calls come first, so that calls which plugins make at their start are traced.
SHIPPED: tuple[str, ...] = (
    "servers.calls:grpc_otel",
    "servers.calls:grpc_prometheus",
    "containerd.metadata:content",
    "containerd.metadata:metadata",
    "containerd.differ:walking",
    "containerd.events:exchange",
    "containerd.gc:gc",
    "containerd.introspection:introspection_service",
    "containerd.containers:containers_service",
    "containerd.content:content_service",
    "containerd.diff:diff_service",
    "containerd.images:images_service",
    "containerd.leases:leases_service",
    "containerd.namespaces:namespaces_service",
    "containerd.snapshots:snapshots_service",
    "containerd.introspection:introspection",
    "containerd.containers:containers",
    "containerd.content:content",
    "containerd.diff:diff",
    "containerd.events:events",
    "containerd.health:healthcheck",
    "containerd.images:images",
    "containerd.leases:leases",
    "containerd.namespaces:namespaces",
    "containerd.snapshots:snapshots",
    "containerd.reflection:reflection",
    "containerd.version:version",
    "config:config",
    "node.bundle:bundles",
    "node.bundle:service",
    "node.cgroups:cgroups",
    "node.pods:pods",
    "node.placement.plugin:placement",
    "node.nri.plugin:nri",
    "web.plugin:page",
)
#: The servers, in the order in which they open: once gRPC's socket exists, all the others are open. They are registered
#: after the plugins of others, whose services they offer, and after the servers of others.
SERVERS: tuple[str, ...] = (
    "servers.debug:debug",
    "servers.metrics:metrics",
    "servers.web:web",
    "servers.ttrpc:ttrpc",
    "servers.grpc_tcp:grpc_tcp",
    "servers.health:health",
    "servers.grpc:grpc",
)


def shipped(*, acting: bool = True) -> list[Registration]:
    """Import and return our own registrations; without ``acting``, not those of `node`, which act on the machine."""
    names = (*SHIPPED, *SERVERS) if acting else (name for name in (*SHIPPED, *SERVERS) if not name.startswith("node."))
    return [getattr(import_module(f"{__name__}.{module}"), name) for module, _, name in map(_parts, names)]


def third_party(disabled: Collection[str] = ()) -> Iterator[tuple[EntryPoint, Registration]]:
    """Return the installed entry points with their plugins; one that cannot be imported is a plugin that fails.

    An entry point is not imported if ``disabled`` has its name, which may be the plugin's URI, or the URI under which
    it is listed when its import fails.
    """
    if not _any_installed():
        return
    from importlib.metadata import entry_points

    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        if point.name in disabled:
            kind, _, name = point.name.rpartition(".")
            yield point, _unread(Kind(kind), name, point)
        elif f"{ENTRY_POINT.uri}.{point.name}" in disabled:
            yield point, _unread(ENTRY_POINT, point.name, point)
        else:
            yield point, _imported(point)


def registrations(settings: Settings, named: Collection[str] = ()) -> list[Registration]:
    """Return all plugins that may run here: built-in ones, installed ones, those ``named`` on the command line
    (``module:name``), and the proxies the configuration names.
    """
    found = installed(settings.disabled_plugins, named)
    if settings.proxy_plugins:
        from holdfast.plugins.proxy.registrations import proxies

        found += proxies(settings.proxy_plugins)
    ours = {one.init for one in shipped()[len(SHIPPED) :]}
    return sorted(found, key=lambda one: one.kind == SERVER and 1 + (one.init in ours))


def installed(disabled: Collection[str] = (), named: Collection[str] = ()) -> list[Registration]:
    """Return every plugin of this installation, without the proxies, which a configuration defines."""
    own = f"holdfast {__version__}"
    found = {one.uri: msgspec.structs.replace(one, distribution=own) for one in shipped()}
    for point, plugin in chain(third_party(disabled), _of_the_working_directory(named)):
        one = plugin
        if one.uri in found and found[one.uri].init is one.init:
            continue  # one plugin by two names
        if one.uri in found and one.kind != ENTRY_POINT:
            one = _failed(point, twice(found[one.uri], one))
        while one.uri in found:  # entry points of two distributions may have one name
            one = msgspec.structs.replace(one, id=f"{one.id}-again")
        found[one.uri] = one
    return list(found.values())


def known_configs() -> dict[str, type[Struct] | None]:
    """Return the config type of each plugin by URI; None for a plugin without one."""
    return {registration.uri: registration.config for registration in installed()}


def _any_installed() -> bool:
    """Whether a distribution may have our entry points; importlib.metadata, the exact check, costs 20 ms and 2 MiB."""
    for folder in sys.path:
        try:
            names = [entry.name for entry in os.scandir(folder or ".") if entry.name.endswith(("-info", ".egg"))]
        except NotADirectoryError:
            return True  # a zip file: let importlib.metadata look into it
        except OSError:
            continue
        if any(_names_our_group(os.path.join(folder, name)) for name in names):
            return True
    return False


def _names_our_group(distribution: str) -> bool:
    try:
        with open(os.path.join(distribution, "entry_points.txt"), "rb") as file:
            return GROUP.encode() in file.read()
    except OSError:
        return distribution.endswith(".egg")


def _parts(name: str) -> tuple[str, str, str]:
    return name.partition(":")


def _of_the_working_directory(named: Collection[str]) -> Iterator[tuple[EntryPoint, Registration]]:
    if not named:
        return
    from importlib.metadata import EntryPoint

    sys.path.append(os.getcwd())
    for value in named:
        point = EntryPoint(value, value, GROUP)
        yield point, _imported(point)


def _imported(point: EntryPoint) -> Registration:
    try:
        found = point.load()
        if not isinstance(found, Registration):
            raise HoldfastError(f"{point.value} is a {type(found).__name__}, not a plugin: decorate it with @plugin")
        check(found)
    except BaseException as error:  # an author's code may raise anything, at its import too
        return _failed(point, error)
    return msgspec.structs.replace(found, distribution=_distribution(point))


def _failed(point: EntryPoint, error: BaseException) -> Registration:
    """A plugin that fails with the error of its entry point's import."""
    told = HoldfastError(f"entry point {point.name} = {point.value}: {sentence(error)}")
    told.__cause__ = error
    return Registration(ENTRY_POINT, point.name, failing(told), origin=point.value, distribution=_distribution(point))


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else ""


class _Unread(Struct):
    """Stands for the config of a plugin that is disabled and not imported: its section is not read."""


def _unread(kind: Kind[object], name: str, point: EntryPoint) -> Registration:
    disabled = failing(HoldfastError("it is disabled"))
    return Registration(kind, name, disabled, config=_Unread, origin=point.value)
