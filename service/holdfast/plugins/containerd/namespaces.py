"""containerd's namespaces service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.empty_pb2 import Empty

from holdfast.api.events.namespace_pb2 import NamespaceCreate, NamespaceDelete, NamespaceUpdate
from holdfast.api.services.namespaces.v1 import namespace_pb2 as api
from holdfast.api.services.namespaces.v1 import namespace_pb2_grpc as api_grpc
from holdfast.events import Exchange
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import EVENTS, GRPC, METADATA, SERVICE
from holdfast.plugins.message import paths
from holdfast.store import MetadataStore
from holdfast.store.objects.namespaces import Namespace


class NamespacesService:
    """The store; publishes an event for every change, in the namespace that is changed, as containerd 2.3 does."""

    def __init__(self, metadata: MetadataStore, events: Exchange) -> None:
        self.store = metadata.namespaces
        self._events = events

    async def create(self, namespace: Namespace) -> None:
        """See `Namespaces.create`."""
        await self.store.create(namespace)
        message = NamespaceCreate(name=namespace.name, labels=namespace.labels)
        self._events.publish("/namespaces/create", message, namespace.name)

    async def update(self, namespace: Namespace, mask: Sequence[str]) -> None:
        """See `Namespaces.update`."""
        await self.store.update(namespace, mask)
        message = NamespaceUpdate(name=namespace.name, labels=namespace.labels)
        self._events.publish("/namespaces/update", message, namespace.name)

    async def delete(self, name: str) -> None:
        """See `Namespaces.delete`."""
        await self.store.delete(name)
        self._events.publish("/namespaces/delete", NamespaceDelete(name=name), name)


class NamespacesServicer(api_grpc.NamespacesServicer):
    """``containerd.services.namespaces.v1.Namespaces``."""

    def __init__(self, service: NamespacesService) -> None:
        self._service = service

    def register_grpc(self, registrar: Any) -> None:
        """Register this service."""
        api_grpc.add_NamespacesServicer_to_server(self, registrar)

    register_tcp = register_grpc

    async def Get(self, request: api.GetNamespaceRequest, call: Any) -> api.GetNamespaceResponse:  # noqa: N802, D102
        labels = await self._service.store.labels(request.name)
        return api.GetNamespaceResponse(namespace=api.Namespace(name=request.name, labels=labels))

    async def List(self, request: api.ListNamespacesRequest, call: Any) -> api.ListNamespacesResponse:  # noqa: N802, D102
        found = await self._service.store.all()
        return api.ListNamespacesResponse(
            namespaces=[api.Namespace(name=namespace.name, labels=namespace.labels) for namespace in found]
        )

    async def Create(self, request: api.CreateNamespaceRequest, call: Any) -> api.CreateNamespaceResponse:  # noqa: N802, D102
        await self._service.create(_value(request.namespace))
        return api.CreateNamespaceResponse(namespace=request.namespace)

    async def Update(self, request: api.UpdateNamespaceRequest, call: Any) -> api.UpdateNamespaceResponse:  # noqa: N802, D102
        await self._service.update(_value(request.namespace), paths(request.update_mask))
        return api.UpdateNamespaceResponse()  # empty, as containerd's

    async def Delete(self, request: api.DeleteNamespaceRequest, call: Any) -> Empty:  # noqa: N802, D102
        await self._service.delete(request.name)
        return Empty()


def _value(message: api.Namespace) -> Namespace:
    return Namespace(message.name, dict(message.labels))


@plugin(SERVICE, "namespaces-service", requires=(EVENTS, METADATA))
async def namespaces_service(context: InitContext) -> AsyncIterator[NamespacesService]:
    """The service other plugins use."""
    yield NamespacesService(context.single(METADATA), context.single(EVENTS))


@plugin(GRPC, "namespaces", requires=(SERVICE,), services=("containerd.services.namespaces.v1.Namespaces",))
async def namespaces(context: InitContext) -> AsyncIterator[NamespacesServicer]:
    """The service clients use."""
    yield NamespacesServicer(context.by_id(SERVICE, "namespaces-service"))
