"""Registration of a plugin, before anything runs: its kind, its id, its requirements, its configuration.

A decorator turns an async generator into a `Registration`; nothing happens at import. The daemon collects registrations
from ``holdfast.plugins.SHIPPED`` and from the entry points of group ``holdfast.plugins``.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from holdfast.config import Remark
from holdfast.errors import MisusedPlugin
from holdfast.failure import sentence

if TYPE_CHECKING:
    from holdfast.plugin.context import InitContext

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Kind(Struct, Generic[T_co], frozen=True):
    """A plugin type's URI (``io.containerd.event.v1``) that carries the Python type of its instances."""

    uri: str


#: Alone in ``requires``: every other plugin comes first.
EVERYTHING: Kind[Any] = Kind("*")

#: Remarks of a plugin on its decoded config: warnings for ``holdfast config check`` and the daemon's log, and faults.
Remarks = Callable[[Any], Iterable[Remark]]
Init = Callable[["InitContext"], AsyncIterator[T]]


class Registration(Struct, frozen=True):
    """One plugin, not yet started.

    ``services`` names the gRPC or ttrpc services it will offer: health uses it, and the answer to a call of a service
    whose plugin failed. ``remarks`` returns warnings and faults of a decoded ``config``. ``origin`` is where the plugin
    was defined, for the message about a duplicate; ``distribution`` is name and version of the package that brings it.
    """

    kind: Kind[Any]
    id: str
    init: Init[Any]
    requires: tuple[Kind[Any], ...] = ()
    config: type[msgspec.Struct] | None = None
    services: tuple[str, ...] = ()
    origin: str = ""
    remarks: Remarks | None = None
    distribution: str = ""

    @property
    def uri(self) -> str:
        """``<kind>.<id>``, the name used in the configuration, in logs and as the directory below root."""
        return f"{self.kind.uri}.{self.id}"

    def remarks_on(self, config: Any) -> list[Remark]:
        """The plugin's remarks on a decoded config; an error in the check itself becomes a warning."""
        if self.remarks is None:
            return []
        try:
            return list(self.remarks(config))
        except (Exception, SystemExit) as error:  # an author's code; the configuration may be good all the same
            return [Remark((), f"the plugin's own check failed: {sentence(error)}")]


def plugin(
    kind: Kind[T],
    id: str,  # noqa: A002 (the field's own name, as in containerd's registration)
    *,
    requires: Iterable[Kind[Any]] = (),
    config: type[msgspec.Struct] | None = None,
    services: Iterable[str] = (),
    remarks: Remarks | None = None,
) -> Callable[[Init[T]], Registration]:
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
        registration = Registration(kind, id, init, needs, config, offers, origin, remarks)
        check(registration)
        return registration

    return register


def check(registration: Registration) -> None:
    """Refuse a registration that can never work.

    Raises:
        MisusedPlugin: no kind or id, ``requires`` that are no kinds, ``EVERYTHING`` beside others, its own kind among
            ``requires``, ``services`` that are no names, a config type that is not a msgspec struct, remarks without
            one, or a function that is not an async generator.
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
    if registration.remarks is not None and config is None:
        raise MisusedPlugin(f"{name}: remarks without a config")
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
