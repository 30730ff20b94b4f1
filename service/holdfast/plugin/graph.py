"""Start order of plugins: containerd's depth-first order, always the same for the same registrations.

For each plugin in registration order, every enabled plugin of each kind it requires comes first, in the order the kinds
are named. A disabled plugin is dropped, also as a dependency: a plugin that requires it still starts, and learns at its
own look-up that it is missing (containerd's rule: one disabled plugin must not silently drop a whole branch).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from holdfast.errors import MisusedPlugin
from holdfast.plugin.registration import EVERYTHING, Registration


def ordered(registrations: Sequence[Registration], disabled: Container[str] = ()) -> list[Registration]:
    """The enabled registrations, dependencies first. ``disabled`` holds URIs.

    Raises:
        MisusedPlugin: two registrations of one URI, or a loop; the message names the chain.
    """
    _refuse_duplicates(registrations)
    enabled = [registration for registration in registrations if registration.uri not in disabled]
    order: dict[str, Registration] = {}
    chain: list[str] = []

    def visit(registration: Registration) -> None:
        if registration.uri in order:
            return
        if registration.uri in chain:
            loop = " -> ".join((*chain[chain.index(registration.uri) :], registration.uri))
            raise MisusedPlugin(f"circular plugin dependency: {loop}: plugin: dependency loop detected")
        chain.append(registration.uri)
        for dependency in _dependencies(registration, enabled):
            visit(dependency)
        chain.pop()
        order[registration.uri] = registration

    for registration in enabled:
        visit(registration)
    return list(order.values())


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
    origins: dict[str, str] = {}
    for registration in registrations:
        if registration.uri in origins:
            raise MisusedPlugin(
                f"{registration.uri}: plugin: id already registered"
                f" (by {origins[registration.uri]}, again by {registration.origin})"
            )
        origins[registration.uri] = registration.origin
