import asyncio

import pytest
from holdfast.errors import BootError
from holdfast.server.tasks import Tasks


async def test_a_job_that_raises_is_reported_and_the_others_go_on():
    reported = asyncio.get_running_loop().create_future()
    going = asyncio.Event()

    async def broken():
        raise ValueError("torn")

    async def steady():
        await reported
        going.set()

    async with Tasks(lambda owner, name, error: reported.set_result((owner, name, str(error)))) as tasks:
        tasks.start("a", "steady", steady)
        tasks.start("b", "broken", broken)
        await going.wait()
    assert reported.result() == ("b", "broken", "torn")


async def test_cancelling_an_owner_waits_for_its_tasks_and_leaves_the_others():
    ended = []

    async def until_cancelled(name):
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    async with Tasks() as tasks:
        tasks.start("a", "one", lambda: until_cancelled("a1"))
        tasks.start("a", "two", lambda: until_cancelled("a2"))
        other = tasks.start("b", "one", lambda: until_cancelled("b1"))
        await asyncio.sleep(0)
        await tasks.cancel("a")
        assert sorted(ended) == ["a1", "a2"]
        assert not other.done()
        assert other.get_name() == "b/one"
    assert sorted(ended) == ["a1", "a2", "b1"]


async def test_a_task_may_cancel_its_own_owner_without_waiting_for_itself():
    async with Tasks() as tasks:
        task = tasks.start("a", "self", lambda: tasks.cancel("a"))
        await task
    assert task.exception() is None


async def test_an_error_beside_the_jobs_leaves_as_it_is():
    async def forever():
        await asyncio.Event().wait()

    async def boot():
        async with Tasks() as tasks:
            tasks.start("a", "b", forever)
            raise BootError("busy")

    with pytest.raises(BootError, match="busy"):
        await boot()
