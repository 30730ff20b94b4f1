"""Protocols that an instance may implement, beside being looked up: the daemon calls their methods after all inits.

A plugin offers a service by having the method, as in containerd: nothing is declared twice.
"""

from __future__ import annotations

from typing import Any, Protocol


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


class OffersTtrpc(Protocol):
    """An instance that serves ttrpc on ``<address>.ttrpc``."""

    def register_ttrpc(self, registrar: Any) -> None:
        """Pass ``registrar`` to the generated ``add_…_to_server(servicer, registrar)``."""
