"""The store's faces over gRPC, so that one contract can be put to any daemon that speaks containerd's API."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from holdfast.api.services.containers.v1 import containers_pb2 as containers_api
from holdfast.api.services.containers.v1.containers_pb2_grpc import ContainersStub
from holdfast.api.services.images.v1 import images_pb2 as images_api
from holdfast.api.services.images.v1.images_pb2_grpc import ImagesStub
from holdfast.api.services.leases.v1 import leases_pb2 as leases_api
from holdfast.api.services.leases.v1.leases_pb2_grpc import LeasesStub
from holdfast.api.services.namespaces.v1 import namespace_pb2 as namespaces_api
from holdfast.api.services.namespaces.v1.namespace_pb2_grpc import NamespacesStub
from holdfast.errors import FailedPrecondition, HoldfastError, NotFound
from holdfast.plugins.containerd.containers import _message as container_message
from holdfast.plugins.containerd.containers import _value as container_value
from holdfast.plugins.containerd.images import _message as image_message
from holdfast.plugins.containerd.images import _value as image_value
from holdfast.plugins.message import nanoseconds
from holdfast.plugins.proxy.remote import RemoteContent, their_errors
from holdfast.store.objects.leases import Lease, Resource
from holdfast.store.objects.namespaces import Namespace

from tests.running import PATIENCE_S


def headers(namespace: str):
    return (("containerd-namespace", namespace),)


def untimed(message):
    """As a Go client sends it: times it does not mean are the year 1's first second."""
    for name in ("created_at", "updated_at"):
        getattr(message, name).seconds = -62135596800
    return message


def mask(paths):
    return FieldMask(paths=paths) if paths else None


class Namespaces:
    def __init__(self, channel):
        self._stub = NamespacesStub(channel)

    async def labels(self, name):
        with their_errors():
            answer = await self._stub.Get(namespaces_api.GetNamespaceRequest(name=name), metadata=headers("x"))
        return dict(answer.namespace.labels)

    async def all(self):
        answer = await self._stub.List(namespaces_api.ListNamespacesRequest(), metadata=headers("x"))
        return [Namespace(found.name, dict(found.labels)) for found in answer.namespaces]

    async def create(self, namespace):
        message = namespaces_api.Namespace(name=namespace.name, labels=namespace.labels)
        with their_errors():
            await self._stub.Create(namespaces_api.CreateNamespaceRequest(namespace=message), metadata=headers("x"))

    async def update(self, namespace, paths=()):
        message = namespaces_api.Namespace(name=namespace.name, labels=namespace.labels)
        request = namespaces_api.UpdateNamespaceRequest(namespace=message, update_mask=mask(paths))
        with their_errors():
            await self._stub.Update(request, metadata=headers("x"))

    async def delete(self, name):
        with their_errors():
            await self._stub.Delete(namespaces_api.DeleteNamespaceRequest(name=name), metadata=headers("x"))


class Leases:
    def __init__(self, channel):
        self._stub = LeasesStub(channel)

    async def create(self, namespace, lease_id="", labels=None):
        request = leases_api.CreateRequest(id=lease_id, labels=labels or {})
        with their_errors():
            return self._lease((await self._stub.Create(request, metadata=headers(namespace))).lease)

    async def delete(self, namespace, lease_id, sync=False):
        with their_errors():
            await self._stub.Delete(leases_api.DeleteRequest(id=lease_id, sync=sync), metadata=headers(namespace))

    async def matching(self, namespace, filters=()):
        with their_errors():
            answer = await self._stub.List(leases_api.ListRequest(filters=filters), metadata=headers(namespace))
        return [self._lease(message) for message in answer.leases]

    async def add(self, namespace, lease_id, resource):
        message = leases_api.Resource(id=resource.id, type=resource.type)
        request = leases_api.AddResourceRequest(id=lease_id, resource=message)
        with their_errors():
            await self._stub.AddResource(request, metadata=headers(namespace))

    async def remove(self, namespace, lease_id, resource):
        message = leases_api.Resource(id=resource.id, type=resource.type)
        request = leases_api.DeleteResourceRequest(id=lease_id, resource=message)
        with their_errors():
            await self._stub.DeleteResource(request, metadata=headers(namespace))

    async def resources(self, namespace, lease_id):
        with their_errors():
            request = leases_api.ListResourcesRequest(id=lease_id)
            answer = await self._stub.ListResources(request, metadata=headers(namespace))
        return [Resource(found.type, found.id) for found in answer.resources]

    @staticmethod
    def _lease(message):
        return Lease(message.id, dict(message.labels), nanoseconds(message.created_at))


