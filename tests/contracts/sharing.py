"""Contract of a content store between namespaces and under leases: the rest of containerd's own content suite.

`SharingContract` is the policy ``shared``, `IsolationContract` what holds whatever the policy, `IsolatedContract` the
policy ``isolated``: each wants ``store`` and ``neighbour``, two namespaces of one store. `LeasedContract` wants
``metadata``, and ``within``, which gives a namespace's store by its name and a lease's.
"""

from __future__ import annotations

import time

import pytest
from holdfast.errors import AlreadyExists, FailedPrecondition, NotFound
from holdfast.store.content import ContentStore
from holdfast.store.content.shared import SHAREABLE
from holdfast.store.objects.leases import Resource
from holdfast.store.objects.namespaces import Namespace

from tests.contracts.content import EMPTY, ROOT, digest, get, names, put, some


class SharingContract:
    """The policy ``shared`` between the namespaces of ``store`` and ``neighbour``."""

    async def test_a_neighbour_takes_a_blob_up_by_its_digest(self, store, neighbour):
        await taken_up(store, neighbour)

    async def test_a_neighbour_appends_to_a_copy(self, store, neighbour):
        data, name = some(1000)
        await put(store, data, "ref")
        extra = data + b"appended bytes"
        writer = await neighbour.writer("ref", 1000, name)
        assert writer.status.offset == 1000
        await writer.write(b"appended bytes")
        await writer.commit(len(extra), digest(extra), ROOT)
        await writer.close()
        assert data == await get(store, name)
        assert extra == await get(neighbour, digest(extra))
        with pytest.raises(NotFound):
            await neighbour.info(name)

    async def test_another_digest_at_the_commit_of_a_shared_blob_is_refused(self, store, neighbour):
        data, name = some(1000)
        await put(store, data, "ref")
        for size, expected in ((999, name), (1000, EMPTY)):
            writer = await neighbour.writer("ref", 1000, name)
            with pytest.raises((FailedPrecondition, AlreadyExists)):
                await writer.commit(size, expected)
            await writer.close()
        with pytest.raises(NotFound):
            await neighbour.info(name)


class IsolationContract:
    """Cases between two namespaces, whatever the policy."""

    async def test_a_neighbour_does_not_see_what_it_did_not_write(self, store, neighbour):
        data, name = some(100)
        await put(store, data)
        writer = await store.writer("mine")
        await writer.write(b"1")
        await writer.close()
        with pytest.raises(NotFound):
            await neighbour.info(name)
        with pytest.raises(NotFound):
            await neighbour.reader(name)
        with pytest.raises(NotFound):
            await neighbour.delete(name)
        with pytest.raises(NotFound):
            await neighbour.abort("mine")
        assert (await names(neighbour), await neighbour.statuses()) == ([], [])

    async def test_both_may_write_one_ref_and_one_blob(self, store, neighbour):
        data, name = some(100)
        mine, theirs = await store.writer("ref"), await neighbour.writer("ref")
        await mine.write(data)
        await theirs.write(data)
        await mine.commit(100, name, ROOT)
        await theirs.commit(100, name, ROOT)
        await mine.close()
        await theirs.close()
        await store.delete(name)
        assert data == await get(neighbour, name)


class IsolatedContract:
    """The policy ``isolated``: a digest alone gives nothing, unless the namespace that has the blob is labelled so."""

    async def test_a_digest_alone_gives_nothing(self, store, neighbour):
        data, name = some(1000)
        await put(store, data, "ref")
        before = time.time_ns()
        writer = await neighbour.writer("ref", 1000, name)
        assert writer.status.offset == 0
        assert writer.digest in ("", EMPTY)
        assert before <= writer.status.started_at <= time.time_ns()
        await writer.close()

    async def test_a_namespace_labelled_shareable_gives_its_blobs_to_all(self, metadata, store, neighbour):
        await metadata.namespaces.update(Namespace("one", {SHAREABLE: "true"}), [f"labels.{SHAREABLE}"])
        await taken_up(store, neighbour)

    @pytest.mark.parametrize("value", ["false", "TRUE", "1"])
    async def test_any_other_value_of_the_label_gives_nothing(self, metadata, store, neighbour, value):
        await metadata.namespaces.update(Namespace("one", {SHAREABLE: value}), [f"labels.{SHAREABLE}"])
        await self.test_a_digest_alone_gives_nothing(store, neighbour)


class LeasedContract:
    """A lease holds all content that is written under it, from the ingest to the blob."""

    async def test_a_write_under_a_lease_is_held_by_it(self, metadata, within):
        await metadata.leases.create("ns", "lease-1")
        leased = within("ns", "lease-1")
        writer = await leased.writer("test-1", 0, digest(b"any content"))
        assert [Resource("ingests", "test-1")] == await metadata.leases.resources("ns", "lease-1")
        await writer.write(b"any content")
        await writer.commit()
        await writer.close()
        assert [Resource("content", digest(b"any content"))] == await metadata.leases.resources("ns", "lease-1")

    async def test_what_exists_is_held_by_the_lease_of_who_asked_for_it(self, metadata, within):
        await metadata.leases.create("ns", "lease-1")
        name = await put(within("ns", "lease-1"), b"any content", labels={})
        await metadata.leases.create("ns", "lease-2")
        with pytest.raises(AlreadyExists):
            await within("ns", "lease-2").writer("test-2", 0, name)
        for lease in ("lease-1", "lease-2"):
            assert [Resource("content", name)] == await metadata.leases.resources("ns", lease)

    async def test_an_aborted_ingest_is_let_go_of(self, metadata, within):
        await metadata.leases.create("ns", "lease-1")
        leased = within("ns", "lease-1")
        writer = await leased.writer("test-1", 11, digest(b"any content"))
        assert [Resource("ingests", "test-1")] == await metadata.leases.resources("ns", "lease-1")
        await writer.close()
        await leased.abort("test-1")
        assert await metadata.leases.resources("ns", "lease-1") == []

    async def test_a_lease_that_is_not_there_is_an_error_and_nothing_is_begun(self, metadata, within):
        with pytest.raises(NotFound, match="lease does not exist: not found"):
            await within("ns", "gone").writer("ref")
        assert await within("ns").statuses() == []

    async def test_deleting_lets_go_of_the_callers_lease(self, metadata, within):
        await metadata.leases.create("ns", "lease-1")
        leased = within("ns", "lease-1")
        await leased.delete(await put(leased, b"x"))
        assert await metadata.leases.resources("ns", "lease-1") == []


async def taken_up(store: ContentStore, neighbour: ContentStore) -> None:
    """Another namespace gets a blob of one by its digest, without a byte."""
    data, name = some(1000)
    began = time.time_ns()
    await put(store, data, "ref")
    writer = await neighbour.writer("ref", 1000, name)
    status = writer.status
    assert ("ref", 1000, 1000, name) == (status.ref, status.offset, status.total, writer.digest)
    assert began <= status.started_at <= status.updated_at <= time.time_ns()
    await writer.commit(1000, name, ROOT)
    await writer.close()
    for one in (store, neighbour):
        info = await one.info(name)
        assert (name, 1000) == (info.digest, info.size)
        assert began <= info.created_at <= info.updated_at <= time.time_ns()
        assert data == await get(one, name)
