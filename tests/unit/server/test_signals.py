import asyncio
import os
import signal

import pytest
from holdfast.server.signals import Interrupted, StopRequest, handled

pytestmark = pytest.mark.timeout(120, method="thread")  # the alarm these tests look at is pytest's other method


def send(number):
    os.kill(os.getpid(), number)


async def test_term_asks_once_and_a_second_time_hurries():
    stop = StopRequest(60)
    with handled(stop, lambda: None, lambda: None):
        send(signal.SIGTERM)
        await stop.asked.wait()
        assert not stop.hurry.is_set()
        send(signal.SIGINT)
        await stop.hurry.wait()


async def test_hup_and_usr1_do_their_work_on_the_loop():
    called = asyncio.Queue()
    with handled(StopRequest(60), lambda: called.put_nowait("hup"), lambda: called.put_nowait("usr1")):
        send(signal.SIGHUP)
        assert await called.get() == "hup"
        send(signal.SIGUSR1)
        assert await called.get() == "usr1"


async def test_the_boot_is_interrupted_wherever_it_waits():
    stop = StopRequest(60)

    async def boot():
        with stop.interrupts():
            send(signal.SIGTERM)
            await asyncio.Event().wait()

    with handled(stop, lambda: None, lambda: None), pytest.raises(Interrupted):
        await boot()
    await asyncio.sleep(0)  # the cancellation was used up: this task goes on


async def test_a_stop_that_came_before_the_boot_interrupts_it_at_once():
    stop = StopRequest(60)
    stop.asked.set()
    with pytest.raises(Interrupted), stop.interrupts():
        pytest.fail("the boot went on")


async def test_after_the_boot_a_stop_only_asks():
    stop = StopRequest(60)
    with handled(stop, lambda: None, lambda: None):
        with stop.interrupts():
            pass
        send(signal.SIGTERM)
        await stop.asked.wait()


async def test_somebody_elses_cancellation_is_not_an_interrupt():
    stop = StopRequest(60)

    async def boot():
        with stop.interrupts():
            await asyncio.Event().wait()

    task = asyncio.ensure_future(boot())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_two_signals_while_the_boot_runs_interrupt_it_once():
    stop = StopRequest(60)

    async def boot():
        with stop.interrupts():
            send(signal.SIGTERM)
            send(signal.SIGINT)
            await asyncio.Event().wait()

    with handled(stop, lambda: None, lambda: None):
        with pytest.raises(Interrupted):
            await boot()
        await stop.hurry.wait()


async def test_the_alarm_that_gives_up_ends_with_the_block():
    with handled(StopRequest(60), lambda: None, lambda: None):
        send(signal.SIGTERM)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
