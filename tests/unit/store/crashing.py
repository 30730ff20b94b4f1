"""Kills a process at a line of the store, and checks what it left. Run by ``test_crash.py``, one scenario a process.

    python crashing.py FOLDER SCENARIO STRIDE

A child runs the scenario and counts the lines of ``holdfast/store`` and ``holdfast/bundle`` it executes, on whatever
thread; when the count is reached it sends itself SIGKILL. Another child then opens what is left, checks that what was
acknowledged is there and that nothing is there by half, does again what a client would do again, and collects. Every
STRIDE-th line.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import holdfast.bundle
import holdfast.store
from holdfast.bundle import BundleDir, Bundles
from holdfast.bundle.bundles import BundleState
from holdfast.bundle.links import Links
from holdfast.errors import AlreadyExists, NotFound
from holdfast.store import LocalStore, MetadataStore
from holdfast.store.objects.images import Descriptor, Image

from tests.fakes.bundles import pull
from tests.fakes.layout import rule

COUNTED = tuple(str(Path(package.__file__).parent) for package in (holdfast.store, holdfast.bundle))
ROOT = {"containerd.io/gc.root": "1"}
BIG = bytes(range(256)) * 1024  # hashed beside its write
BLOB = BIG + b"the end"
Acknowledge = Callable[[str], None]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@asynccontextmanager
async def opened(root: Path):
    local = LocalStore(root / "content")
    await local.open()
    metadata = MetadataStore(root / "meta.sqlite", local)
    await metadata.open()
    yield metadata
    await metadata.close()
    await local.close()


async def put(metadata: MetadataStore, data: bytes, labels: dict[str, str], lease: str = "") -> str:
    store = metadata.content.within("ns", lease)
    with suppress(AlreadyExists):
        writer = await store.writer(f"put-{data[:20]!r}", len(data), digest(data))
        try:
            await writer.write(data[writer.status.offset :])
            await writer.commit(len(data), digest(data), labels)
        finally:
            await writer.close()
    return digest(data)


class Ingest:
    """An ingest in two sittings, then its commit."""

    async def prepare(self, metadata: MetadataStore) -> None:
        pass

    async def run(self, metadata: MetadataStore, acknowledge: Acknowledge) -> None:
        store = metadata.content.within("ns")
        writer = await store.writer("ref", len(BLOB))
        await writer.write(BIG)
        acknowledge("written")
        await writer.close()
        acknowledge("closed")
        writer = await store.writer("ref", len(BLOB))
        await writer.write(BLOB[len(BIG) :])
        await writer.commit(len(BLOB), digest(BLOB), ROOT)
        acknowledge("committed")
        await writer.close()

    async def check(self, metadata: MetadataStore, acknowledged: set[str]) -> None:
        store = metadata.content.within("ns")
        there = await holds(metadata, BLOB)
        assert there or "committed" not in acknowledged
        if not there:
            offset = 0
            with suppress(NotFound):
                offset = (await store.status("ref")).offset
            assert offset in (0, len(BIG), len(BLOB)), offset
            below = await on_disk(metadata, BLOB)  # the commit was on its way
            assert offset or below or not acknowledged, (offset, acknowledged)
            if below:
                await put(metadata, BLOB, ROOT)
            else:
                writer = await store.writer("ref", len(BLOB))
                assert offset == writer.status.offset
                assert digest(BLOB[:offset]) == writer.digest
                await writer.write(BLOB[offset:])
                await writer.commit(len(BLOB), digest(BLOB), ROOT)
                await writer.close()
        assert await holds(metadata, BLOB)


class Delete:
    """An image and a blob are deleted, an ingest aborted, and what is left is collected."""

    async def prepare(self, metadata: MetadataStore) -> None:
        await put(metadata, b"stays", ROOT)
        await put(metadata, b"goes", ROOT)
        layer = await put(metadata, b"layer", {}, await lease(metadata))
        await metadata.images.create("ns", Image("image", Descriptor("m", layer, 5)))
        await metadata.leases.delete("ns", "lease")
        writer = await metadata.content.within("ns").writer("aborted")
        await writer.write(b"half")
        await writer.close()

    async def run(self, metadata: MetadataStore, acknowledge: Acknowledge) -> None:
        store = metadata.content.within("ns")
        await store.delete(digest(b"goes"))
        acknowledge("deleted")
        await store.abort("aborted")
        acknowledge("aborted")
        await metadata.images.delete("ns", "image")
        acknowledge("forgotten")
        await metadata.collect()
        acknowledge("collected")

    async def check(self, metadata: MetadataStore, acknowledged: set[str]) -> None:
        store = metadata.content.within("ns")
        assert await holds(metadata, b"stays")
        assert not ("deleted" in acknowledged and await holds(metadata, b"goes"))
        assert not ("aborted" in acknowledged and await store.statuses())
        assert not ("collected" in acknowledged and await on_disk(metadata, b"layer"))
        images = await metadata.images.matching("ns")
        assert not ("forgotten" in acknowledged and images)
        if images:
            assert await holds(metadata, b"layer"), "an image without its content"
        with suppress(NotFound):
            await store.delete(digest(b"goes"))
        with suppress(NotFound):
            await store.abort("aborted")
        with suppress(NotFound):
            await metadata.images.delete("ns", "image")
        await metadata.collect()
        assert await holds(metadata, b"stays")
        assert not await on_disk(metadata, b"goes")
        assert not await on_disk(metadata, b"layer")


class Collect:
    """Garbage of every kind beside what is needed."""

    garbage = (b"g1", b"g2", b"g3")
    needed = (b"manifest", b"layer", b"held", b"root")

    async def prepare(self, metadata: MetadataStore) -> None:
        under = await lease(metadata)
        layer = await put(metadata, b"layer", {}, under)
        manifest = await put(metadata, b"manifest", {"containerd.io/gc.ref.content.0": layer}, under)
        await metadata.images.create("ns", Image("image", Descriptor("m", manifest, 8)))
        await metadata.leases.delete("ns", under)
        await put(metadata, b"held", {}, await lease(metadata))
        await put(metadata, b"root", ROOT)
        await metadata.leases.create("ns", "old", {"containerd.io/gc.expire": "2020-01-01T00:00:00Z"})
        for data in self.garbage:
            await put(metadata, data, {}, "old")
        writer = await metadata.content.within("ns", "old").writer("stale")
        await writer.write(b"stale")
        await writer.close()

    async def run(self, metadata: MetadataStore, acknowledge: Acknowledge) -> None:
        await metadata.collect()
        acknowledge("collected")

    async def check(self, metadata: MetadataStore, acknowledged: set[str]) -> None:
        for _ in range(2):
            for data in self.needed:
                assert await holds(metadata, data), data
            left = [data for data in self.garbage if await on_disk(metadata, data)]
            assert not ("collected" in acknowledged and left)
            acknowledged.add("collected")
            await metadata.collect()
        assert [found.id for found in await metadata.leases.matching("ns")] == ["lease"]
        assert await metadata.content.within("ns").statuses() == []


class Bundle:
    """A bundle is applied after another one, and rolled back; what it links elsewhere goes with it."""

    def files(self, number: int) -> dict[str, bytes]:
        return {"rules.yaml": rule(f"r{number}"), "etc/x.conf": f"x={number}".encode()}

    async def opened(self, metadata: MetadataStore) -> tuple[Bundles, Path]:
        root = metadata.database.path.parent
        (root / "etc").mkdir(exist_ok=True)
        bundle_dir = BundleDir(root / "bundles", Links(root / "bundles", [str(root / "etc")]), keep=1)
        bundles = Bundles(metadata, bundle_dir, list)
        await bundles.open()
        return bundles, root

    async def prepare(self, metadata: MetadataStore) -> None:
        for number in (0, 1, 2):
            await pull(metadata, str(number), self.files(number))
        bundles, _ = await self.opened(metadata)
        await bundles.apply("0")
        await bundles.apply("1")

    async def run(self, metadata: MetadataStore, acknowledge: Acknowledge) -> None:
        bundles, _ = await self.opened(metadata)
        await bundles.apply("2")
        acknowledge("applied")
        await bundles.rollback()
        acknowledge("back")

    async def check(self, metadata: MetadataStore, acknowledged: set[str]) -> None:
        bundles, root = await self.opened(metadata)
        listed = await bundles.listed()
        current = next(one for one in listed if one.state is BundleState.CURRENT)
        assert current.name in ({"1"} if "back" in acknowledged else {"1", "2"}), current
        name, texts = bundles.rules("current")
        assert (current.digest, [("rules.yaml", rule(f"r{current.name}").decode())]) == (name, texts)
        assert (root / "bundles" / "current" / "files" / "etc" / "x.conf").read_text() == f"x={current.name}"
        assert "applied" not in acknowledged or {"1", "2"} <= {one.name for one in listed}
        await metadata.collect()
        for one in listed:
            if one.state is not BundleState.PULLED:
                assert await on_disk(metadata, self.files(int(one.name))["etc/x.conf"]), one
        if current.name == "1":
            await bundles.apply("2")
        assert (await bundles.rollback()).bundle.name == "1"
        assert not list((root / "bundles").glob(".new-*"))
        await metadata.collect()
        assert not await on_disk(metadata, b"x=0") or "0" in {one.name for one in await bundles.listed()}


async def lease(metadata: MetadataStore) -> str:
    return (await metadata.leases.create("ns", "lease")).id


async def holds(metadata: MetadataStore, data: bytes) -> bool:
    """Whether the namespace sees the blob; then every byte is there."""
    store = metadata.content.within("ns")
    try:
        info = await store.info(digest(data))
    except NotFound:
        return False
    reader = await store.reader(digest(data))
    assert (len(data), data) == (info.size, await reader.read(0, len(data) + 1))
    reader.close()
    return True


async def on_disk(metadata: MetadataStore, data: bytes) -> bool:
    with suppress(NotFound):
        await metadata.content.backend.info(digest(data))
        return True
    return False


async def consistent(metadata: MetadataStore, root: Path) -> None:
    """No name without its bytes, whole; after a collection, no bytes without a name."""
    for path in (root / "content" / "blobs").rglob("*"):
        assert path.is_dir() or digest(path.read_bytes()) == f"{path.parent.name}:{path.name}", path
    rows = await metadata.database.read(lambda found: found.execute("SELECT digest, size FROM blobs").fetchall())
    for name, size in rows:
        assert size == (await metadata.content.backend.info(name)).size
    await metadata.collect()
    rows = await metadata.database.read(lambda found: found.execute("SELECT DISTINCT digest FROM blobs").fetchall())
    files = {path.name for path in (root / "content" / "blobs" / "sha256").iterdir()}
    assert files == {name.removeprefix("sha256:") for (name,) in rows}
    (count,) = await metadata.database.read(lambda found: found.execute("SELECT count(*) FROM ingests").fetchone())
    assert count >= len(list((root / "content" / "ingest").iterdir()))


def in_child(work: Callable[[], Awaitable[None]]) -> int:
    """Run ``work`` in a process of its own; its wait status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        asyncio.run(work())  # type: ignore[arg-type]
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


