"""The glue between the store and the API: events, namespaces, leases, waiting for a collection."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from holdfast import namespaces as calling
from holdfast.api.events import container_pb2, content_pb2, image_pb2, namespace_pb2
from holdfast.api.services.containers.v1 import containers_pb2
from holdfast.api.services.content.v1 import content_pb2 as content_api
from holdfast.api.services.images.v1 import images_pb2
from holdfast.api.services.leases.v1 import leases_pb2
from holdfast.api.services.namespaces.v1 import namespace_pb2 as namespaces_api
from holdfast.api.types.descriptor_pb2 import Descriptor
from holdfast.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from holdfast.events import Exchange
from holdfast.metrics import Registry
from holdfast.plugins import message
from holdfast.plugins.containerd.containers import ContainersService, ContainersServicer
from holdfast.plugins.containerd.content import ContentService, ContentServicer, PlainContentService
from holdfast.plugins.containerd.gc import GcConfig, gc
from holdfast.plugins.containerd.images import ImagesService, ImagesServicer
from holdfast.plugins.containerd.leases import LeasesService, LeasesServicer
from holdfast.plugins.containerd.namespaces import NamespacesService, NamespacesServicer
from holdfast.plugins.kinds import EVENTS, METADATA
from holdfast.store import LocalStore, MetadataStore, Thresholds
from holdfast.store.objects.images import Descriptor as StoredDescriptor
from holdfast.store.objects.images import Image

from tests.contracts.content import EMPTY, digest

GO_ZERO = -62135596800


class Call:
    """A gRPC context with metadata."""

    def __init__(self, **metadata: str) -> None:
        self._metadata = tuple((key.replace("_", "-"), value) for key, value in metadata.items())

    def invocation_metadata(self):
        return self._metadata


class Collections:
    """Stands in for the scheduler: counts the waiting callers."""

    def __init__(self) -> None:
        self.waited = 0

    async def collect_and_wait(self) -> None:
        self.waited += 1


@pytest.fixture
async def local(tmp_path):
    store = LocalStore(tmp_path / "content")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def metadata(tmp_path, local):
    store = MetadataStore(tmp_path / "meta.sqlite", local)
    await store.open()
    yield store
    await store.close()


@contextmanager
def heard(events: Exchange):
    """(namespace, topic, event's bytes) of everything published inside."""
    said: list[tuple[str, str, bytes]] = []
    publish = events.publish

    def listening(topic, event, namespace=None):
        publish(topic, event, namespace)
        said.append((namespace or calling.current(), topic, event.SerializeToString(deterministic=True)))

    events.publish = listening  # type: ignore[method-assign]
    with calling.inside("ns"):
        yield said


def told(namespace: str, topic: str, event) -> tuple[str, str, bytes]:
    return namespace, topic, event.SerializeToString(deterministic=True)


def zero_times(made):
    for name in ("created_at", "updated_at"):
        getattr(made, name).seconds = GO_ZERO
    return made


async def test_namespaces_tell_of_every_change(metadata):
    events = Exchange()
    servicer = NamespacesServicer(NamespacesService(metadata, events))
    with heard(events) as said:
        made = namespaces_api.Namespace(name="made", labels={"a": "1"})
        created = await servicer.Create(namespaces_api.CreateNamespaceRequest(namespace=made), Call())
        assert made == created.namespace
        changed = namespaces_api.Namespace(name="made", labels={"b": "2"})
        request = namespaces_api.UpdateNamespaceRequest(namespace=changed, update_mask=FieldMask(paths=["labels.b"]))
        await servicer.Update(request, Call())
        await servicer.Delete(namespaces_api.DeleteNamespaceRequest(name="made"), Call())
        with pytest.raises(InvalidArgument):
            await servicer.Create(namespaces_api.CreateNamespaceRequest(), Call())
    assert said == [
        told("made", "/namespaces/create", namespace_pb2.NamespaceCreate(name="made", labels={"a": "1"})),
        told("made", "/namespaces/update", namespace_pb2.NamespaceUpdate(name="made", labels={"b": "2"})),
        told("made", "/namespaces/delete", namespace_pb2.NamespaceDelete(name="made")),
    ]


async def test_a_namespace_is_made_by_a_client_that_names_none(metadata):
    events = Exchange()
    servicer = NamespacesServicer(NamespacesService(metadata, events))
    with heard(events) as said, calling.inside(""):
        made = namespaces_api.Namespace(name="made")
        await servicer.Create(namespaces_api.CreateNamespaceRequest(namespace=made), Call())
    assert [(namespace, topic) for namespace, topic, _ in said] == [("made", "/namespaces/create")]


async def test_images_tell_of_every_change_and_a_delete_may_wait(metadata):
    events, collections = Exchange(), Collections()
    servicer = ImagesServicer(ImagesService(metadata, events, collections))
    target = Descriptor(media_type="m", digest=EMPTY, size=1)
    with heard(events) as said:
        made = zero_times(images_pb2.Image(name="i", target=target, labels={"a": "1"}))
        created = (await servicer.Create(images_pb2.CreateImageRequest(image=made), Call())).image
        assert created.created_at.seconds > 0
        made.labels["b"] = "2"
        request = images_pb2.UpdateImageRequest(image=made, update_mask=FieldMask(paths=["labels.b"]))
        updated = (await servicer.Update(request, Call())).image
        assert updated.created_at == created.created_at
        assert updated.updated_at.ToNanoseconds() > created.updated_at.ToNanoseconds()
        await servicer.Delete(images_pb2.DeleteImageRequest(name="i"), Call())
        assert collections.waited == 0
        await servicer.Create(images_pb2.CreateImageRequest(image=made), Call())
        await servicer.Delete(images_pb2.DeleteImageRequest(name="i", sync=True), Call())
        assert collections.waited == 1
    both = {"a": "1", "b": "2"}
    assert said == [
        told("ns", "/images/create", image_pb2.ImageCreate(name="i", labels={"a": "1"})),
        told("ns", "/images/update", image_pb2.ImageUpdate(name="i", labels=both)),
        told("ns", "/images/delete", image_pb2.ImageDelete(name="i")),
        told("ns", "/images/create", image_pb2.ImageCreate(name="i", labels=both)),
        told("ns", "/images/delete", image_pb2.ImageDelete(name="i")),
    ]


async def test_an_image_that_can_be_reproduced_says_when_it_was_made(metadata):
    servicer = ImagesServicer(ImagesService(metadata, Exchange(), Collections()))
    request = images_pb2.CreateImageRequest(
        image=images_pb2.Image(name="i", target=Descriptor(media_type="m", digest=EMPTY, size=1))
    )
    request.source_date_epoch.seconds = 1000
    with calling.inside("ns"):
        created = (await servicer.Create(request, Call())).image
    assert (created.created_at.seconds, created.updated_at.seconds) == (1000, 1000)


async def test_containers_tell_of_every_change(metadata):
    events = Exchange()
    servicer = ContainersServicer(ContainersService(metadata, events))
    with heard(events) as said:
        made = zero_times(containers_pb2.Container(id="c", image="i", labels={"a": "1"}))
        made.runtime.name = "r"
        made.runtime.options.value = b"o"
        made.spec.value = b"s"
        await servicer.Create(containers_pb2.CreateContainerRequest(container=made), Call())
        await servicer.Update(containers_pb2.UpdateContainerRequest(container=made), Call())
        await servicer.Delete(containers_pb2.DeleteContainerRequest(id="c"), Call())
        with pytest.raises(InvalidArgument, match=r"Container\.ID required"):
            await servicer.Update(containers_pb2.UpdateContainerRequest(), Call())
    create = container_pb2.ContainerCreate(id="c", image="i")
    create.runtime.name = "r"
    create.runtime.options.value = b"o"
    assert said == [
        told("ns", "/containers/create", create),
        told("ns", "/containers/update", container_pb2.ContainerUpdate(id="c", image="i", labels={"a": "1"})),
        told("ns", "/containers/delete", container_pb2.ContainerDelete(id="c")),
    ]


async def test_a_lease_waits_for_the_collection_only_when_asked(metadata):
    collections = Collections()
    servicer = LeasesServicer(LeasesService(metadata, collections))
    with calling.inside("ns"):
        for sync in (False, True):
            await servicer.Create(leases_pb2.CreateRequest(id="l"), Call())
            await servicer.Delete(leases_pb2.DeleteRequest(id="l", sync=sync), Call())
            assert collections.waited == int(sync)
    with pytest.raises(FailedPrecondition, match="namespace is required"):
        await servicer.List(leases_pb2.ListRequest(), Call())


async def written(servicer: ContentServicer, data: bytes, call: Call) -> None:
    async def messages():
        yield content_api.WriteContentRequest(ref="r")
        yield content_api.WriteContentRequest(action=content_api.COMMIT, data=data)

    async for _ in servicer.Write(messages(), call):
        pass


async def test_content_tells_of_what_comes_and_goes_and_is_held_by_the_callers_lease(metadata):
    events = Exchange()
    servicer = ContentServicer(ContentService(metadata, events))
    with heard(events) as said:
        await metadata.leases.create("ns", "l")
        await written(servicer, b"one", Call(containerd_lease="l"))
        assert [digest(b"one")] == [held.id for held in await metadata.leases.resources("ns", "l")]
        with pytest.raises(AlreadyExists):
            await written(servicer, b"one", Call())
        await servicer.Delete(content_api.DeleteContentRequest(digest=digest(b"one")), Call(containerd_lease="l"))
        assert await metadata.leases.resources("ns", "l") == []
    assert said == [
        told("ns", "/content/create", content_pb2.ContentCreate(digest=digest(b"one"), size=3)),
        told("ns", "/content/delete", content_pb2.ContentDelete(digest=digest(b"one"))),
    ]


async def test_without_metadata_content_needs_no_namespace(local):
    servicer = ContentServicer(PlainContentService(local, Exchange()))
    await written(servicer, b"one", Call())
    assert (await servicer.Info(content_api.InfoRequest(digest=digest(b"one")), Call())).info.size == 3
    await servicer.Delete(content_api.DeleteContentRequest(digest=digest(b"one")), Call())
    assert [page async for page in servicer.List(content_api.ListContentRequest(), Call())] == []


async def test_a_client_that_goes_lets_go_of_its_ref_and_what_it_wrote_stays(metadata):
    servicer = ContentServicer(ContentService(metadata, Exchange()))
    sent = asyncio.Event()

    async def messages():
        yield content_api.WriteContentRequest(ref="r", action=content_api.WRITE, data=b"half")
        await sent.wait()

    with calling.inside("ns"):
        answers = servicer.Write(messages(), Call())
        assert (await anext(answers)).offset == 4
        await answers.aclose()
        writer = await metadata.content.within("ns").writer("r")
        assert writer.status.offset == 4
        await writer.close()


class Context:
    """The context of the collector's plugin."""

    def __init__(self, metadata: MetadataStore, events: Exchange) -> None:
        self._found = {METADATA: metadata, EVENTS: events}
        self.config = GcConfig()
        self.metrics = Registry()
        self.exports: dict[str, str] = {}
        self.jobs = {}
        self.callbacks = []

    def single(self, kind):
        return self._found[kind]

    def background(self, name, job):
        self.jobs[name] = job

    def on_reload(self, callback):
        self.callbacks.append(callback)


async def test_an_image_that_expired_is_collected_counted_and_told(metadata):
    events = Exchange()
    context = Context(metadata, events)
    old = {"containerd.io/gc.expire": "2020-01-01T00:00:00Z"}
    await metadata.images.create("ns", Image("i", StoredDescriptor("m", EMPTY, 1), old))
    with heard(events) as said:
        async for scheduler in gc.init(context):
            running = asyncio.ensure_future(context.jobs["gc.schedule"]())
            await scheduler.collect_and_wait()
            context.callbacks[0](GcConfig(schedule_delay=0.01))
            running.cancel()
            text = context.metrics.text()
            text = text.decode() if isinstance(text, bytes) else text
    assert [told("ns", "/images/delete", image_pb2.ImageDelete(name="i"))] == said
    assert 'holdfast_gc_removed_total{kind="image"} 1' in text
    assert "holdfast_gc_pause_seconds_count 1" in text
    assert context.exports == {"PauseThreshold": "0.02", "DeletionThreshold": "0", "MutationThreshold": "100"}


def test_the_collectors_defaults_are_containerds():
    assert Thresholds(0.02, 0, 100, 0.0, 0.1) == GcConfig().thresholds()


@pytest.mark.parametrize(("seconds", "nanos", "expected"), [(GO_ZERO, 0, 0), (1, 5, 1_000_000_005), (0, 0, 0)])
def test_gos_zero_time_is_no_time(seconds, nanos, expected):
    given = message.timestamp(1)
    given.seconds, given.nanos = seconds, nanos
    assert expected == message.nanoseconds(given)
    assert (message.timestamp(expected) or given) == given
