"""The behaviour of every content store: the cases of containerd's own suite and some it does not have.

A test module subclasses `ContentContract` with a ``store`` fixture. What is between namespaces and under leases stands
in `sharing`; ``docs/store.md`` says which case of containerd's suite is which test here.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import time

import pytest
from holdfast.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from holdfast.store.content import ContentStore, Info

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ROOT = {"containerd.io/gc.root": "2026-01-01T00:00:00Z"}
#: The clock of files' times, by its number in Linux's time.h: it goes on at a tick, which a busy machine may delay.
CLOCK_REALTIME_COARSE = 5
_seeds = itertools.count(1)


def some(size: int) -> tuple[bytes, str]:
    """Bytes that no test has written yet, and their digest."""
    data = random.Random(next(_seeds)).randbytes(size)
    return data, digest(data)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def put(store: ContentStore, data: bytes, ref: str = "put", labels: dict[str, str] | None = None) -> str:
    writer = await store.writer(ref, len(data), digest(data))
    try:
        await writer.write(data[writer.status.offset :])  # a blob may be taken up whole
        await writer.commit(len(data), digest(data), ROOT if labels is None else labels)
    finally:
        await writer.close()
    return digest(data)


async def get(store: ContentStore, name: str, frame: int = 1 << 20) -> bytes:
    reader = await store.reader(name)
    try:
        data = b""
        while chunk := await reader.read(len(data), frame):
            data += chunk
        assert len(data) == reader.size
        return data
    finally:
        reader.close()


async def names(store: ContentStore, *filters: str) -> list[str]:
    return [info.digest async for page in store.pages(filters) for info in page]


class ContentContract:
    labelled = True
    keeps_open = True

    @pytest.mark.parametrize(("total", "named"), [(False, False), (True, False), (False, True), (True, True)])
    async def test_a_blob_is_what_was_written_whatever_was_announced(self, store, total, named):
        data, name = some(256)
        writer = await store.writer("c1", len(data) if total else 0, name if named else "")
        before = time.time_ns()
        for start in range(0, 256, 32):
            await writer.write(data[start : start + 32])
        await writer.commit(0, "", ROOT)
        assert name == writer.digest
        await writer.close()
        info = await store.info(name)
        assert (name, 256) == (info.digest, info.size)
        assert before <= info.created_at <= info.updated_at <= time.time_ns()
        assert (ROOT if self.labelled else {}) == info.labels
        assert data == await get(store, name)

    async def test_a_blob_of_many_frames_is_what_was_written(self, store):
        data, name = some(32 << 20)
        writer = await store.writer("large", len(data), name)
        for start in range(0, len(data), 1 << 20):
            await writer.write(data[start : start + (1 << 20)])
        await writer.commit(0, "", ROOT)
        await writer.close()
        assert (await store.info(name)).size == 32 << 20
        assert data == await get(store, name)

    async def test_an_ingest_is_seen_before_its_first_byte(self, store):
        writer = await store.writer("myref")
        await writer.close()
        writer = await store.writer("myref")
        assert [(one.ref, one.offset, one.total) for one in await store.statuses()] == [("myref", 0, 0)]
        await writer.write(b"seen")
        await writer.commit(0, "", ROOT)
        await writer.close()
        assert await store.statuses() == []

    async def test_a_status_follows_every_write(self, store):
        data, name = some(256)
        before = time.time_ns()
        writer = await store.writer("c1", 256, name)
        assert (writer.status.ref, writer.status.offset, writer.status.total) == ("c1", 0, 256)
        assert writer.digest in ("", EMPTY)  # of nothing; some say nothing of it
        for start, end in ((0, 64), (64, 192), (192, 256)):
            began, for_files = time.time_ns(), time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
            await writer.write(data[start:end])
            assert (end, digest(data[:end])) == (writer.status.offset, writer.digest)
            found = await store.status("c1")
            assert (found.ref, found.offset, found.total) == ("c1", end, 256)
            assert before <= found.started_at <= began
            assert for_files <= found.updated_at <= time.time_ns()
        committing = time.time_ns()
        await writer.commit(0, "", ROOT)
        await writer.close()
        info = await store.info(name)
        assert (name, 256) == (info.digest, info.size)
        assert committing <= info.created_at <= info.updated_at <= time.time_ns()

    async def test_a_closed_ingest_goes_on_where_it_was(self, store):
        data, name = some(256)
        started = time.time_ns()
        first = await store.writer("cb", 256, name)
        await first.write(data[:128])
        assert (128, digest(data[:128])) == (first.status.offset, first.digest)
        await first.close()
        closed = time.time_ns()
        status = await store.status("cb")
        assert (status.ref, status.offset, status.total) == ("cb", 128, 256)
        assert started <= status.started_at <= status.updated_at <= closed
        second = await store.writer("cb", 256, name)
        assert (128, digest(data[:128])) == (second.status.offset, second.digest)
        await second.write(data[128:])
        await second.commit(256, name, ROOT)
        await second.close()
        assert data == await get(store, name)
        with pytest.raises(NotFound):
            await store.status("cb")

    @pytest.mark.parametrize("size", [500, 5000, 50000])
    @pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 1.0])
    @pytest.mark.parametrize("anew", [False, True])
    async def test_a_part_is_completed_or_begun_anew(self, store, size, part, anew):
        data, name = some(size)
        limit = int(size * part)
        writer = await store.writer("resumed", size, name)
        await writer.write(data[:limit])
        await writer.close()
        writer = await store.writer("resumed", size, name)
        assert limit == writer.status.offset
        if anew:
            await writer.truncate()
            assert (writer.status.offset, writer.digest) == (0, EMPTY)
        for start in range(writer.status.offset, size, 1024):
            await writer.write(data[start : start + 1024])
        await writer.commit(size, name, ROOT)
        await writer.close()
        assert data == await get(store, name)

    async def test_what_was_written_by_mistake_is_written_over(self, store):
        data = b"this is the content"
        writer = await store.writer("ref", len(data))
        await writer.write(b"bad data")
        await writer.close()
        writer = await store.writer("ref", len(data))
        await writer.truncate()
        await writer.write(data)
        await writer.commit(len(data), digest(data), ROOT)
        await writer.close()
        assert data == await get(store, digest(data))

    @pytest.mark.parametrize("named", [True, False])
    async def test_what_exists_is_not_committed_again_and_its_ref_is_free(self, store, named):
        data, name = some(256)
        await put(store, data)
        for _ in range(2):
            writer = await store.writer("again")
            await writer.write(data)
            with pytest.raises(AlreadyExists):
                await writer.commit(len(data), name if named else "")
            await writer.close()
        with pytest.raises(NotFound):
            await store.status("again")

    async def test_a_writer_of_what_exists_is_told_so_at_once(self, store):
        data, name = some(64)
        await put(store, data)
        with pytest.raises(AlreadyExists):
            await store.writer("late", 64, name)
        assert await store.statuses() == []

    async def test_one_writer_holds_a_ref(self, store):
        writer = await store.writer("held")
        with pytest.raises(Unavailable, match="locked"):
            await store.writer("held")
        await writer.close()
        again = await store.writer("held")
        await again.close()

    async def test_a_failed_commit_keeps_what_was_written(self, store):
        data, name = some(260)
        _, other = some(256)
        for size, expected, complaint in ((260, other, "unexpected commit digest"), (256, "", "size")):
            writer = await store.writer("wrong")
            if writer.status.offset == 0:
                await writer.write(data)
            with pytest.raises(FailedPrecondition, match=complaint):
                await writer.commit(size, expected)
            await writer.close()
            assert (await store.status("wrong")).offset == 260
        writer = await store.writer("wrong")
        await writer.commit(260, "", ROOT)
        await writer.close()
        assert data == await get(store, name)

    async def test_a_ref_is_held_from_its_open_to_its_close_whatever_its_commit_says(self, store):
        """One ref through every way a commit ends: the same ref is free after each, and never while it is open."""
        data, name = some(256)
        _, other = some(256)
        more = data + b"more"
        await put(store, data)
        for written, size, expected, error in (
            (data, 256, name, AlreadyExists),
            (data, 256, "", AlreadyExists),
            (more, 260, other, FailedPrecondition),
            (b"", 256, "", FailedPrecondition),  # goes on with what the failure before kept
            (b"", 260, "", None),
            (data, 256, name, AlreadyExists),
            (b"", 0, "", None),
        ):
            writer = await store.writer("c1-state")
            with pytest.raises(Unavailable, match="locked for"):
                await store.writer("c1-state")
            if written:
                await writer.write(written)
            if error:
                with pytest.raises(error):
                    await writer.commit(size, expected, ROOT)
            else:
                await writer.commit(size, expected, ROOT)
            await writer.close()
        assert more == await get(store, digest(more))
        assert await get(store, EMPTY) == b""

    async def test_a_read_may_ask_for_more_than_there_is(self, store):
        name = await put(store, b"foobar")
        reader = await store.reader(name)
        assert await reader.read(0, 7) == b"foobar"
        assert await reader.read(3, 100) == b"bar"
        assert await reader.read(6, 1) == b""
        reader.close()

    async def test_an_empty_blob_is_a_blob(self, store):
        writer = await store.writer("empty")
        await writer.commit(0, EMPTY, ROOT)
        await writer.close()
        assert ((await store.info(EMPTY)).digest, (await store.info(EMPTY)).size) == (EMPTY, 0)
        assert await get(store, EMPTY) == b""

    async def test_what_is_not_there_is_not_found(self, store):
        _, name = some(1)
        with pytest.raises(NotFound):
            await store.info(name)
        with pytest.raises(NotFound):
            await store.reader(name)
        with pytest.raises(NotFound):
            await store.delete(name)
        with pytest.raises(NotFound):
            await store.status("nobody")
        with pytest.raises(NotFound):
            await store.abort("nobody")

    async def test_a_ref_has_a_name(self, store):
        with pytest.raises(InvalidArgument):
            await store.writer("")

    @pytest.mark.parametrize("ref", ["a/b/../c", "with space", "/", ".", "ü" * 100, "x" * 5000, "new\nline"])
    async def test_a_ref_may_be_any_text(self, store, ref):
        writer = await store.writer(ref)
        await writer.write(b"1")
        await writer.close()
        assert [ref] == [status.ref for status in await store.statuses()]
        await store.abort(ref)
        assert await store.statuses() == []

    async def test_an_aborted_ingest_is_gone_and_its_ref_begins_anew(self, store):
        writer = await store.writer("aborted")
        await writer.write(b"left")
        await writer.close()
        await store.abort("aborted")
        writer = await store.writer("aborted")
        assert writer.status.offset == 0
        await writer.close()

    async def test_statuses_are_filtered_by_ref(self, store):
        for ref in ("one", "two"):
            writer = await store.writer(ref)
            await writer.write(b"x")
            await writer.close()
        assert {"one", "two"} == {status.ref for status in await store.statuses()}
        assert [status.ref for status in await store.statuses(["ref==two"])] == ["two"]
        assert [status.ref for status in await store.statuses(["ref~=^o"])] == ["one"]
        with pytest.raises(InvalidArgument):
            await store.statuses(["ref=="])

    async def test_blobs_are_listed_by_digest_and_filtered(self, store):
        made = sorted([await put(store, f"blob {number}".encode()) for number in range(79)])
        assert made == await names(store)
        assert made[2:3] == await names(store, f"digest=={made[2]}")
        assert made[1:3] == await names(store, f"digest=={made[1]}", f"digest=={made[2]}")
        with pytest.raises(InvalidArgument):
            await names(store, "digest==")

    async def test_a_deleted_blob_is_gone_and_can_come_again(self, store):
        data, name = some(100)
        await put(store, data)
        await store.delete(name)
        with pytest.raises(NotFound):
            await store.info(name)
        assert name not in await names(store)
        await put(store, data, "again")
        assert data == await get(store, name)

    async def test_an_open_reader_outlives_a_delete(self, store):
        if not self.keeps_open:
            return
        data, name = some(3 << 20)
        await put(store, data)
        reader = await store.reader(name)
        start = await reader.read(0, 1 << 20)
        await store.delete(name)
        rest = await reader.read(1 << 20, 1 << 20)
        reader.close()
        assert data[: 2 << 20] == start + rest

    async def test_labels_are_replaced_and_masked(self, store):
        if not self.labelled:
            with pytest.raises(FailedPrecondition, match="immutable"):
                await store.update(Info(EMPTY))
            return
        data, name = some(256)
        await put(store, data, labels={"k1": "v1", "k2": "v2", **ROOT})
        created = await store.info(name)
        await store.update(Info(name, labels={"k1": "new", "k3": "v3", **ROOT}))
        assert (await store.info(name)).labels == {"k1": "new", "k3": "v3", **ROOT}
        await store.update(Info(name, labels={"k1": "v1"}), ["labels.k3", "labels.k1"])
        updated = await store.info(name)
        assert updated.labels == {"k1": "v1", **ROOT}
        assert created.created_at == updated.created_at < updated.updated_at
        assert [name] == await names(store, "labels.k1==v1")
        assert await names(store, "labels.k3") == []
        with pytest.raises(InvalidArgument, match="size"):
            await store.update(Info(name), ["size"])

    async def test_labels_of_more_than_4096_bytes_are_refused(self, store):
        if not self.labelled:
            return
        data, name = some(256)
        await put(store, data, labels={"k" * 96: "v" * 4000, **ROOT})
        with pytest.raises(InvalidArgument, match="4096 bytes"):
            await store.update(Info(name, labels={"k" * 97: "v" * 4000}))
        writer = await store.writer("too long")
        await writer.write(b"too long")
        with pytest.raises(InvalidArgument, match="4096 bytes"):
            await writer.commit(0, "", {"k": "v" * 4096})
        await writer.close()
        assert (await store.info(name)).labels == {"k" * 96: "v" * 4000, **ROOT}

    async def test_a_dotted_label_is_one_label(self, store):
        if not self.labelled:
            return
        name = await put(store, b"dots", labels={"a.b/c": "d", **ROOT})
        assert [name] == await names(store, 'labels."a.b/c"==d')
        await store.update(Info(name, labels={"a.b/c": "e"}), ["labels.a.b/c"])
        assert (await store.info(name)).labels == {"a.b/c": "e", **ROOT}
