"""The decorator that turns an async generator into a `Registration`; nothing happens at import."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, TypeVar

import msgspec

from holdfast.errors import MisusedPlugin
from holdfast.plugin.context import InitContext
from holdfast.plugin.registration import EVERYTHING, Kind, Registration, Remarks

T = TypeVar("T")
Init = Callable[[InitContext], AsyncIterator[T]]


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
        MisusedPlugin: no kind or id, ``EVERYTHING`` beside others, its own kind among ``requires``, a config
            type that is not a msgspec struct, remarks without one, or a function that is not an async generator.
    """

    def register(init: Init[T]) -> Registration:
        registration = Registration(
            kind, id, init, tuple(requires), config, tuple(services), f"{init.__module__}.{init.__qualname__}", remarks
        )
        _check(registration)
        return registration

    return register


def _check(registration: Registration) -> None:
    name = registration.uri
    if not registration.kind.uri:
        raise MisusedPlugin(f"{registration.origin}: plugin: no type")
    if not registration.id:
        raise MisusedPlugin(f"{registration.origin}: plugin: no id")
    if EVERYTHING in registration.requires and len(registration.requires) > 1:
        raise MisusedPlugin(f"{name}: invalid requires: EVERYTHING must stand alone")
    if registration.kind in registration.requires:
        raise MisusedPlugin(f"{name}: invalid requires: a plugin cannot require its own type")
    if registration.config is not None and not issubclass(registration.config, msgspec.Struct):
        raise MisusedPlugin(f"{name}: config must be a msgspec.Struct, not {registration.config!r}")
    if registration.remarks is not None and registration.config is None:
        raise MisusedPlugin(f"{name}: remarks without a config")
    if not inspect.isasyncgenfunction(registration.init):
        raise MisusedPlugin(f"{name}: {registration.origin} must be an async generator that yields the instance")
