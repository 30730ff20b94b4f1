"""The lag of a loop. A turn blocks until the line about it is there, so no speed is assumed."""

import asyncio
import threading
import time

import pytest
from holdfast.server.loop_lag import LoopLag

from tests.running import until


@pytest.fixture
def lag():
    return LoopLag(limit_s=0.02)


@pytest.fixture
def told(caplog):
    """Blocks until the lag is logged; the fields of the line."""

    def wait():
        def find():
            return [one.fields for one in caplog.records if one.name == "holdfast.server.loop_lag"]

        return until(find, "a line about the lag")[-1]

    return wait


def run(lag, main):
    with asyncio.Runner(loop_factory=lag.loop) as runner:
        return runner.run(main)


def counted(lag):
    return sum(lag.seconds.labels().counts)


def test_a_turn_that_blocks_is_counted_and_named_by_its_task_and_place(lag, told):
    async def blocks():
        return told()

    async def main():
        with lag.watched():
            line = await asyncio.create_task(blocks(), name="io.test.v1.x/sample")
            await asyncio.sleep(0)
            return line

    line = run(lag, main())
    assert line["task"] == "io.test.v1.x/sample"
    assert line["seconds"] >= 0.02
    assert "in blocks" in line["traceback"]
    assert counted(lag) >= 1


def test_nothing_is_counted_outside(lag):
    async def main():
        time.sleep(0.05)
        await asyncio.sleep(0)
        with lag.watched():
            pass
        time.sleep(0.05)
        await asyncio.sleep(0)

    run(lag, main())
    assert counted(lag) == 0


def test_the_thread_ends_with_the_watch(lag):
    async def main():
        with lag.watched():
            await asyncio.sleep(0)

    run(lag, main())
    until(lambda: all(one.name != "loop watch" for one in threading.enumerate()), "the thread has ended")
