"""When the loop polls the kernel, and when it sleeps. The clock is a hand's; epoll is real."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import socket
import threading

import pytest
from holdfast import loop
from holdfast.loop import WINDOW_S, LookingSelector, new_event_loop

SLEEP = -1
STEP_S = WINDOW_S / 3.5  # so the fourth look is within the window, the fifth would not be


class Told:
    """The real epoll, and its timeouts: 0 to poll, -1 to sleep without a limit, seconds."""

    def __init__(self, epoll, clock, waker):
        self._epoll, self._clock, self._waker = epoll, clock, waker
        self.asked: list[float] = []

    def poll(self, timeout, maxevents):
        self.asked.append(timeout)
        self._clock.now += STEP_S
        if timeout != 0:
            self._clock.now += self._clock.sleeps_s
            self._waker.send(b"x")  # or nobody would wake us
        return self._epoll.poll(timeout, maxevents)

    def __getattr__(self, name):
        return getattr(self._epoll, name)


class Clock:
    now = 100.0
    sleeps_s = 0.0


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(loop, "monotonic", lambda: made.now)
    return made


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def looking(clock, pair):
    with LookingSelector() as selector:
        selector.register(pair[0], selectors.EVENT_READ)
        selector._selector = told = Told(selector._selector, clock, pair[1])
        selector.told = told
        yield selector


def read(pair):
    pair[0].recv(100)


def found(ready):
    return [key.fd for key, _ in ready]


def test_the_first_wait_sleeps(looking, pair):
    assert found(looking.select()) == [pair[0].fileno()]
    assert looking.told.asked == [SLEEP]


def test_after_a_short_wait_it_looks_and_finds_without_sleeping(looking, pair):
    looking.select()
    assert found(looking.select()) == [pair[0].fileno()]  # nobody read it
    assert looking.told.asked == [SLEEP, 0]


def test_what_comes_while_it_looks_is_found_there(looking, pair, monkeypatch):
    looking.select()
    read(pair)
    monkeypatch.setattr(os, "sched_yield", lambda: pair[1].send(b"y"))
    assert found(looking.select()) == [pair[0].fileno()]
    assert looking.told.asked == [SLEEP, 0, 0]


def test_it_looks_for_a_window_at_most_and_sleeps_for_the_rest(looking, pair):
    looking.select()
    read(pair)
    assert found(looking.select(5)) == [pair[0].fileno()]
    *looks, sleep = looking.told.asked[1:]
    assert looks == [0] * 4
    assert sleep == pytest.approx(5, abs=0.001)


def test_after_a_long_wait_the_next_one_sleeps_at_once(looking, pair, clock):
    looking.select()
    read(pair)
    clock.sleeps_s = 10 * WINDOW_S
    looking.select()
    read(pair)
    looking.told.asked.clear()
    looking.select()
    assert looking.told.asked == [SLEEP]


def test_a_timer_that_is_nearly_due_is_waited_for_asleep(looking, pair):
    looking.select()
    read(pair)
    looking.select(WINDOW_S / 2)
    assert looking.told.asked[1:] == [0.001]  # epoll's own grain


def test_turns_that_have_work_look_once_a_window(looking, pair, clock):
    looking.select()
    assert looking.select(0) == []
    assert looking.told.asked == [SLEEP]
    clock.now += 1.5 * WINDOW_S
    assert found(looking.select(0)) == [pair[0].fileno()]
    assert looking.select(0) == []
    assert looking.told.asked == [SLEEP, 0]


def test_one_processor_has_the_plain_loop(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    made = new_event_loop()
    assert not isinstance(made._selector, LookingSelector)
    made.close()


def test_messages_timers_threads_and_signals_reach_a_loop_of_ours(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    async def main():
        running, signalled, called = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        assert isinstance(running._selector, LookingSelector)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)

        async def echo():
            while data := await running.sock_recv(theirs, 16):
                await running.sock_sendall(theirs, data)

        task = asyncio.create_task(echo())
        for number in range(500):
            await running.sock_sendall(ours, b"%d" % number)
            assert await running.sock_recv(ours, 16) == b"%d" % number
        ours.close()
        await task
        theirs.close()
        running.add_signal_handler(signal.SIGUSR1, signalled.set)
        signal.raise_signal(signal.SIGUSR1)
        threading.Thread(target=running.call_soon_threadsafe, args=[called.set]).start()
        async with asyncio.timeout(30):
            await signalled.wait()
            await called.wait()
            await asyncio.sleep(0.002)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())


def test_busy_tasks_do_not_keep_a_message_waiting():
    async def main():
        running = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)

            async def busy():
                while True:
                    await asyncio.sleep(0)

            task = asyncio.create_task(busy())
            theirs.send(b"x")
            async with asyncio.timeout(30):
                assert await running.sock_recv(ours, 1) == b"x"
            task.cancel()

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(LookingSelector())) as runner:
        runner.run(main())
