"""The version service: what answers ``ctr version`` and ``holdfast version``. The example for plugin authors.

A servicer fills in a generated class, says how it is registered, and an async generator yields it. Health, metrics,
tracing, reflection and error statuses come with that; `docs/first-plugin.md` builds one of these from nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import holdfast
from holdfast.api.services.version.v1 import version_pb2_grpc
from holdfast.api.services.version.v1.version_pb2 import VersionResponse
from holdfast.plugin import InitContext, Registrar, plugin
from holdfast.plugins.kinds import GRPC


class Versions(version_pb2_grpc.VersionServicer):
    """Answers with the version and the commit this daemon was built from."""

    async def Version(self, request: object, context: object) -> VersionResponse:  # noqa: N802 (the method's name)
        """Handle one call; what it raises of ``holdfast.errors`` becomes the status."""
        return VersionResponse(version=holdfast.__version__, revision=holdfast.__revision__)

    def register_grpc(self, registrar: Registrar) -> None:
        """Offer the service on every gRPC listener."""
        version_pb2_grpc.add_VersionServicer_to_server(self, registrar)

    register_tcp = register_grpc


@plugin(GRPC, "version", services=["containerd.services.version.v1.Version"])
async def version(context: InitContext) -> AsyncIterator[Versions]:
    """Before the ``yield`` a plugin starts, after it it closes; this one has nothing to do at either end."""
    yield Versions()
