"""containerd's leases service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.empty_pb2 import Empty

from holdfast.api.services.leases.v1 import leases_pb2 as api
from holdfast.api.services.leases.v1 import leases_pb2_grpc as api_grpc
from holdfast.namespaces import required
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import GC, GRPC, METADATA, SERVICE
from holdfast.plugins.message import timestamp
from holdfast.store import MetadataStore, Scheduler
from holdfast.store.objects.leases import Lease, Resource


class LeasesService:
    """The store; a delete may wait for the collection after it."""

    def __init__(self, metadata: MetadataStore, scheduler: Scheduler) -> None:
        self.store = metadata.leases
        self._scheduler = scheduler

    async def delete(self, lease_id: str, *, wait: bool) -> None:
        """See `Leases.delete`."""
        await self.store.delete(required(), lease_id)
        if wait:
            await self._scheduler.collect_and_wait()


class LeasesServicer(api_grpc.LeasesServicer):
    """``containerd.services.leases.v1.Leases``."""

    def __init__(self, service: LeasesService) -> None:
        self._service = service
        self._store = service.store

    def register_grpc(self, registrar: Any) -> None:
        """Register this service."""
        api_grpc.add_LeasesServicer_to_server(self, registrar)

    register_tcp = register_grpc

    async def Create(self, request: api.CreateRequest, call: Any) -> api.CreateResponse:  # noqa: N802, D102
        lease = await self._store.create(required(), request.id, dict(request.labels))
        return api.CreateResponse(lease=_message(lease))

    async def Delete(self, request: api.DeleteRequest, call: Any) -> Empty:  # noqa: N802, D102
        await self._service.delete(request.id, wait=request.sync)
        return Empty()

    async def List(self, request: api.ListRequest, call: Any) -> api.ListResponse:  # noqa: N802, D102
        found = await self._store.matching(required(), request.filters)
        return api.ListResponse(leases=map(_message, found))

    async def AddResource(self, request: api.AddResourceRequest, call: Any) -> Empty:  # noqa: N802, D102
        await self._store.add(required(), request.id, Resource(request.resource.type, request.resource.id))
        return Empty()

    async def DeleteResource(self, request: api.DeleteResourceRequest, call: Any) -> Empty:  # noqa: N802, D102
        await self._store.remove(required(), request.id, Resource(request.resource.type, request.resource.id))
        return Empty()

    async def ListResources(self, request: api.ListResourcesRequest, call: Any) -> api.ListResourcesResponse:  # noqa: N802, D102
        held = await self._store.resources(required(), request.id)
        return api.ListResourcesResponse(resources=[api.Resource(id=item.id, type=item.type) for item in held])


def _message(lease: Lease) -> api.Lease:
    return api.Lease(id=lease.id, labels=lease.labels, created_at=timestamp(lease.created_at))


@plugin(SERVICE, "leases-service", requires=(METADATA, GC))
async def leases_service(context: InitContext) -> AsyncIterator[LeasesService]:
    """The service other plugins use."""
    yield LeasesService(context.single(METADATA), context.single(GC))


@plugin(GRPC, "leases", requires=(SERVICE,), services=("containerd.services.leases.v1.Leases",))
async def leases(context: InitContext) -> AsyncIterator[LeasesServicer]:
    """The service clients use."""
    yield LeasesServicer(context.by_id(SERVICE, "leases-service"))
