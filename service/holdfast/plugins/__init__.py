"""The list of what ships. To add a plugin, write it, and name it here; third parties use an entry point instead."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from msgspec import Struct

from holdfast.config import Settings
from holdfast.errors import HoldfastError
from holdfast.plugin import InitContext, Registration
from holdfast.plugin.registration import Init
from holdfast.plugins.kinds import ENTRY_POINT

GROUP = "holdfast.plugins"

#: ``module:name`` of each shipped registration, in registration order (containerd's, then ours).
SHIPPED: tuple[str, ...] = (
    "metadata:content",
    "metadata:metadata",
    "events:exchange",
    "gc:gc",
    "introspection:introspection_service",
    "containers:containers_service",
    "content:content_service",
    "images:images_service",
    "leases:leases_service",
    "namespaces:namespaces_service",
    "introspection:introspection",
    "containers:containers",
    "content:content",
    "events:events",
    "health:healthcheck",
    "images:images",
    "leases:leases",
    "namespaces:namespaces",
    "reflection:reflection",
    "version:version",
    "cgroups:cgroups",
    "pods:pods",
    "placement:placement",
)


def shipped() -> list[Registration]:
    """Our own registrations, imported now."""
    return [getattr(import_module(f"{__name__}.{module}"), name) for module, _, name in map(_parts, SHIPPED)]


def third_party() -> Iterator[Registration]:
    """Registrations of the installed entry points; one that cannot be imported becomes a plugin that fails."""
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
    """Everything that may run here: shipped plugins, installed ones, and the proxies the configuration names."""
    from holdfast.plugins.proxy import proxies

    return [*shipped(), *third_party(), *proxies(settings.proxy_plugins)]


def known_configs() -> dict[str, type[Struct] | None]:
    """The config type of each plugin by URI; None for a plugin without one."""
    return {registration.uri: registration.config for registration in (*shipped(), *third_party())}


def _parts(name: str) -> tuple[str, str, str]:
    return name.partition(":")


def _failing(point: EntryPoint, error: Exception) -> Init[None]:
    async def init(context: InitContext):  # type: ignore[no-untyped-def]
        if context:
            raise HoldfastError(f"entry point {point.name} = {point.value}: {type(error).__name__}: {error}") from error
        yield

    return init
