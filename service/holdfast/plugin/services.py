"""Protocols that an instance may implement, beside being looked up: the daemon calls their methods after all inits.

A plugin offers a service by having the method, as in containerd: nothing is declared twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct


class OffersGrpc(Protocol):
    """An instance that serves gRPC on the unix socket."""

    def register_grpc(self, registrar: Any) -> None:
        """Pass ``registrar`` to the generated ``add_…Servicer_to_server(servicer, registrar)``."""


class OffersTcp(Protocol):
    """An instance that serves gRPC on TCP. Without a grant only methods that read are open there (`rpc.auth`)."""

    def register_tcp(self, registrar: Any) -> None:
        """Pass ``registrar`` to the generated ``add_…Servicer_to_server(servicer, registrar)``.

        ``register_tcp = register_grpc`` in the class offers the same services on both.
        """


class PageRequest(Struct, frozen=True):
    """A request of a browser. ``query``: the parameters behind the path; ``is_private``: the listener is a unix socket,
    which only the users of its mode reach. Without it any user of the machine may have sent the request.
    """

    query: Mapping[str, str]
    is_private: bool = False


class Page(Struct, frozen=True):
    """The answer. ``policy``: directives of Content-Security-Policy beside the listener's own, which allow nothing."""

    body: bytes
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    policy: tuple[str, ...] = ()


ShowPage = Callable[[PageRequest], Awaitable[Page]]


class OffersWeb(Protocol):
    """An instance that has pages on the listener for browsers (``web.address``)."""

    def register_web(self, registrar: Any) -> None:
        """Call ``registrar.page(path, show)`` for each page."""


class OffersTtrpc(Protocol):
    """An instance that serves ttrpc on ``<address>.ttrpc``."""

    def register_ttrpc(self, registrar: Any) -> None:
        """Pass ``registrar`` to the generated ``add_…_to_server(servicer, registrar)``."""
