"""The differ over a real content store: blobs, labels, leases' ways in, what is left after an error."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import threading
from pathlib import Path

import pytest
from holdfast.diff import Devices, Layer, LayerLimits, Mount, WalkingDiffer, Wanted
from holdfast.diff.walking import UNCOMPRESSED
from holdfast.errors import BadLayer, InvalidArgument, NotFound, Unavailable, Unimplemented
from holdfast.store import LocalStore, MetadataStore

OCI = "application/vnd.oci.image.layer.v1.tar"


def bind(path: Path) -> list[Mount]:
    return [Mount("bind", str(path), ("rbind", "rw"))]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
async def metadata(tmp_path):
    local = LocalStore(tmp_path / "content", patience_s=0.01)
    await local.open()
    store = MetadataStore(tmp_path / "meta.sqlite", local)
    await store.open()
    yield store
    await store.close()
    await local.close()


@pytest.fixture
def content(metadata):
    return metadata.content.within("ns")


@pytest.fixture
async def differ(tmp_path):
    (tmp_path / "place").mkdir()
    made = WalkingDiffer(tmp_path / "place", lambda: LayerLimits(10 << 20))
    yield made
    await made.close()


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(os.urandom(3 << 20))
    return tmp_path / "tree"


async def put(content, data: bytes, media_type: str = f"{OCI}+gzip") -> Layer:
    writer = await content.writer("put", len(data), digest(data))
    await writer.write(data)
    await writer.commit(len(data), digest(data))
    return Layer(media_type, digest(data), len(data))


async def nothing_is_left(content) -> bool:
    return not [info async for page in content.pages() for info in page] and not await content.statuses()


async def test_a_layer_goes_into_content_and_back_onto_a_tree(differ, content, tree, tmp_path):
    layer = await differ.compare(content, [], bind(tree), Wanted(labels={"a": "b"}))
    info = await content.info(layer.digest)
    applied = await differ.apply(content, layer, bind(make(tmp_path / "again")), durable=True)
    assert layer.media_type == f"{OCI}+gzip"
    assert info.labels == {"a": "b", UNCOMPRESSED: applied.digest}
    assert applied.media_type == OCI
    assert (tmp_path / "again/file").read_bytes() == (tree / "file").read_bytes()
    assert list((tmp_path / "place").iterdir()) == []


def make(path: Path) -> Path:
    path.mkdir()
    return path


async def test_the_same_trees_are_the_same_blob_which_gets_the_label_it_lacks(differ, content, tree):
    first = await differ.compare(content, [], bind(tree), Wanted())
    info = await content.info(first.digest)
    unpacked = info.labels.pop(UNCOMPRESSED)
    await content.update(info)
    assert await differ.compare(content, [], bind(tree), Wanted()) == first
    assert (await content.info(first.digest)).labels == {UNCOMPRESSED: unpacked}
    assert await content.statuses() == []


async def test_what_a_diff_makes_is_held_by_the_callers_lease(differ, metadata, tree):
    await metadata.leases.create("ns", "lease", {})
    layer = await differ.compare(metadata.content.within("ns", "lease"), [], bind(tree), Wanted())
    await metadata.collect()
    assert (await metadata.content.within("ns").info(layer.digest)).size == layer.size
    with pytest.raises(NotFound):
        await metadata.content.within("other").info(layer.digest)
    await metadata.leases.delete("ns", "lease")
    await metadata.collect()
    assert await nothing_is_left(metadata.content.within("ns"))


async def test_an_error_leaves_no_ingest_of_a_name_nobody_chose(differ, content, tree):
    for attempt in (
        differ.compare(content, [], [Mount("tmpfs", "x")], Wanted()),
        differ.compare(content, [], bind(tree), Wanted(labels={"k": "v" * 5000})),
    ):
        with pytest.raises((Unimplemented, InvalidArgument)):
            await attempt
    assert await nothing_is_left(content)


async def test_a_ref_that_was_begun_is_begun_anew_and_one_that_is_held_is_refused(differ, content, tree):
    writer = await content.writer("mine")
    await writer.write(b"of an earlier attempt")
    with pytest.raises(Unavailable, match=r"^failed to open writer: .*ref .* locked"):
        await differ.compare(content, [], bind(tree), Wanted(OCI, "mine"))
    await writer.close()
    layer = await differ.compare(content, [], bind(tree), Wanted(OCI, "mine"))
    reader = await content.reader(layer.digest)
    assert digest(await reader.read(0, layer.size)) == layer.digest
    reader.close()


async def test_a_bomb_is_refused_where_the_limit_is(differ, content, tmp_path):
    tree = make(tmp_path / "bomb")
    (tree / "zeros").write_bytes(bytes(11 << 20))
    layer = await differ.compare(content, [], bind(tree), Wanted())
    assert layer.size < 20_000
    with pytest.raises(BadLayer, match=rf"^layer {layer.digest}: unpacks to more than 10485760 bytes; see "):
        await differ.apply(content, layer, bind(make(tmp_path / "target")))


async def test_garbage_is_refused_in_one_line_with_the_layers_name(differ, content, tmp_path):
    layer = await put(content, gzip.compress(b"garbage" * 1000))
    with pytest.raises(BadLayer, match=f"^layer {layer.digest}: invalid tar header: "):
        await differ.apply(content, layer, bind(make(tmp_path / "target")))


async def test_a_blob_that_is_not_there_is_said_as_containerd_says_it(differ, content, tmp_path):
    absent = Layer(OCI, digest(b"absent"), 6)
    with pytest.raises(
        NotFound, match=f"^failed to get reader from content store: content digest {absent.digest}: not found$"
    ):
        await differ.apply(content, absent, bind(tmp_path))


async def test_a_caller_who_gives_up_stops_the_thread_and_leaves_nothing(differ, content, tree, monkeypatch):
    reached, may_go_on = asyncio.Event(), asyncio.Event()
    writer_of = content.writer

    async def slow(ref, total=0, expected=""):
        writer = await writer_of(ref, total, expected)
        write = writer.write

        async def waiting(data):
            reached.set()
            await may_go_on.wait()
            await write(data)

        monkeypatch.setattr(writer, "write", waiting)
        return writer

    monkeypatch.setattr(content, "writer", slow)
    comparing = asyncio.ensure_future(differ.compare(content, [], bind(tree), Wanted(OCI)))
    await reached.wait()
    comparing.cancel()
    await asyncio.sleep(0)
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await comparing
    assert await nothing_is_left(content)
    assert "diff-mount" not in {thread.name for thread in threading.enumerate()}


def test_what_becomes_of_device_nodes_has_containerds_way_among_its_choices():
    assert [choice.value for choice in Devices] == ["refuse", "skip", "create"]
