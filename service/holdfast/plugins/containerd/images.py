"""containerd's images service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.empty_pb2 import Empty

from holdfast.api.events.image_pb2 import ImageCreate, ImageDelete, ImageUpdate
from holdfast.api.services.images.v1 import images_pb2 as api
from holdfast.api.services.images.v1 import images_pb2_grpc as api_grpc
from holdfast.errors import InvalidArgument
from holdfast.events import Exchange
from holdfast.namespaces import required
from holdfast.plugin import InitContext, plugin
from holdfast.plugins.kinds import EVENTS, GC, GRPC, METADATA, SERVICE
from holdfast.plugins.message import descriptor, from_descriptor, lease, nanoseconds, paths, timestamp
from holdfast.store import MetadataStore, Scheduler
from holdfast.store.objects.images import Image


class ImagesService:
    """The store; publishes an event for every change; a delete may wait for the collection after it."""

    def __init__(self, metadata: MetadataStore, events: Exchange, scheduler: Scheduler) -> None:
        self.store = metadata.images
        self._events = events
        self._scheduler = scheduler

    async def create(self, image: Image, lease_id: str) -> Image:
        """See `Images.create`."""
        created = await self.store.create(required(), image, lease_id)
        self._events.publish("/images/create", ImageCreate(name=created.name, labels=created.labels))
        return created

    async def update(self, image: Image, mask: Sequence[str]) -> Image:
        """See `Images.update`."""
        updated = await self.store.update(required(), image, mask)
        self._events.publish("/images/update", ImageUpdate(name=updated.name, labels=updated.labels))
        return updated

    async def delete(self, name: str, target: str, lease_id: str, *, wait: bool) -> None:
        """See `Images.delete`."""
        await self.store.delete(required(), name, target, lease_id)
        self._events.publish("/images/delete", ImageDelete(name=name))
        if wait:
            await self._scheduler.collect_and_wait()


class ImagesServicer(api_grpc.ImagesServicer):
    """``containerd.services.images.v1.Images``."""

    def __init__(self, service: ImagesService) -> None:
        self._service = service

    def register_grpc(self, registrar: Any) -> None:
        """Register this service."""
        api_grpc.add_ImagesServicer_to_server(self, registrar)

    register_tcp = register_grpc

    async def Get(self, request: api.GetImageRequest, call: Any) -> api.GetImageResponse:  # noqa: N802, D102
        return api.GetImageResponse(image=_message(await self._service.store.get(required(), request.name)))

    async def List(self, request: api.ListImagesRequest, call: Any) -> api.ListImagesResponse:  # noqa: N802, D102
        found = await self._service.store.matching(required(), request.filters)
        return api.ListImagesResponse(images=map(_message, found))

    async def Create(self, request: api.CreateImageRequest, call: Any) -> api.CreateImageResponse:  # noqa: N802, D102
        if not request.image.name:
            raise InvalidArgument("Image.Name required")
        image = _value(request.image, created_at=nanoseconds(request.source_date_epoch))
        return api.CreateImageResponse(image=_message(await self._service.create(image, lease(call))))

    async def Update(self, request: api.UpdateImageRequest, call: Any) -> api.UpdateImageResponse:  # noqa: N802, D102
        if not request.image.name:
            raise InvalidArgument("Image.Name required")
        image = _value(request.image, updated_at=nanoseconds(request.source_date_epoch))
        updated = await self._service.update(image, paths(request.update_mask))
        return api.UpdateImageResponse(image=_message(updated))

    async def Delete(self, request: api.DeleteImageRequest, call: Any) -> Empty:  # noqa: N802, D102
        await self._service.delete(request.name, request.target.digest, lease(call), wait=request.sync)
        return Empty()


def _message(image: Image) -> api.Image:
    return api.Image(
        name=image.name,
        labels=image.labels,
        target=descriptor(image.target),
        created_at=timestamp(image.created_at),
        updated_at=timestamp(image.updated_at),
    )


def _value(message: api.Image, created_at: int = 0, updated_at: int = 0) -> Image:
    """Return the store's value; a client cannot set the times in ``message``."""
    return Image(message.name, from_descriptor(message.target), dict(message.labels), created_at, updated_at)


@plugin(SERVICE, "images-service", requires=(METADATA, GC, EVENTS))
async def images_service(context: InitContext) -> AsyncIterator[ImagesService]:
    """The service other plugins use."""
    yield ImagesService(context.single(METADATA), context.single(EVENTS), context.single(GC))


@plugin(GRPC, "images", requires=(SERVICE,), services=("containerd.services.images.v1.Images",))
async def images(context: InitContext) -> AsyncIterator[ImagesServicer]:
    """The service clients use."""
    yield ImagesServicer(context.by_id(SERVICE, "images-service"))
