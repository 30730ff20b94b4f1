"""grpc.health.v1 from the serving board: a name for each service, and ``""`` for the daemon.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md. Not wrapped in the layer: a kubelet calls every few
seconds, the calls need no graph, and a drain must not refuse the question whether the daemon drains.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2 as pb

from holdfast.metrics import Counter
from holdfast.plugin import InitContext, plugin
from holdfast.plugin.serving import ServingBoard
from holdfast.plugins.kinds import GRPC

SERVICE = "grpc.health.v1.Health"
WATCHES_AT_MOST = 1024  # on all listeners; the gate, which bounds other calls, does not see these
_STATUS = pb.HealthCheckResponse.ServingStatus


class Health:
    """Check, Watch and List over one board."""

    def __init__(self, board: ServingBoard) -> None:
        self._board = board
        self._watchers: set[asyncio.Event] = set()
        self.refused = Counter("holdfast_health_watches_refused_total", "Health watches beyond the bound, refused.")
        board.watch(self._changed)

    async def Check(self, request: pb.HealthCheckRequest, context: Any) -> pb.HealthCheckResponse:  # noqa: N802
        """Return the status of one name; NOT_FOUND if no service has this name."""
        if self._board.serves(request.service) is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return self._answer(request.service)

    async def Watch(  # noqa: N802
        self, request: pb.HealthCheckRequest, context: Any
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        """Send the status now and at each change, until the drain; SERVICE_UNKNOWN while no service has this name."""
        if len(self._watchers) >= WATCHES_AT_MOST:
            self.refused.inc()
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{WATCHES_AT_MOST} clients watch already")
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            last = None
            while True:
                draining = self._board.draining  # as it was when the status was read: the send below takes time
                answer = self._answer(request.service)
                if answer.status != last:
                    yield answer
                    last = answer.status
                if draining:
                    return
                await changed.wait()
                changed.clear()
        finally:
            self._watchers.discard(changed)

    async def List(self, request: pb.HealthListRequest, context: Any) -> pb.HealthListResponse:  # noqa: N802
        """Return the status of every name."""
        return pb.HealthListResponse(statuses={name: self._answer(name) for name in self._board.names()})

    def register_grpc(self, registrar: Any) -> None:
        """Register this service, unwrapped."""
        answer = pb.HealthCheckResponse.SerializeToString
        asked = pb.HealthCheckRequest.FromString
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(self.Check, asked, answer),
            "Watch": grpc.unary_stream_rpc_method_handler(self.Watch, asked, answer),
        }
        if hasattr(pb, "HealthListRequest"):  # grpcio-health-checking 1.85; the oldest supported has no List
            listed = pb.HealthListResponse.SerializeToString
            methods["List"] = grpc.unary_unary_rpc_method_handler(self.List, pb.HealthListRequest.FromString, listed)
        registrar.add_methods(SERVICE, {f"/{SERVICE}/{name}": made for name, made in methods.items()}, wrapped=False)

    register_tcp = register_grpc

    def _answer(self, name: str) -> pb.HealthCheckResponse:
        serving = self._board.serves(name)
        status = _STATUS.SERVICE_UNKNOWN if serving is None else _STATUS.SERVING if serving else _STATUS.NOT_SERVING
        return pb.HealthCheckResponse(status=status)

    def _changed(self, name: str, serving: bool) -> None:
        for watcher in self._watchers:
            watcher.set()


@plugin(GRPC, "healthcheck", services=[SERVICE])
async def healthcheck(context: InitContext) -> AsyncIterator[Health]:
    """Serve health from the daemon's own board."""
    health = Health(context.serving)
    context.metrics.add(health.refused)
    yield health
    context.metrics.remove(health.refused)
