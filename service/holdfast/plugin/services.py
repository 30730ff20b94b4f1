"""Protocols that an instance may implement, beside being looked up: the daemon calls their methods after all inits.

A plugin offers a service by having the method, as in containerd: nothing is declared twice.
"""

from __future__ import annotations

from typing import Any, Protocol


class OffersGrpc(Protocol):
    """An instance that serves gRPC on the unix socket, and its read-only methods on TCP."""

    def register_grpc(self, registrar: Any) -> None:
        """Pass ``registrar`` to the generated ``add_…Servicer_to_server(servicer, registrar)``."""


class OffersTtrpc(Protocol):
    """An instance that serves ttrpc on ``<address>.ttrpc``."""

    def register_ttrpc(self, registrar: Any) -> None:
        """Pass ``registrar`` to the generated ``add_…_to_server(servicer, registrar)``."""
