"""Protocols that an instance may implement, beside being looked up: the daemon calls their methods after all inits.

A plugin offers a service by having the method, as in containerd: nothing is declared twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol


class Registrar(Protocol):
    """Parameter of `OffersGrpc.register_grpc` and `OffersTcp.register_tcp`: what generated code uses of a server."""

    def add_generic_rpc_handlers(self, handlers: Iterable[Any], /) -> None:
        """Add the handlers of a service, each of `grpc.method_handlers_generic_handler`.

        Raises:
            ServedAlready: another plugin serves the service.
            MisusedPlugin: a handler that is not ``async def``.
        """

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any], /) -> None:
        """Do nothing: generated code calls this after `add_generic_rpc_handlers`."""


class OffersGrpc(Protocol):
    """An instance that serves gRPC on the unix socket."""

    def register_grpc(self, registrar: Registrar) -> None:
        """Pass ``registrar`` to the generated ``add_…Servicer_to_server(servicer, registrar)``."""


class OffersTcp(Protocol):
    """An instance that serves gRPC on TCP. Without a grant only methods that read are open there (`rpc.auth`)."""

    def register_tcp(self, registrar: Registrar) -> None:
        """Pass ``registrar`` to the generated ``add_…Servicer_to_server(servicer, registrar)``.

        ``register_tcp = register_grpc`` in the class offers the same services on both.
        """


class OffersTtrpc(Protocol):
    """An instance that serves ttrpc on ``<address>.ttrpc``."""

    def register_ttrpc(self, registrar: Any) -> None:
        """Pass ``registrar`` (a `holdfast.ttrpc.Registrar`) to the generated ``add_…_to_server``."""
