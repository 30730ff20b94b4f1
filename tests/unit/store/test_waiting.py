from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from holdfast.store.waiting import Gate, on_thread


async def test_a_cancelled_caller_waits_for_the_work_it_started():
    go, ended = threading.Event(), threading.Event()

    def work():
        go.wait(10)
        ended.set()

    with ThreadPoolExecutor(1) as executor:
        asked = asyncio.ensure_future(on_thread(executor, work))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.sleep(0)
        assert not asked.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert ended.is_set()


async def test_the_gate_lets_many_in_together_or_one_alone():
    gate, log = Gate(), []
    leave = asyncio.Event()

    async def together(name):
        async with gate.shared():
            log.append(name)
            await leave.wait()

    async def alone():
        async with gate.exclusive():
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
