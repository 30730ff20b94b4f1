"""Start order of plugins: containerd's depth-first order, always the same for the same registrations.

For each plugin in registration order, every enabled plugin of each kind it requires comes first, in the order the kinds
are named. A disabled plugin is dropped, also as a dependency: a plugin that requires it still starts, and learns at its
own look-up that it is missing (containerd's rule: one disabled plugin must not silently drop a whole branch).

Of plugins that require each other in a loop, the one registered last cannot start, and its error names the loop: the
daemon's own plugins are registered first, so that an installed plugin cannot take one of them away.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import msgspec

from holdfast.errors import MisusedPlugin
from holdfast.plugin.decorator import failing
from holdfast.plugin.registration import EVERYTHING, Registration


def ordered(registrations: Sequence[Registration], disabled: Container[str] = ()) -> list[Registration]:
    """The enabled registrations, dependencies first. ``disabled`` holds URIs.

    Raises:
        MisusedPlugin: two registrations of one URI.
    """
    _refuse_duplicates(registrations)
    enabled = [registration for registration in registrations if registration.uri not in disabled]
    while True:
        order, loop = _walked(enabled)
        if not loop:
            return order
        last = max(loop, key=enabled.index)
        names = [one.uri for one in loop]
        error = MisusedPlugin(
            f"circular plugin dependency: {' -> '.join((*names, names[0]))}: plugin: dependency loop detected"
        )
        enabled[enabled.index(last)] = msgspec.structs.replace(last, init=failing(error), requires=())


def _walked(enabled: Sequence[Registration]) -> tuple[list[Registration], list[Registration]]:
    """The order, and the first loop found; a loop leaves the order unfinished."""
    order: dict[str, Registration] = {}
    chain: dict[str, Registration] = {}

    def visit(registration: Registration) -> list[Registration]:
        if registration.uri in order:
            return []
        if registration.uri in chain:
            names = list(chain)
            return list(chain.values())[names.index(registration.uri) :]
        chain[registration.uri] = registration
        for dependency in _dependencies(registration, enabled):
            if loop := visit(dependency):
                return loop
        del chain[registration.uri]
        order[registration.uri] = registration
        return []

    for registration in enabled:
        if loop := visit(registration):
            return [], loop
    return list(order.values()), []


def expand_short_ids(ids: Iterable[str], registrations: Iterable[Registration]) -> set[str]:
    """URIs for a version 1 config's short ids: an id stands for every plugin that has it.

    A name that is no plugin's id is kept as it is: a full URI means itself (containerd ignores it there), and a
    required name that does not exist is reported as the user wrote it.
    """
    known = list(registrations)
    found: set[str] = set()
    for short in ids:
        matches = {registration.uri for registration in known if registration.id == short}
        found |= matches or {short}
    return found


def _dependencies(registration: Registration, enabled: Sequence[Registration]) -> Iterable[Registration]:
    if registration.requires == (EVERYTHING,):
        return (other for other in enabled if other is not registration)
    return (other for kind in registration.requires for other in enabled if other.kind.uri == kind.uri)


def _refuse_duplicates(registrations: Sequence[Registration]) -> None:
    found: dict[str, Registration] = {}
    for registration in registrations:
        if registration.uri in found:
            raise twice(found[registration.uri], registration)
        found[registration.uri] = registration


def twice(first: Registration, again: Registration) -> MisusedPlugin:
    """The error about two registrations of one URI."""
    return MisusedPlugin(f"{first.uri}: plugin: id already registered (by {first.origin}, again by {again.origin})")
