from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from holdfast.store.content.disk_thread import on_thread


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
