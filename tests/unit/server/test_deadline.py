import asyncio
from contextlib import suppress

import pytest
from holdfast.errors import DeadlineExceeded
from holdfast.failure import place
from holdfast.server.deadline import Leavable, within

from tests.running import async_until


async def answers(value):
    await asyncio.sleep(0)
    return value


async def hangs():
    await asyncio.Event().wait()


async def ignores():
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


@pytest.mark.parametrize("limit_s", [0, 30])
async def test_work_that_ends_in_time_gives_its_result(limit_s):
    assert await within(limit_s, "init", answers(5)) == 5


async def test_its_own_error_is_raised_even_one_that_looks_like_the_limit():
    async def fails():
        await asyncio.sleep(0)
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await within(30, "init", fails())


async def test_work_that_hangs_is_cancelled():
    with pytest.raises(DeadlineExceeded, match=r"init did not end within 0.01s: context"):
        await within(0.01, "init", hangs())
    assert asyncio.current_task().cancelling() == 0


async def test_work_that_ignores_its_cancellation_is_left():
    with pytest.raises(DeadlineExceeded, match=r"within 0.01s, and ignored its cancellation") as found:
        await within(0.01, "close", ignores(), 0.01)
    assert asyncio.current_task().cancelling() == 0
    assert place(found.value).startswith(__file__)


async def test_what_it_still_awaits_after_its_cancellation_is_awaited():
    steps = []

    async def tidies():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("tidy")

    with pytest.raises(DeadlineExceeded):
        await within(0.01, "close", tidies(), 30)
    assert steps == ["tidy"]


async def test_a_cancellation_of_the_task_reaches_the_work():
    steps = []

    async def work():
        steps.append("began")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            steps.append("cancelled")
            raise

    task = asyncio.ensure_future(within(30, "init", work()))
    await async_until(lambda: steps == ["began"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["began", "cancelled"]


async def test_only_what_is_left_is_not_told_of_a_cancellation():
    is_left, steps = False, []

    async def work():
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                steps.append("cancelled")

    async def driven():
        await Leavable(work(), lambda: is_left)

    task = asyncio.ensure_future(driven())
    await asyncio.sleep(0)
    task.cancel()
    await async_until(lambda: steps == ["cancelled"])
    is_left = True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["cancelled"]
