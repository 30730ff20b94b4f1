"""containerd's snapshots service over the snapshotters that `proxy_plugins` names; none ships with us.

Each call goes to the snapshotter it names, in the caller's namespace; its response is returned unchanged. Keys are sent
unchanged: the snapshotter, or the containerd it belongs to, keeps namespaces apart. Leases stay here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, TypeVar

from google.protobuf.empty_pb2 import Empty

from holdfast.api.events.snapshot_pb2 import SnapshotCommit, SnapshotPrepare, SnapshotRemove
from holdfast.api.services.snapshots.v1 import snapshots_pb2 as api
from holdfast.api.services.snapshots.v1 import snapshots_pb2_grpc as api_grpc
from holdfast.errors import InvalidArgument
from holdfast.events import Exchange
from holdfast.namespaces import required
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import EVENTS, GRPC, SERVICE, SNAPSHOT

T = TypeVar("T")


class Snapshotter(Protocol):
    """Interface of a plugin of kind ``io.containerd.snapshotter.v1``: the API's methods by name."""

    async def call(self, method: str, request: Any) -> Any:
        """Make one call with one response."""

    def stream(self, method: str, request: Any) -> AsyncIterator[Any]:
        """Make one call with many responses."""


class SnapshotsService:
    """Finds a snapshotter by its name, and publishes events for changes."""

    def __init__(self, snapshotters: Mapping[str, Snapshotter], events: Exchange) -> None:
        self._snapshotters = snapshotters
        self._events = events

    def named(self, name: str) -> Snapshotter:
        """Return the snapshotter that a client names.

        Raises:
            InvalidArgument: it names none, or one that is not loaded.
        """
        required()
        if not name:
            raise InvalidArgument("snapshotter argument missing")
        if name not in self._snapshotters:
            raise InvalidArgument(f"snapshotter not loaded: {name}")
        return self._snapshotters[name]

    async def ask(self, method: str, request: Any, reply: type[T]) -> T:
        """Forward one call that is answered with a ``reply``."""
        answer: T = await self.named(request.snapshotter).call(method, request)
        match request:
            case api.PrepareSnapshotRequest():
                told = SnapshotPrepare(key=request.key, parent=request.parent, snapshotter=request.snapshotter)
                self._events.publish("/snapshot/prepare", told)
            case api.CommitSnapshotRequest():
                commit = SnapshotCommit(key=request.key, name=request.name, snapshotter=request.snapshotter)
                self._events.publish("/snapshot/commit", commit)
            case api.RemoveSnapshotRequest():
                self._events.publish(
                    "/snapshot/remove", SnapshotRemove(key=request.key, snapshotter=request.snapshotter)
                )
        return answer


class SnapshotsServicer(api_grpc.SnapshotsServicer):
    """``containerd.services.snapshots.v1.Snapshots``."""

    def __init__(self, service: SnapshotsService) -> None:
        self._service = service

    def register_grpc(self, registrar: Any) -> None:
        """Register this service."""
        api_grpc.add_SnapshotsServicer_to_server(self, registrar)

    register_tcp = register_grpc

    async def Prepare(self, request: api.PrepareSnapshotRequest, call: Any) -> api.PrepareSnapshotResponse:  # noqa: N802, D102
        return await self._service.ask("Prepare", request, api.PrepareSnapshotResponse)

    async def View(self, request: api.ViewSnapshotRequest, call: Any) -> api.ViewSnapshotResponse:  # noqa: N802, D102
        return await self._service.ask("View", request, api.ViewSnapshotResponse)

    async def Mounts(self, request: api.MountsRequest, call: Any) -> api.MountsResponse:  # noqa: N802, D102
        return await self._service.ask("Mounts", request, api.MountsResponse)

    async def Commit(self, request: api.CommitSnapshotRequest, call: Any) -> Empty:  # noqa: N802, D102
        return await self._service.ask("Commit", request, Empty)

    async def Remove(self, request: api.RemoveSnapshotRequest, call: Any) -> Empty:  # noqa: N802, D102
        return await self._service.ask("Remove", request, Empty)

    async def Stat(self, request: api.StatSnapshotRequest, call: Any) -> api.StatSnapshotResponse:  # noqa: N802, D102
        return await self._service.ask("Stat", request, api.StatSnapshotResponse)

    async def Update(self, request: api.UpdateSnapshotRequest, call: Any) -> api.UpdateSnapshotResponse:  # noqa: N802, D102
        return await self._service.ask("Update", request, api.UpdateSnapshotResponse)

    async def List(self, request: api.ListSnapshotsRequest, call: Any) -> AsyncIterator[api.ListSnapshotsResponse]:  # noqa: N802, D102
        async for answer in self._service.named(request.snapshotter).stream("List", request):
            yield answer

    async def Usage(self, request: api.UsageRequest, call: Any) -> api.UsageResponse:  # noqa: N802, D102
        return await self._service.ask("Usage", request, api.UsageResponse)

    async def Cleanup(self, request: api.CleanupRequest, call: Any) -> Empty:  # noqa: N802, D102
        return await self._service.ask("Cleanup", request, Empty)


@plugin(SERVICE, "snapshots-service", requires=(EVENTS, SNAPSHOT))
async def snapshots_service(context: InitContext) -> AsyncIterator[SnapshotsService]:
    """The service other plugins use."""
    yield SnapshotsService(context.all(SNAPSHOT), context.single(EVENTS))


@plugin(GRPC, "snapshots", requires=(SERVICE,), services=("containerd.services.snapshots.v1.Snapshots",))
async def snapshots(context: InitContext) -> AsyncIterator[SnapshotsServicer]:
    """The service clients use."""
    yield SnapshotsServicer(context.by_id(SERVICE, "snapshots-service"))
