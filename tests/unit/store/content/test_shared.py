from __future__ import annotations

import pytest
from holdfast.errors import NotFound
from holdfast.store.content import Swept

from tests.contracts.content import EMPTY, ContentContract, digest, get, names, put
from tests.contracts.sharing import IsolatedContract, IsolationContract, LeasedContract, SharingContract


class TestNamespaces(ContentContract, SharingContract, IsolationContract):
    @pytest.fixture
    def store(self, timed):
        return timed.content.within("one")

    @pytest.fixture
    def neighbour(self, timed):
        return timed.content.within("two")


class TestIsolated(ContentContract, IsolationContract, IsolatedContract):
    @pytest.fixture
    def metadata(self, isolated):
        return isolated

    @pytest.fixture
    def store(self, isolated):
        return isolated.content.within("one")

    @pytest.fixture
    def neighbour(self, isolated):
        return isolated.content.within("two")


class TestLeased(LeasedContract):
    @pytest.fixture
    def within(self, metadata):
        return metadata.content.within


async def test_beginning_under_a_lease_that_is_gone_makes_no_namespace(metadata):
    with pytest.raises(NotFound):
        await metadata.content.within("ns", "gone").writer("ref")
    assert await metadata.namespaces.all() == []


async def test_a_shared_ingest_keeps_its_blob_when_the_other_namespace_lets_go(metadata):
    one, two = metadata.content.within("one"), metadata.content.within("two")
    name = await put(one, b"moving")
    writer = await two.writer("ref", 6, name)
    await one.delete(name)
    assert Swept() == await metadata.content.sweep()
    await writer.commit()
    await writer.close()
    assert await get(two, name) == b"moving"


async def test_an_ingest_that_was_shared_is_not_listed_and_can_be_aborted(metadata):
    one, two = metadata.content.within("one"), metadata.content.within("two")
    writer = await two.writer("ref", 6, await put(one, b"shared"))
    await writer.close()
    assert await two.statuses() == []
    await two.abort("ref")
    with pytest.raises(NotFound):
        await two.status("ref")


async def test_another_size_than_the_blobs_is_not_shared(metadata):
    name = await put(metadata.content.within("one"), b"12345")
    writer = await metadata.content.within("two").writer("ref", 6, name)
    assert (writer.status.offset, writer.digest) == (0, EMPTY)
    await writer.close()


async def test_a_shared_writer_can_begin_anew(metadata):
    name = await put(metadata.content.within("one"), b"first")
    two = metadata.content.within("two")
    writer = await two.writer("ref", 5, name)
    await writer.truncate()
    assert (writer.status.offset, writer.digest) == (0, EMPTY)
    await writer.write(b"other")
    await writer.commit(5, digest(b"other"))
    await writer.close()
    assert [digest(b"other")] == await names(two)


async def test_a_ref_that_comes_again_does_not_find_what_an_aborted_one_left(metadata, local):
    store = metadata.content.within("ns")
    writer = await store.writer("ref")
    await writer.write(b"left")
    await writer.close()
    [left] = await local.statuses()
    await store.abort("ref")
    again = await local.writer(left.ref)  # as if the abort had been cut short below
    await again.write(b"left")
    await again.close()
    writer = await store.writer("ref")
    assert writer.status.offset == 0
    await writer.close()


async def test_more_blobs_than_a_page_are_all_listed(metadata):
    rows = [("ns", f"sha256:{number:064x}", None, 1, 1, 1) for number in range(2345)]
    await metadata.database.write(lambda tx: tx.executemany("INSERT INTO blobs VALUES (?, ?, ?, ?, ?, ?)", rows))
    listed = await names(metadata.content.within("ns"))
    assert [row[1] for row in rows] == listed
