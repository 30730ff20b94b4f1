from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import pytest
from holdfast.listener import acceptor as ours
from holdfast.listener.acceptor import Acceptor

from tests.running import PATIENCE_S, async_until


@contextlib.contextmanager
def accepting():
    """Gives a function that connects so many times, and the list of the times at which these were accepted."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    times: list[float] = []

    def take(client, peer):
        client.close()
        times.append(time.monotonic())

    def connect(number):
        for _ in range(number):
            clients.enter_context(socket.create_connection(address, PATIENCE_S))

    address, acceptor = sock.getsockname(), Acceptor("metrics", sock, take)
    with contextlib.ExitStack() as clients:
        yield acceptor, connect, times
        acceptor.close()


async def test_few_connections_are_accepted_at_once(monkeypatch):
    monkeypatch.setattr(ours, "PAUSE_S", PATIENCE_S)
    monkeypatch.setattr(ours, "LONGEST_S", PATIENCE_S)
    with accepting() as (acceptor, connect, times):
        acceptor.start()
        for number in range(1, ours.CROWD + 1):
            connect(1)
            await async_until(lambda number=number: len(times) == number)


async def test_after_many_the_next_wait_and_are_accepted_together(monkeypatch):
    monkeypatch.setattr(ours, "PAUSE_S", 0.5)
    monkeypatch.setattr(ours, "LONGEST_S", 0.5)
    with accepting() as (acceptor, connect, times):
        connect(ours.CROWD + 1)
        acceptor.start()
        await async_until(lambda: len(times) == ours.CROWD + 1)
        connect(40)
        await async_until(lambda: len(times) == ours.CROWD + 41)
    crowd, later = times[: ours.CROWD + 1], times[ours.CROWD + 1 :]
    assert later[0] - crowd[-1] > 0.45


async def test_a_queue_that_is_never_empty_is_left_too_and_for_longer_the_longer_it_took(monkeypatch):
    monkeypatch.setattr(ours, "BACKLOG", 32)
    monkeypatch.setattr(ours, "PAUSE_S", 0)
    monkeypatch.setattr(ours, "LONGEST_S", PATIENCE_S)
    monkeypatch.setattr(ours, "SHARE", 1e-3)
    with accepting() as (acceptor, connect, times):
        connect(48)
        acceptor.start()
        await async_until(lambda: len(times) == 48)
    assert times[32] - times[31] > 50 * (times[31] - times[0])


@pytest.mark.parametrize("number", [0, ours.CROWD + 1])
async def test_closing_ends_a_pause(number):
    with accepting() as (acceptor, connect, times):
        connect(number)
        acceptor.start()
        await async_until(lambda: len(times) == number)
        await asyncio.sleep(0)
    await asyncio.sleep(2 * ours.PAUSE_S)  # nothing is started again on the closed socket
