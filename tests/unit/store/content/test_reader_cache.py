from __future__ import annotations

import asyncio

import pytest
from holdfast.errors import NotFound
from holdfast.store.content.reader_cache import ReaderCache

from tests.contracts.content import get, put
from tests.running import descriptors


class Reader:
    def __init__(self) -> None:
        self.size = 1
        self.closed = 0

    async def read(self, offset: int, size: int) -> bytes:
        return b"x"

    def close(self) -> None:
        self.closed += 1


async def test_a_reader_is_opened_once_and_closed_when_forgotten_and_unused():
    cache, made = ReaderCache(), []

    async def opening():
        made.append(Reader())
        return made[-1]

    first, second = [await cache.reader(("ns", "d"), opening) for _ in range(2)]
    assert len(made) == 1
    first.close()
    first.close()
    cache.forget()
    assert made[0].closed == 0
    second.close()
    assert made[0].closed == 1
    await cache.reader(("ns", "d"), opening)
    assert len(made) == 2


async def test_what_changes_while_a_reader_is_opened_is_not_kept():
    cache, go, made = ReaderCache(), asyncio.Event(), []

    async def opening():
        made.append(Reader())
        await go.wait()
        return made[-1]

    asked = asyncio.ensure_future(cache.reader(("ns", "d"), opening))
    await asyncio.sleep(0)
    cache.forget()
    go.set()
    (await asked).close()
    assert made[0].closed == 1
    await cache.reader(("ns", "d"), opening)
    assert len(made) == 2


async def test_only_so_many_are_kept():
    cache, made = ReaderCache(), []

    async def opening():
        made.append(Reader())
        return made[-1]

    for number in range(40):
        (await cache.reader(("ns", str(number)), opening)).close()
    assert sum(reader.closed for reader in made) == 8
    cache.forget()
    assert sum(reader.closed for reader in made) == 40


async def test_a_blob_that_was_read_and_deleted_is_not_read_again(metadata):
    store = metadata.content.within("ns")
    name = await put(store, b"gone")
    assert await get(store, name) == b"gone"
    await store.delete(name)
    with pytest.raises(NotFound):
        await store.reader(name)


async def test_a_collected_blob_is_not_read_again_and_its_file_is_let_go(metadata, local):
    store = metadata.content.within("ns")
    name = await put(store, b"garbage", labels={})
    assert await get(store, name) == b"garbage"
    await metadata.collect()
    with pytest.raises(NotFound):
        await store.reader(name)
    await local.close()  # waits for what is under way
    assert descriptors(name[7:]) == set()
