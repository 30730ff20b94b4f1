from __future__ import annotations

import asyncio
import stat

import pytest
from holdfast.errors import FailedPrecondition, InvalidArgument, NotFound
from holdfast.store.content import Swept

from tests.contracts.content import ContentContract, digest, get, put, some
from tests.running import descriptors


class TestLocalStore(ContentContract):
    labelled = False

    @pytest.fixture
    def store(self, local):
        return local


async def test_a_committed_blob_is_a_file_nobody_may_write(local):
    name = await put(local, b"fixed")
    mode = stat.S_IMODE(local.layout.blob(name).stat().st_mode)
    assert mode == 0o444
    assert list(local.layout.ingests.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "sha256", "sha256:", ":x", "sha256:../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 32]
)
async def test_what_is_no_digest_is_no_path(local, name):
    with pytest.raises(InvalidArgument):
        await local.info(name)
    with pytest.raises(InvalidArgument):
        await local.reader(name)
    with pytest.raises(InvalidArgument):
        await local.delete(name)


async def test_a_sweep_leaves_what_is_named_only(local):
    kept, gone = await put(local, b"kept"), await put(local, b"gone")
    for ref in ("kept", "gone"):
        writer = await local.writer(ref)
        await writer.write(b"1")
        await writer.close()
    assert Swept(1, 1) == await local.sweep({kept}, {"kept"})
    assert await get(local, kept) == b"kept"
    assert [status.ref for status in await local.statuses()] == ["kept"]
    with pytest.raises(NotFound):
        await local.info(gone)


async def test_an_ingest_without_a_readable_description_begins_anew_and_is_swept(local):
    writer = await local.writer("torn")
    await writer.write(b"12345")
    await writer.close()
    (local.layout.ingest("torn") / "about.json").write_bytes(b'{"ref": "to')
    assert await local.statuses() == []
    writer = await local.writer("torn")
    assert writer.status.offset == 0
    await writer.close()
    (local.layout.ingest("torn") / "about.json").unlink()
    assert Swept(0, 1) == await local.sweep(set(), set())


async def test_another_total_begins_the_ingest_anew(local):
    writer = await local.writer("ref", 10)
    await writer.write(b"12345")
    await writer.close()
    writer = await local.writer("ref", 11)
    assert (writer.status.offset, writer.status.total) == (0, 11)
    await writer.close()


async def test_an_ingest_aborted_under_its_writer_cannot_be_committed(local):
    writer = await local.writer("ref")
    await writer.write(b"lost")
    await local.abort("ref")
    with pytest.raises(NotFound):
        await writer.commit()
    await writer.close()
    with pytest.raises(NotFound):
        await local.info(digest(b"lost"))


async def test_a_writer_that_is_waited_for_is_had_when_it_is_closed(tmp_path):
    from holdfast.store import LocalStore

    store = LocalStore(tmp_path, patience_s=30)
    await store.open()
    first = await store.writer("ref")
    second = asyncio.ensure_future(store.writer("ref"))
    await asyncio.sleep(0)
    assert not second.done()
    await first.close()
    await (await second).close()
    await store.close()


async def test_a_cancelled_open_lets_go_of_the_ref_and_of_the_file(local):
    data, _ = some(4 << 20)
    writer = await local.writer("ref")
    await writer.write(data)
    await writer.close()
    opening = asyncio.ensure_future(local.writer("ref"))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert descriptors(str(local.layout.root)) == set()
    await (await local.writer("ref")).close()


async def test_a_closed_writer_is_of_no_use(local):
    writer = await local.writer("ref")
    await writer.close()
    await writer.close()
    for use in (writer.write(b"x"), writer.truncate(), writer.commit()):
        with pytest.raises(FailedPrecondition, match="closed"):
            await use


async def test_large_and_small_writes_make_one_digest(local):
    data, name = some(3 << 20)
    writer = await local.writer("ref")
    for start, end in ((0, 1), (1, 1 << 20), (1 << 20, (1 << 20) + 7), ((1 << 20) + 7, 3 << 20)):
        await writer.write(data[start:end])
    assert name == writer.digest
    await writer.commit(0, name)
    await writer.close()
    assert data == await get(local, name)
