import asyncio

import pytest
from holdfast.errors import BootError, NotFound
from holdfast.server.tasks import Pauses, Tasks

from tests.running import async_until

AT_ONCE = Pauses(0, 0, 0)


class Faults:
    """The reported faults."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def __call__(self, *told: str) -> None:
        self.told.append(told)

    async def until(self, *told: str) -> None:
        await async_until(lambda: told in self.told, str(told))


def values(family):
    return {name: value for (name,), value in family.values()}


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (ValueError("torn"), "ValueError: torn"),
        (NotFound("the file"), "the file: not found"),
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError(), "something that it awaited was cancelled"),
        (None, "it ended, and should not"),
    ],
)
async def test_a_job_that_ends_is_a_fault_until_it_runs_well_again_and_the_others_go_on(end, words):
    faults, again = Faults(), asyncio.Event()
    ran = 0

    async def broken():
        nonlocal ran
        ran += 1
        if ran == 1:
            if end is not None:
                raise end
            return
        await again.wait()
        await asyncio.Event().wait()

    async with Tasks(faults, pauses=AT_ONCE) as tasks:
        up, restarts = tasks.families
        other = tasks.start("a", "steady", asyncio.Event().wait)
        tasks.start("b", "broken", broken)
        await faults.until("b", "broken", f"background job broken: {words}")
        again.set()
        await faults.until("b", "broken", "")
        assert (values(up), values(restarts)) == ({"a/steady": 1, "b/broken": 1}, {"a/steady": 0, "b/broken": 1})
        assert not other.done()
    assert values(up) == {}


async def test_a_job_that_ends_at_once_each_time_stays_a_fault():
    faults, ends = Faults(), asyncio.Event()
    ran = 0

    async def broken():
        nonlocal ran
        ran += 1
        if ran == 5:
            ends.set()
            await asyncio.Event().wait()
        raise ValueError("torn")

    async with Tasks(faults, pauses=Pauses(0, 0, 3600)) as tasks:
        up, restarts = tasks.families
        tasks.start("b", "broken", broken)
        await ends.wait()
        assert (values(up), values(restarts)) == ({"b/broken": 0}, {"b/broken": 4})
    assert ("b", "broken", "") not in faults.told


async def test_a_job_that_may_end_is_done_when_it_returns():
    faults, restarts = Faults(), 0

    async def once():
        nonlocal restarts
        restarts += 1

    async with Tasks(faults, pauses=AT_ONCE) as tasks:
        await tasks.start("a", "once", once, once=True)
    assert (restarts, faults.told) == (1, [])


async def test_a_vital_job_that_ends_is_not_started_again_and_its_end_is_told():
    ended = asyncio.get_running_loop().create_future()

    async def vital():
        raise ValueError("torn")

    faults = Faults()
    async with Tasks(faults, ended.set_result, AT_ONCE) as tasks:
        await tasks.start("a", "vital", vital, vital=True)
        assert await ended == "ValueError: torn"
    assert faults.told == [("a", "vital", "background job vital: ValueError: torn")]


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
        task = tasks.start("a", "self", lambda: tasks.cancel("a"), once=True)
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
