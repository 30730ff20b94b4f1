"""Check of all addresses before anything starts that would have to be undone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from holdfast.config import Settings
from holdfast.errors import BootError, SkipPlugin
from holdfast.failure import contained
from holdfast.listener.sockets import Owner, UnixSocket, listen_tcp
from holdfast.plugin import Endpoint, Registration


def endpoints_of(
    settings: Settings, sections: Mapping[str, Any], enabled: Iterable[Registration]
) -> tuple[dict[str, list[Endpoint]], dict[str, Exception]]:
    """Return where each server will listen, by URI, and the errors of registrations that cannot say it.

    Raises:
        BootError: a server cannot listen with these settings.
    """
    found: dict[str, list[Endpoint]] = {}
    unusable: dict[str, Exception] = {}
    for one in enabled:
        if one.endpoints is None or (one.config is not None and one.uri not in sections):
            continue
        try:
            found[one.uri] = list(one.endpoints(settings, sections.get(one.uri)))
        except BootError:
            raise
        except BaseException as raised:  # a plugin author's code may raise anything
            unusable[one.uri] = contained(raised)
    return found, unusable


def refuse_taken(endpoints: Mapping[str, Iterable[Endpoint]]) -> dict[str, Exception]:
    """Check that every address can be listened on; return the servers to leave out, by URI, with the reason.

    The servers open their sockets for good after the plugins, and refuse an address that was taken in between.

    Raises:
        BootError: ``failed to get listener for …: …``, as at the opening; not for an optional endpoint.
    """
    by_uri = [(uri, one) for uri, some in endpoints.items() for one in some]
    left_out: dict[str, Exception] = {}
    with ExitStack() as held:  # all at once: two of ours may name the same port
        for uri, one in sorted(by_uri, key=lambda entry: entry[1].optional):
            try:
                if not one.is_unix:
                    held.enter_context(listen_tcp(one.purpose, one.address))
            except BootError as error:
                if not one.optional:
                    raise
                left_out[uri] = SkipPlugin(f"{error}; name another address, or none")
    for _, one in by_uri:
        if one.is_unix:
            UnixSocket(one.purpose, one.address, Owner()).refuse_if_taken()
    return left_out
