"""One run for all requests at the same time, and never one that began before a request."""

import asyncio
import threading

import pytest
from holdfast.plugins.node.placement.shared_run import SharedRun


class Look:
    """A blocking run that waits until it is released, and answers its number."""

    def __init__(self, fails=False):
        self.began, self.fails = 0, fails
        self.may_end = threading.Semaphore(0)
        self.begins = threading.Semaphore(0)

    def __call__(self):
        self.began += 1
        number = self.began
        self.begins.release()
        self.may_end.acquire()
        if self.fails:
            raise ValueError(number)
        return number


async def begun(look):
    await asyncio.to_thread(look.begins.acquire)


async def test_who_asks_while_one_goes_shares_the_next():
    look = Look()
    shared = SharedRun(look)
    first = asyncio.create_task(shared.ask())
    await begun(look)
    later = [asyncio.create_task(shared.ask()) for _ in range(100)]
    await asyncio.sleep(0)
    look.may_end.release(2)
    assert await first == 1
    assert set(await asyncio.gather(*later)) == {2}
    assert look.began == 2


async def test_who_leaves_takes_nothing_from_the_others():
    look = Look()
    shared = SharedRun(look)
    leaves, stays = asyncio.create_task(shared.ask()), asyncio.create_task(shared.ask())
    await begun(look)
    leaves.cancel()
    look.may_end.release()
    assert await stays == 1


async def test_a_failure_is_that_of_all_who_asked_and_of_nobody_else():
    look = Look(fails=True)
    shared = SharedRun(look)
    asked = [asyncio.create_task(shared.ask()) for _ in range(2)]
    await begun(look)
    look.may_end.release(2)
    for one in asked:
        with pytest.raises(ValueError, match="1"):
            await one
    look.fails = False
    assert await shared.ask() == 2
