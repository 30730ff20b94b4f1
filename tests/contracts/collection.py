"""Contract of every collector, whatever it is a part of: containerd's own cases of a whole collection.

A test module subclasses `CollectionContract` with ``metadata`` (see `metadata`), ``within`` (see `sharing`) and
``collect``, which has one collection made and waits for it. Everything is made under a lease that is deleted before,
so that a daemon's own collections find nothing early.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from holdfast.store.gc.reachability import PREFIX
from holdfast.store.objects.leases import Resource

from tests.contracts.containers import container
from tests.contracts.content import digest, names, put
from tests.contracts.images import MANIFEST, Descriptor, image

REF = f"{PREFIX}ref.content"
BUILDING = "building"


def hours_from_now(hours: int) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def blob(number: int) -> bytes:
    return b"blob %d" % number


def named(number: int) -> str:
    return digest(blob(number))


class Scene:
    """One namespace of ``metadata`` in the making; nothing of it is garbage before `left` asks."""

    def __init__(self, metadata, within, namespace="test"):
        self.metadata, self.within, self.namespace = metadata, within, namespace
        self.content = within(namespace, BUILDING)

    async def begin(self):
        await self.metadata.leases.create(self.namespace, BUILDING)
        return self

    async def blobs(self, *numbers, **labels):
        """Labels: ``ref_0`` for ``containerd.io/gc.ref.content.0``, ``ref__x`` for one with a slash."""
        spelt = {key.replace("ref__", f"{REF}/").replace("ref_", f"{REF}."): value for key, value in labels.items()}
        marks = {key if key.startswith(PREFIX) else f"{PREFIX}{key}": value for key, value in spelt.items()}
        for number in numbers:
            await put(self.content, blob(number), f"put-{number}", marks)

    async def image(self, name, number, **labels):
        target = Descriptor(MANIFEST, named(number), len(blob(number)))
        return await self.metadata.images.create(self.namespace, image(name, target, **labels))

    async def lease(self, name, *numbers, **labels):
        marks = {f"{PREFIX}{key}": value for key, value in labels.items()}
        await self.metadata.leases.create(self.namespace, name, marks)
        for number in numbers:
            await self.metadata.leases.add(self.namespace, name, Resource("content", named(number)))

    async def ingest(self, ref, lease=BUILDING):
        writer = await self.within(self.namespace, lease).writer(ref)
        await writer.write(b"half")
        await writer.close()

    async def left(self, *numbers):
        """Which of the blobs ``numbers`` are there."""
        there = await names(self.content)
        return {number for number in numbers if named(number) in there}

    async def done(self):
        await self.metadata.leases.delete(self.namespace, BUILDING)


class CollectionContract:
    async def test_what_names_roots_and_leases_reach_stays_and_the_rest_goes(self, metadata, within, collect):
        scene = await Scene(metadata, within).begin()
        await scene.blobs(1, 2, 3, 6, 7, 9, 10)
        await scene.blobs(4, root="always")
        await scene.blobs(5, ref_0=named(6))
        await scene.blobs(8, ref_0=named(9))
        await scene.image("image-1", 2)
        await metadata.containers.create("test", container("1", labels={REF: named(7)}))
        await scene.lease("lease-1", 5)
        await scene.lease("lease-2", 8, flat="1")  # what it names, and not what that needs
        await scene.done()
        await collect()
        assert await scene.left(*range(1, 11)) == {2, 4, 5, 6, 7, 8}
        assert [lease.id for lease in await metadata.leases.matching("test")] == ["lease-1", "lease-2"]
        assert [found.name for found in await metadata.images.matching("test")] == ["image-1"]

    async def test_references_have_three_spellings_and_a_fourth_is_none(self, metadata, within, collect):
        scene = await Scene(metadata, within).begin()
        await scene.blobs(1, 2, 3, 4, 5, 6)
        await scene.blobs(10, **{REF: named(1), "root": "1"})
        await scene.blobs(11, ref_a=named(2), ref_b=named(3), root="1")
        await scene.blobs(12, ref__a=named(4), ref__b=named(5), root="1")
        await scene.blobs(13, **{f"{REF}bad": named(6), "root": "1"})
        await scene.done()
        await collect()
        assert await scene.left(1, 2, 3, 4, 5, 6, 10, 11, 12, 13) == {1, 2, 3, 4, 5, 10, 11, 12, 13}

    async def test_circles_hold_nobody_and_a_chain_holds_to_its_end(self, metadata, within, collect):
        scene = await Scene(metadata, within).begin()
        await scene.blobs(1, ref_0=named(2))
        await scene.blobs(2, ref_0=named(1))
        await scene.blobs(3, ref_0=named(4), root="1")
        await scene.blobs(4, ref_0=named(5), ref_1=named(3))
        await scene.blobs(5, ref_0=digest(b"nobody has this"))
        await scene.done()
        await collect()
        assert await scene.left(1, 2, 3, 4, 5) == {3, 4, 5}

    async def test_a_reference_means_its_own_namespace(self, metadata, within, collect):
        scene = await Scene(metadata, within).begin()
        other = await Scene(metadata, within, "other").begin()
        await scene.blobs(1)
        await other.blobs(1)
        await other.blobs(2, ref_0=named(1), root="1")
        await other.done()
        await scene.done()
        await collect()
        assert (await scene.left(1), await other.left(1, 2)) == (set(), {1, 2})

    async def test_a_lease_that_expired_goes_with_all_that_it_held(self, metadata, within, collect):
        scene = await Scene(metadata, within).begin()
        await scene.blobs(1, 2)
        await scene.lease("gone", 1, expire=hours_from_now(-1))
        await scene.lease("kept", 2, expire=hours_from_now(1))
        await scene.ingest("kept", "kept")
        await metadata.leases.add("test", "kept", Resource("ingests", "later"))
        await scene.done()
        await collect()
        assert await scene.left(1, 2) == {2}
        assert [lease.id for lease in await metadata.leases.matching("test")] == ["kept"]
        assert [status.ref for status in await scene.content.statuses()] == ["kept"]

    async def test_an_ingest_goes_with_its_lease_and_stays_without_one(self, metadata, within, collect):
        scene = await Scene(metadata, within).begin()
        await scene.ingest("leased")
        await scene.ingest("free", "")
        await scene.done()
        await collect()
        assert [status.ref for status in await scene.content.statuses()] == ["free"]
        await scene.content.abort("free")


class LaterCollectionContract:
    """Cases of containerd 2, which 1.6 ignores."""

    async def test_an_image_that_expired_goes_unless_something_holds_it(self, metadata, within, collect):
        scene = await Scene(metadata, within).begin()
        await scene.blobs(1, 2, 3, 4)
        await scene.lease("flat", flat="1")
        await scene.lease("free")
        past = {f"{PREFIX}expire": hours_from_now(-1)}
        for lease, name in (("flat", "image-2"), ("free", "image-3"), (BUILDING, "image-1"), (BUILDING, "image-4")):
            await metadata.leases.add("test", lease, Resource("images", name))
        for number in (1, 2, 3):
            await scene.image(f"image-{number}", number, **past)
        await scene.image("image-4", 4, **{f"{PREFIX}expire": hours_from_now(1)})
        await scene.done()
        await collect()
        found = [found.name for found in await metadata.images.matching("test")]
        assert found == ["image-2", "image-3", "image-4"]
        assert await scene.left(1, 2, 3, 4) == {2, 3, 4}

    async def test_a_label_holds_an_image_by_its_name(self, metadata, within, collect):
        scene = await Scene(metadata, within).begin()
        await scene.blobs(1, 2)
        await metadata.leases.add("test", BUILDING, Resource("images", "old"))
        await scene.image("old", 1, **{f"{PREFIX}expire": hours_from_now(-1)})
        await scene.image("new", 2, **{f"{PREFIX}ref.image.anything": "old"})
        await scene.done()
        await collect()
        assert [found.name for found in await metadata.images.matching("test")] == ["new", "old"]
        await metadata.images.delete("test", "new")
        await collect()
        assert await metadata.images.matching("test") == []
        assert await scene.left(1, 2) == set()
