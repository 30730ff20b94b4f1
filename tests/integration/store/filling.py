"""Fills the disk below the store. Run by ``test_disk_full.py`` in a mount namespace: ``python filling.py FOLDER``."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

from holdfast.errors import NotFound, ResourceExhausted
from holdfast.store import LocalStore, MetadataStore
from holdfast.store.content import Info
from holdfast.store.database.reserve import SIZE

ROOT = {"containerd.io/gc.root": "1"}
FRAME = os.urandom(1 << 20)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def put(store, data: bytes) -> str:
    writer = await store.writer(f"put {digest(data)}")
    try:
        await writer.write(data)
        await writer.commit(len(data), digest(data), ROOT)
    finally:
        await writer.close()
    return digest(data)


def others_take_the_rest(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x")


async def main() -> None:
    folder = Path(sys.argv[1])
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(1 << 19))
    local = LocalStore(folder / "content")
    await local.open()
    metadata = MetadataStore(folder / "meta.sqlite", local)
    await metadata.open()
    store = metadata.content.within("ns")
    kept, spare = await put(store, FRAME + b"kept"), await put(store, FRAME * 2 + b"spare")

    writer = await store.writer("large")
    written = 0
    with suppress(ResourceExhausted):
        while True:
            await writer.write(FRAME)
            written += len(FRAME)
    assert written == writer.status.offset == (await store.status("large")).offset, "half a frame counts"
    await writer.close()

    small = 0
    try:
        while True:  # the last bytes
            await put(store, b"%d" % small)
            small += 1
    except ResourceExhausted as error:
        sys.stdout.write(f"{small} small ones, then: {error}\n")
    for number in range(small):
        assert (await store.info(digest(b"%d" % number))).size == len(b"%d" % number)
    with suppress(NotFound):
        await store.info(digest(b"%d" % small))
        raise AssertionError("what was refused is there")

    ballast.unlink()
    with closing(sqlite3.connect(folder / "meta.sqlite")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # nor is there room in the log
    others_take_the_rest(folder / "others")
    reserve = folder / "meta.sqlite-reserve"
    assert reserve.stat().st_size == SIZE
    await store.delete(spare)  # a full disk can be emptied
    await metadata.collect()
    writer = await store.writer("large")
    assert written == writer.status.offset
    await writer.write(b"the end")
    await writer.commit(0, digest(FRAME * (written >> 20) + b"the end"), ROOT)
    await writer.close()
    reader = await store.reader(kept)
    assert await reader.read(0, 2 << 20) == FRAME + b"kept"
    reader.close()
    assert await store.statuses() == []
    (folder / "others").unlink()
    await store.update(Info(kept, labels={**ROOT, "a": "b"}), ["labels.a"])
    assert (reserve.stat().st_size, reserve.stat().st_blocks * 512) == (SIZE, SIZE), "kept again once there is room"
    await metadata.close()
    await local.close()
    sys.stdout.write("whole\n")


asyncio.run(main())