class Lines:
    """Counts lines of the two packages, and ends the process at one of them."""

    def __init__(self, last: int) -> None:
        self.count = 0
        self.last = last

    def start(self) -> None:
        threading.settrace(self._call)
        sys.settrace(self._call)

    def _call(self, frame, event, argument):
        return self._line if frame.f_code.co_filename.startswith(COUNTED) else None

    def _line(self, frame, event, argument):
        if event == "line":
            self.count += 1
            if self.count == self.last:
                os.kill(os.getpid(), signal.SIGKILL)
        return self._line


def attempt(scenario, root: Path, last: int, log: Path) -> int:
    lines = Lines(last)

    async def run() -> None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        lines.start()
        async with opened(root) as metadata:
            await scenario.run(metadata, lambda fact: os.write(descriptor, f"{fact}\n".encode()))
        sys.settrace(None)
        os.write(descriptor, f"lines {lines.count}\n".encode())

    return in_child(run)


def verify(scenario, root: Path, log: Path) -> int:
    async def look() -> None:
        acknowledged = set(log.read_text().split("\n")) - {""} if log.exists() else set()
        async with opened(root) as metadata:
            await scenario.check(metadata, acknowledged)
            await consistent(metadata, root)

    return in_child(look)


def main() -> None:
    folder, scenario, stride = Path(sys.argv[1]), globals()[sys.argv[2]](), int(sys.argv[3])
    prepared, root, log = folder / "prepared", folder / "root", folder / "log"

    async def prepare() -> None:
        async with opened(prepared) as metadata:
            await scenario.prepare(metadata)

    assert in_child(prepare) == 0
    shutil.copytree(prepared, root, symlinks=True)
    assert attempt(scenario, root, 0, log) == 0
    total = int(log.read_text().split()[-1])
    killed = 0
    for last in range(1, total + 1, stride):
        shutil.rmtree(root)
        log.unlink(missing_ok=True)
        shutil.copytree(prepared, root, symlinks=True)
        status = attempt(scenario, root, last, log)
        killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if verify(scenario, root, log) != 0:
            sys.exit(f"killed at line {last} of {total}: see above")
    sys.stdout.write(f"{total} {killed}\n")


if __name__ == "__main__":
    main()
