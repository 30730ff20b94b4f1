"""The list of built-in plugins. To add a plugin, write it and name it here; others use an entry point instead.

- `containerd`: plugins under containerd's kinds
- `node`: plugins for the node work
- `proxy`: plugins in other processes
- `config`: the service for the daemon's own configuration
- `kinds`: the kinds by which plugins find each other
- `message`: conversion between the API's messages and the store's values
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from msgspec import Struct

from holdfast.config import Settings
from holdfast.errors import HoldfastError
from holdfast.plugin import InitContext, Registration
from holdfast.plugin.decorator import Init
from holdfast.plugins.kinds import ENTRY_POINT

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "holdfast.plugins"

#: ``module:name`` of each built-in registration, in registration order (containerd's, then ours).
SHIPPED: tuple[str, ...] = (
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
    "node.placement:placement",
    "node.nri:nri",
)


def shipped() -> list[Registration]:
    """Import and return our own registrations."""
    return [getattr(import_module(f"{__name__}.{module}"), name) for module, _, name in map(_parts, SHIPPED)]


def third_party() -> Iterator[Registration]:
    """Return registrations of the installed entry points; one that cannot be imported becomes a plugin that fails."""
    if not _any_installed():
        return
    from importlib.metadata import entry_points

    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        try:
            found = point.load()
            if not isinstance(found, Registration):
                raise HoldfastError(
                    f"{point.value} is a {type(found).__name__}, not a plugin: decorate it with @plugin"
                )
            yield found
        except Exception as error:  # a third party's import may raise anything
            yield Registration(ENTRY_POINT, point.name, _failing(point, error), origin=point.value)


def registrations(settings: Settings) -> list[Registration]:
    """Return all plugins that may run here: built-in ones, installed ones, and the proxies the configuration names."""
    found = installed()
    if settings.proxy_plugins:
        from holdfast.plugins.proxy.registrations import proxies

        found += proxies(settings.proxy_plugins)
    return found


def installed() -> list[Registration]:
    """Return every plugin of this installation, without the proxies, which a configuration defines."""
    return [*shipped(), *third_party()]


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


def _failing(point: EntryPoint, error: Exception) -> Init[None]:
    async def init(context: InitContext):  # type: ignore[no-untyped-def]
        if context:
            raise HoldfastError(f"entry point {point.name} = {point.value}: {type(error).__name__}: {error}") from error
        yield

    return init
