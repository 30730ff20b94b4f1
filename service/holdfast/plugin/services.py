"""What an instance may offer beside being looked up: the methods the daemon asks it for after all inits.

A plugin says what it serves by having the method, as in containerd: nothing is declared twice.
"""

from __future__ import annotations

from typing import Any, Protocol


class OffersGrpc(Protocol):
    """Serves gRPC on the unix socket, and its read-only methods on TCP."""

    def register_grpc(self, registrar: Any) -> None:
        """Pass ``registrar`` to the generated ``add_…Servicer_to_server(servicer, registrar)``."""


class OffersTtrpc(Protocol):
    """Serves ttrpc on ``<address>.ttrpc``."""

    def register_ttrpc(self, registrar: Any) -> None:
        """Pass ``registrar`` to the generated ``add_…_to_server(servicer, registrar)``."""
