"""Tasks that begin at once, on both loops, and are otherwise as every task of a group."""

from __future__ import annotations

import asyncio
import contextvars

import pytest
from holdfast.ttrpc import eager

WORD = contextvars.ContextVar("WORD", default="none")


@pytest.fixture
def in_callback():
    """Runs a function as the loop runs a callback: with no task around it. Returns what it returned."""

    async def run(function):
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(lambda: done.set_result(function()))
        return await done

    return run


async def test_a_coroutine_that_never_waits_is_done_before_the_call_returns(in_callback):
    seen = []

    async def work():
        seen.append(asyncio.current_task().get_name())

    async with asyncio.TaskGroup() as group:
        loop = asyncio.get_running_loop()
        task = await in_callback(lambda: (eager.Starter(group, loop).create_task(work(), "w"), list(seen)))
    assert task[1] == ["w"]
    assert task[0].done()


async def test_it_waits_and_is_cancelled_as_any_task_and_the_group_waits_for_it(in_callback):
    steps = []
    go = asyncio.Event()

    async def work():
        async with asyncio.timeout(30):  # asks for the current task in the first step
            steps.append("begun")
            await go.wait()
            steps.append("ended")

    async with asyncio.TaskGroup() as group:
        loop = asyncio.get_running_loop()
        await in_callback(lambda: eager.Starter(group, loop).create_task(work(), "w"))
        cancelled = await in_callback(lambda: eager.Starter(group, loop).create_task(work(), "c"))
        assert steps == ["begun", "begun"]
        cancelled.cancel()
        go.set()
    assert steps == ["begun", "begun", "ended"]
    assert cancelled.cancelled()


async def test_its_context_is_its_own(in_callback):
    async def work():
        WORD.set("inside")

    async with asyncio.TaskGroup() as group:
        loop = asyncio.get_running_loop()
        await in_callback(lambda: eager.Starter(group, loop).create_task(work(), "w"))
        assert await in_callback(WORD.get) == "none"


async def test_inside_another_task_it_begins_in_the_next_turn():
    seen = []

    async def work():
        seen.append("ran")

    async with asyncio.TaskGroup() as group:
        eager.Starter(group, asyncio.get_running_loop()).create_task(work(), "w")
        assert seen == []
    assert seen == ["ran"]


async def test_the_loop_is_left_as_it_was(in_callback):
    loop = asyncio.get_running_loop()

    async def work():
        return None

    async with asyncio.TaskGroup() as group:
        await in_callback(lambda: eager.Starter(group, loop).create_task(work(), "w"))
    assert "call_soon" not in vars(loop)


async def waiting(waiter, seen):
    await waiter
    seen.append("woken")


async def asleep(coroutine):
    """A task that has begun to wait."""
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    return task


async def test_who_is_woken_has_gone_on_when_wake_returns(in_callback):
    waiter, seen = eager.Waiter(loop=asyncio.get_running_loop()), []
    task = await asleep(waiting(waiter, seen))
    assert await in_callback(lambda: (waiter.wake(), list(seen))[1]) == ["woken"]
    await task


async def test_a_task_that_wakes_another_goes_on_itself_first():
    waiter, seen = eager.Waiter(loop=asyncio.get_running_loop()), []
    task = await asleep(waiting(waiter, seen))
    waiter.wake()
    assert seen == []
    await task
    assert seen == ["woken"]


async def test_woken_before_anybody_waits_nobody_waits():
    waiter, seen = eager.Waiter(loop=asyncio.get_running_loop()), []
    waiter.wake()
    waiter.wake()
    await waiting(waiter, seen)
    assert seen == ["woken"]


async def test_a_waiting_task_can_be_cancelled_and_a_late_wake_is_nothing(in_callback):
    waiter, seen = eager.Waiter(loop=asyncio.get_running_loop()), []
    task = await asleep(waiting(waiter, seen))
    task.cancel()
    await in_callback(waiter.wake)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == []


async def test_a_task_woken_and_cancelled_in_one_turn_is_cancelled_at_its_next_wait(in_callback):
    waiter = eager.Waiter(loop=asyncio.get_running_loop())

    async def twice():
        await waiter
        await asyncio.sleep(30)

    task = await asleep(twice())
    await in_callback(lambda: (waiter.wake(), task.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_the_first_step_raises_ends_the_group(in_callback):
    async def work():
        raise ValueError("no")

    async def in_a_group():
        async with asyncio.TaskGroup() as group:
            loop = asyncio.get_running_loop()
            await in_callback(lambda: (eager.Starter(group, loop).create_task(work(), "w"), None)[1])
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as raised:
        await in_a_group()
    assert [str(error) for error in raised.value.exceptions] == ["no"]


async def test_a_failure_is_the_groups_whether_it_waited_or_not(in_callback):
    async def fails(waits):
        if waits:
            await asyncio.sleep(0)
        raise LookupError(str(waits))

    async def run(waits):
        async with asyncio.TaskGroup() as group:
            loop = asyncio.get_running_loop()
            await in_callback(lambda: eager.Starter(group, loop).create_task(fails(waits), "w"))

    for waits in (False, True):
        with pytest.raises(ExceptionGroup) as caught:
            await run(waits)
        assert str(caught.value.exceptions[0]) == str(waits)


async def test_a_group_that_is_over_keeps_nothing_running(in_callback):
    begun = []

    async def work():
        begun.append(asyncio.current_task())
        await asyncio.get_running_loop().create_future()

    async with asyncio.TaskGroup() as group:
        pass
    loop = asyncio.get_running_loop()

    def too_late():
        with pytest.raises(RuntimeError, match="is finished"):
            eager.Starter(group, loop).create_task(work(), "w")

    await in_callback(too_late)
    with pytest.raises(asyncio.CancelledError):
        await begun[0]