class Images:
    def __init__(self, channel):
        self._stub = ImagesStub(channel)

    async def get(self, namespace, name):
        with their_errors():
            answer = await self._stub.Get(images_api.GetImageRequest(name=name), metadata=headers(namespace))
        return self._image(answer.image)

    async def matching(self, namespace, filters=()):
        with their_errors():
            answer = await self._stub.List(images_api.ListImagesRequest(filters=filters), metadata=headers(namespace))
        return [self._image(message) for message in answer.images]

    async def create(self, namespace, image):
        request = images_api.CreateImageRequest(image=untimed(image_message(image)))
        with their_errors():
            return self._image((await self._stub.Create(request, metadata=headers(namespace))).image)

    async def update(self, namespace, image, paths=()):
        message = untimed(image_message(image))
        request = images_api.UpdateImageRequest(image=message, update_mask=mask(paths))
        with their_errors():
            return self._image((await self._stub.Update(request, metadata=headers(namespace))).image)

    async def delete(self, namespace, name, target=""):
        request = images_api.DeleteImageRequest(name=name)
        if target:
            request.target.digest = target
        with their_errors():
            await self._stub.Delete(request, metadata=headers(namespace))

    @staticmethod
    def _image(message):
        return image_value(message, nanoseconds(message.created_at), nanoseconds(message.updated_at))


class Containers:
    def __init__(self, channel):
        self._stub = ContainersStub(channel)

    async def get(self, namespace, container_id):
        request = containers_api.GetContainerRequest(id=container_id)
        with their_errors():
            return self._container((await self._stub.Get(request, metadata=headers(namespace))).container)

    async def matching(self, namespace, filters=()):
        request = containers_api.ListContainersRequest(filters=filters)
        with their_errors():
            answer = await self._stub.List(request, metadata=headers(namespace))
            streamed = [found.container async for found in self._stub.ListStream(request, metadata=headers(namespace))]
        assert list(answer.containers) == streamed
        return [self._container(message) for message in answer.containers]

    async def create(self, namespace, container):
        request = containers_api.CreateContainerRequest(container=untimed(container_message(container)))
        with their_errors():
            return self._container((await self._stub.Create(request, metadata=headers(namespace))).container)

    async def update(self, namespace, container, paths=()):
        message = untimed(container_message(container))
        request = containers_api.UpdateContainerRequest(container=message, update_mask=mask(paths))
        with their_errors():
            return self._container((await self._stub.Update(request, metadata=headers(namespace))).container)

    async def delete(self, namespace, container_id):
        with their_errors():
            request = containers_api.DeleteContainerRequest(id=container_id)
            await self._stub.Delete(request, metadata=headers(namespace))

    @staticmethod
    def _container(message):
        from msgspec.structs import replace

        times = {name: nanoseconds(getattr(message, name)) for name in ("created_at", "updated_at")}
        return replace(container_value(message), **times)


class RemoteMetadata:
    wants_a_spec = True

    def __init__(self, channel):
        self.channel = channel
        self.namespaces = Namespaces(channel)
        self.leases = Leases(channel)
        self.images = Images(channel)
        self.containers = Containers(channel)

    def content(self, namespace, lease=""):
        return RemoteContent(self.channel, namespace, lease)

    async def collect(self):
        """Have one collection made: what comes after a lease whose end is waited for."""
        await self.leases.create("collecting", "waited for")
        await self.leases.delete("collecting", "waited for", sync=True)

    async def empty(self):
        """Remove everything, so that the next case begins with nothing."""
        async with asyncio.timeout(PATIENCE_S):
            for namespace in [found.name for found in await self.namespaces.all()]:
                await self._clear(namespace)
                while not await self._is_removed(namespace):  # a writer of the case before may still hold its ref
                    await asyncio.sleep(0.01)
                    await self._clear(namespace)

    async def _clear(self, namespace):
        content = self.content(namespace)
        for container in await self.containers.matching(namespace):
            await self.containers.delete(namespace, container.id)
        for image in await self.images.matching(namespace):
            await self.images.delete(namespace, image.name)
        for lease in await self.leases.matching(namespace):
            with contextlib.suppress(NotFound):  # it expired, and the collector was faster
                await self.leases.delete(namespace, lease.id)
        for status in await content.statuses():
            with contextlib.suppress(HoldfastError):
                await content.abort(status.ref)
        for digest in [info.digest async for page in content.pages() for info in page]:
            with contextlib.suppress(HoldfastError):  # the collector was faster
                await content.delete(digest)

    async def _is_removed(self, namespace):
        try:
            await self.namespaces.delete(namespace)
        except FailedPrecondition:  # it is not empty
            return False
        return True


@contextlib.asynccontextmanager
async def dialled(address):
    async with grpc.aio.insecure_channel(f"unix:{address}") as channel:
        metadata = RemoteMetadata(channel)
        await metadata.empty()
        yield metadata
