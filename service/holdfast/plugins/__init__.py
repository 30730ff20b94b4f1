"""The list of built-in plugins. To add a plugin, write it and name it here; others use an entry point instead."""

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
from holdfast.plugin.registration import Init
from holdfast.plugins.kinds import ENTRY_POINT

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "holdfast.plugins"

#: ``module:name`` of each built-in registration, in registration order (containerd's, then ours).
SHIPPED: tuple[str, ...] = (
    "metadata:content",
    "metadata:metadata",
    "differ:walking",
    "events:exchange",
    "gc:gc",
    "introspection:introspection_service",
    "containers:containers_service",
    "content:content_service",
    "diff:diff_service",
    "images:images_service",
    "leases:leases_service",
    "namespaces:namespaces_service",
    "snapshots:snapshots_service",
    "introspection:introspection",
    "containers:containers",
    "content:content",
    "diff:diff",
    "events:events",
    "health:healthcheck",
    "images:images",
    "leases:leases",
    "namespaces:namespaces",
    "snapshots:snapshots",
    "reflection:reflection",
    "version:version",
    "config:config",
    "bundle:bundles",
    "bundle:service",
    "cgroups:cgroups",
    "pods:pods",
    "placement:placement",
    "nri:nri",
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
        from holdfast.plugins.proxy import proxies

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
