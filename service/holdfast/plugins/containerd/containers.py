"""containerd's containers service: it keeps the records; tasks belong to another service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.empty_pb2 import Empty

from holdfast.api.events.container_pb2 import ContainerCreate, ContainerDelete, ContainerUpdate
from holdfast.api.services.containers.v1 import containers_pb2 as api
from holdfast.api.services.containers.v1 import containers_pb2_grpc as api_grpc
from holdfast.errors import InvalidArgument
from holdfast.events import Exchange
from holdfast.namespaces import required
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import EVENTS, GRPC, METADATA, SERVICE
from holdfast.plugins.message import any_message, optional_any, paths, timestamp, typed_bytes
from holdfast.store import MetadataStore
from holdfast.store.objects.containers import Container, Runtime


class ContainersService:
    """The store; publishes an event for every change."""

    def __init__(self, metadata: MetadataStore, events: Exchange) -> None:
        self.store = metadata.containers
        self._events = events

    async def create(self, container: Container) -> Container:
        """See `Containers.create`."""
        created = await self.store.create(required(), container)
        runtime = ContainerCreate.Runtime(name=created.runtime.name, options=optional_any(created.runtime.options))
        message = ContainerCreate(id=created.id, image=created.image, runtime=runtime)
        self._events.publish("/containers/create", message)
        return created

    async def update(self, container: Container, mask: Sequence[str]) -> Container:
        """See `Containers.update`."""
        updated = await self.store.update(required(), container, mask)
        message = ContainerUpdate(
            id=updated.id, image=updated.image, labels=updated.labels, snapshot_key=updated.snapshot_key
        )
        self._events.publish("/containers/update", message)
        return updated

    async def delete(self, container_id: str) -> None:
        """See `Containers.delete`."""
        await self.store.delete(required(), container_id)
        self._events.publish("/containers/delete", ContainerDelete(id=container_id))


class ContainersServicer(api_grpc.ContainersServicer):
    """``containerd.services.containers.v1.Containers``."""

    def __init__(self, service: ContainersService) -> None:
        self._service = service

    def register_grpc(self, registrar: Any) -> None:
        """Register this service."""
        api_grpc.add_ContainersServicer_to_server(self, registrar)

    register_tcp = register_grpc

    async def Get(self, request: api.GetContainerRequest, call: Any) -> api.GetContainerResponse:  # noqa: N802, D102
        return api.GetContainerResponse(container=_message(await self._service.store.get(required(), request.id)))

    async def List(self, request: api.ListContainersRequest, call: Any) -> api.ListContainersResponse:  # noqa: N802, D102
        found = await self._service.store.matching(required(), request.filters)
        return api.ListContainersResponse(containers=map(_message, found))

    async def ListStream(  # noqa: N802, D102
        self, request: api.ListContainersRequest, call: Any
    ) -> AsyncIterator[api.ListContainerMessage]:
        for container in await self._service.store.matching(required(), request.filters):
            yield api.ListContainerMessage(container=_message(container))

    async def Create(self, request: api.CreateContainerRequest, call: Any) -> api.CreateContainerResponse:  # noqa: N802, D102
        created = await self._service.create(_value(request.container))
        return api.CreateContainerResponse(container=_message(created))

    async def Update(self, request: api.UpdateContainerRequest, call: Any) -> api.UpdateContainerResponse:  # noqa: N802, D102
        if not request.container.id:
            raise InvalidArgument("Container.ID required")
        updated = await self._service.update(_value(request.container), paths(request.update_mask))
        return api.UpdateContainerResponse(container=_message(updated))

    async def Delete(self, request: api.DeleteContainerRequest, call: Any) -> Empty:  # noqa: N802, D102
        await self._service.delete(request.id)
        return Empty()


def _message(container: Container) -> api.Container:
    message = api.Container(
        id=container.id,
        labels=container.labels,
        image=container.image,
        runtime=api.Container.Runtime(name=container.runtime.name, options=optional_any(container.runtime.options)),
        spec=optional_any(container.spec),
        snapshotter=container.snapshotter,
        snapshot_key=container.snapshot_key,
        created_at=timestamp(container.created_at),
        updated_at=timestamp(container.updated_at),
        sandbox=container.sandbox,
    )
    for key, extension in container.extensions.items():
        message.extensions[key].CopyFrom(any_message(extension))
    return message


def _value(message: api.Container) -> Container:
    runtime = message.runtime
    options = typed_bytes(runtime.options) if runtime.HasField("options") else None
    return Container(
        message.id,
        Runtime(runtime.name, options),
        typed_bytes(message.spec) if message.HasField("spec") else None,
        dict(message.labels),
        message.image,
        message.snapshotter,
        message.snapshot_key,
        {key: typed_bytes(extension) for key, extension in message.extensions.items()},
        message.sandbox,
    )


@plugin(SERVICE, "containers-service", requires=(EVENTS, METADATA))
async def containers_service(context: InitContext) -> AsyncIterator[ContainersService]:
    """The service other plugins use."""
    yield ContainersService(context.single(METADATA), context.single(EVENTS))


@plugin(GRPC, "containers", requires=(SERVICE,), services=("containerd.services.containers.v1.Containers",))
async def containers(context: InitContext) -> AsyncIterator[ContainersServicer]:
    """The service clients use."""
    yield ContainersServicer(context.by_id(SERVICE, "containers-service"))
