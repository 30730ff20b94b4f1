"""The decorator that turns an async generator into a `Registration`; nothing happens at import."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar, overload

import msgspec

from holdfast.config import ConfigMigration, Remark
from holdfast.errors import MisusedPlugin
from holdfast.plugin.context import InitContext
from holdfast.plugin.registration import EVERYTHING, Endpoints, Kind, Registration, Remarks
from holdfast.plugin.services import SERVER, Server

T = TypeVar("T")
ConfigT = TypeVar("ConfigT", bound=msgspec.Struct)
Init = Callable[[InitContext], AsyncIterator[T]]


@overload
def plugin(
    kind: Kind[T],
    id: str,
    *,
    requires: Iterable[Kind[Any]] = (),
    config: type[ConfigT],
    services: Iterable[str] = (),
    remarks: Callable[[ConfigT], Iterable[Remark]] | None = None,
    config_migration: ConfigMigration | None = None,
) -> Callable[[Callable[[InitContext[ConfigT]], AsyncIterator[T]]], Registration]: ...


@overload
def plugin(
    kind: Kind[T],
    id: str,
    *,
    requires: Iterable[Kind[Any]] = (),
    services: Iterable[str] = (),
) -> Callable[[Callable[[InitContext[None]], AsyncIterator[T]]], Registration]: ...


def plugin(  # noqa: PLR0913 (an author names what the plugin has)
    kind: Kind[T],
    id: str,  # noqa: A002 (the field's own name, as in containerd's registration)
    *,
    requires: Iterable[Kind[Any]] = (),
    config: type[msgspec.Struct] | None = None,
    services: Iterable[str] = (),
    remarks: Remarks | None = None,
    config_migration: ConfigMigration | None = None,
) -> Callable[[Callable[[InitContext[Any]], AsyncIterator[T]]], Registration]:
    """Register an async generator as a plugin: the part before its ``yield`` starts it, the part after closes it.

    Raises:
        MisusedPlugin: see `check`.
    """

    def register(init: Init[T]) -> Registration:
        origin = f"{getattr(init, '__module__', '')}.{getattr(init, '__qualname__', init)}"
        if not isinstance(kind, Kind):
            raise MisusedPlugin(f"{origin}: its kind must be a Kind, not {kind!r}")
        if not isinstance(id, str):
            raise MisusedPlugin(f"{origin}: its id must be a string, not {id!r}")
        needs, offers = _each(requires, origin, "requires", "kinds"), _each(services, origin, "services", "names")
        registration = Registration(
            kind, id, init, needs, config, offers, origin, remarks, config_migration=config_migration
        )
        check(registration)
        return registration

    return register


def server(
    id: str,  # noqa: A002 (the field's own name, as in containerd's registration)
    endpoints: Endpoints,
    *,
    requires: Iterable[Kind[Any]] = (),
    config: type[msgspec.Struct] | None = None,
    remarks: Remarks | None = None,
) -> Callable[[Init[Server]], Registration]:
    """Register a plugin of the kind `SERVER`, which listens on ``endpoints``.

    Raises:
        MisusedPlugin: see `check`.
    """
    registering: Any = plugin  # its overloads part a plugin with a config from one without
    register = registering(SERVER, id, requires=requires, config=config, remarks=remarks)
    return lambda init: msgspec.structs.replace(register(init), endpoints=endpoints)


def check(registration: Registration) -> None:
    """Refuse a registration that can never work.

    Raises:
        MisusedPlugin: no kind or id, ``requires`` that are no kinds, ``EVERYTHING`` beside others, its own kind among
            ``requires``, ``services`` that are no names, a config type that is not a msgspec struct, remarks or
            a migration without one, or a function that is not an async generator.
    """
    name, config = registration.uri, registration.config
    if not registration.kind.uri:
        raise MisusedPlugin(f"{registration.origin}: plugin: no type")
    if not registration.id:
        raise MisusedPlugin(f"{registration.origin}: plugin: no id")
    for kind in registration.requires:
        if not isinstance(kind, Kind):
            raise MisusedPlugin(f"{name}: requires must name kinds (holdfast.plugin.Kind), not {kind!r}")
    if EVERYTHING in registration.requires and len(registration.requires) > 1:
        raise MisusedPlugin(f"{name}: invalid requires: EVERYTHING must stand alone")
    if registration.kind in registration.requires:
        raise MisusedPlugin(f"{name}: invalid requires: a plugin cannot require its own type")
    for service in registration.services:
        if not isinstance(service, str):
            raise MisusedPlugin(f"{name}: services must be names, not {service!r}")
    if config is not None and not (isinstance(config, type) and issubclass(config, msgspec.Struct)):
        raise MisusedPlugin(f"{name}: config must be a msgspec.Struct, not {config!r}")
    if config is None and (registration.remarks or registration.config_migration):
        raise MisusedPlugin(f"{name}: {'remarks' if registration.remarks else 'config_migration'} without a config")
    if not inspect.isasyncgenfunction(registration.init):
        raise MisusedPlugin(f"{name}: {registration.origin} must be an async generator that yields the instance")


def failing(error: Exception) -> Init[None]:
    """Return an init that raises ``error``, for a plugin that cannot start."""

    async def init(context: InitContext) -> AsyncIterator[None]:
        if context:
            raise error
        yield

    return init


def _each(given: Iterable[T], origin: str, what: str, of: str) -> tuple[T, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise MisusedPlugin(f"{origin}: {what} must be a list of {of}, not {given!r}")
    return tuple(given)
