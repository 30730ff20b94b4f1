from __future__ import annotations

import pytest
from holdfast.errors import NotFound
from holdfast.store.gc.reachability import ObjectKind
from holdfast.store.objects.images import Descriptor, Image
from holdfast.store.objects.leases import Resource

from tests.contracts.collection import CollectionContract, LaterCollectionContract
from tests.contracts.content import digest, get, names, put
from tests.contracts.images import LaterImagesContract
from tests.contracts.metadata import MetadataContract, image

DAY_S = 24 * 3600
REF = "containerd.io/gc.ref.content.0"


class TestMetadata(MetadataContract, LaterImagesContract):
    @pytest.fixture
    def metadata(self, timed):
        return timed


class TestCollection(CollectionContract, LaterCollectionContract):
    @pytest.fixture
    def metadata(self, timed):
        return timed

    @pytest.fixture
    def within(self, timed):
        return timed.content.within

    @pytest.fixture
    def collect(self, timed):
        return timed.collect


async def test_what_an_image_needs_is_kept_and_the_rest_is_removed_from_the_disk_too(metadata, local):
    store = metadata.content.within("ns")
    layer = await put(store, b"layer", labels={})
    manifest = await put(store, b"manifest", labels={REF: layer})
    await put(store, b"alone", labels={})
    await metadata.images.create("ns", Image("i", Descriptor("m", manifest, 8)))
    collected = await metadata.collect()
    assert [digest(b"alone")] == [node.key for node in collected.removed[ObjectKind.CONTENT]]
    assert sorted((layer, manifest)) == await names(store) == await names(local)
    await metadata.images.delete("ns", "i")
    await metadata.collect()
    assert [] == await names(store) == await names(local)


async def test_a_lease_keeps_what_is_written_under_it_until_it_expires(metadata, clock):
    from datetime import UTC, datetime

    expires = datetime.fromtimestamp(clock.now // 1_000_000_000 + 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    await metadata.leases.create("ns", "l1", {"containerd.io/gc.expire": expires})
    leased = metadata.content.within("ns", "l1")
    name = await put(leased, b"leased", labels={})
    writer = await leased.writer("half")
    await writer.write(b"half")
    await writer.close()
    await metadata.collect()
    assert await get(leased, name) == b"leased"
    clock.advance(61)
    collected = await metadata.collect()
    assert tuple(map(collected.count, (ObjectKind.LEASE, ObjectKind.CONTENT, ObjectKind.INGEST))) == (1, 1, 1)
    assert [] == await metadata.leases.matching("ns") == await leased.statuses()


async def test_an_ingest_without_a_lease_is_stale_after_a_day(metadata, local, clock):
    store = metadata.content.within("ns")
    writer = await store.writer("ref")
    await writer.write(b"half")
    await writer.close()
    clock.advance(DAY_S - 1)
    await metadata.collect()
    assert [status.ref for status in await store.statuses()] == ["ref"]
    clock.advance(2)
    await metadata.collect()
    assert [] == await store.statuses() == await local.statuses()


async def test_an_image_that_expired_goes_with_its_content(metadata, clock):
    store = metadata.content.within("ns")
    name = await put(store, b"x", labels={})
    made = Image("i", Descriptor("m", name, 1), {"containerd.io/gc.expire": "2020-01-01T00:00:00Z"})
    await metadata.images.create("ns", made)
    collected = await metadata.collect()
    assert (collected.count(ObjectKind.IMAGE), collected.count(ObjectKind.CONTENT)) == (1, 1)
    with pytest.raises(NotFound):
        await metadata.images.get("ns", "i")


async def test_an_image_that_can_expire_is_held_by_the_lease_it_is_made_under(metadata):
    await metadata.leases.create("ns", "l1")
    old = {"containerd.io/gc.expire": "2020-01-01T00:00:00Z"}
    await metadata.images.create("ns", Image("i", image("i").target, old), "l1")
    await metadata.images.create("ns", image("stays"), "l1")
    assert [Resource("images", "i")] == await metadata.leases.resources("ns", "l1")
    assert (await metadata.collect()).count(ObjectKind.IMAGE) == 0
    await metadata.leases.delete("ns", "l1")
    assert [node.key for node in (await metadata.collect()).removed[ObjectKind.IMAGE]] == ["i"]


async def test_a_blob_two_namespaces_have_stays_on_disk_for_the_other(metadata, local):
    one, two = metadata.content.within("one"), metadata.content.within("two")
    name = await put(one, b"both", labels={})
    await put(two, b"both")
    await metadata.collect()
    assert ([], [name], [name]) == (await names(one), await names(two), await names(local))


async def test_what_a_lease_names_in_another_namespace_is_not_kept(metadata):
    name = await put(metadata.content.within("one"), b"x", labels={})
    await metadata.leases.create("two", "l1")
    await metadata.leases.add("two", "l1", Resource("content", name))
    assert (await metadata.collect()).count(ObjectKind.CONTENT) == 1


async def test_the_first_collection_removes_what_a_crash_left(metadata, local):
    left = await put(local, b"committed below, never shown")
    writer = await local.writer("of nobody")
    await writer.close()
    await metadata.collect()
    assert [] == await names(local) == await local.statuses()
    with pytest.raises(NotFound):
        await local.info(left)


async def test_without_removals_the_disk_is_not_looked_at_again(metadata, local):
    await metadata.collect()
    left = await put(local, b"left")
    await metadata.collect()
    assert [left] == await names(local)
    await metadata.images.create("ns", image("i"))
    await metadata.images.delete("ns", "i")
    await metadata.collect()
    assert await names(local) == []


async def test_a_watcher_hears_of_changes_not_of_collections(metadata):
    heard: list[bool] = []
    metadata.database.watch(heard.append)
    await metadata.images.create("ns", image("i"))
    assert heard == [False]
    await metadata.images.delete("ns", "i")
    await metadata.images.create("ns", image("i"))
    assert heard == [False, True, True]
    await metadata.collect()
    await metadata.images.create("ns", image("j"))
    assert heard == [False, True, True, False]
