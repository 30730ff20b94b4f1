from __future__ import annotations

import asyncio

from holdfast.store.content.rwlock import ReadWriteLock


async def test_the_lock_lets_many_in_together_or_one_alone():
    lock, log = ReadWriteLock(), []
    leave = asyncio.Event()

    async def together(name):
        async with lock.shared():
            log.append(name)
            await leave.wait()

    async def alone():
        async with lock.exclusive():
            log.append("alone")

    first = [asyncio.ensure_future(together(name)) for name in "ab"]
    await asyncio.sleep(0)
    one = asyncio.ensure_future(alone())
    await asyncio.sleep(0)
    late = asyncio.ensure_future(together("late"))
    await asyncio.sleep(0)
    assert log == ["a", "b"]
    leave.set()
    await asyncio.gather(*first, one, late)
    assert log == ["a", "b", "alone", "late"]
