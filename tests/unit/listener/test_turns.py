from __future__ import annotations

import asyncio
import time

import pytest
from holdfast.listener import turns as ours
from holdfast.listener.shares import Share
from holdfast.listener.turns import Turns

from tests.running import PATIENCE_S


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def turns(pauses):
    return Turns(lambda: pauses.append("paused"))


async def taken(turns, peer, log, number=1):
    """Take so many turns one after another; each is logged, and costs 10 ms."""
    for _ in range(number):
        await turns.wait(peer)
        log.append(peer)
        turns.took(peer, 10)


async def test_a_peer_within_its_share_does_not_wait_and_one_beyond_does_for_as_long_as_it_is(turns, pauses):
    turns.took("many", ours.PEER.burst + 9)
    began = time.monotonic()
    await turns.wait("one")
    assert pauses == []
    await turns.wait("many")
    assert (pauses, time.monotonic() - began >= 0.1) == (["paused"], True)


async def test_beyond_the_share_of_all_each_peer_that_waits_has_a_turn_before_one_has_its_second(turns):
    turns.took("x", 1e9)
    log = []
    async with asyncio.TaskGroup() as tasks:
        for peer in ("a", "a", "a", "b", "c"):
            tasks.create_task(taken(turns, peer, log))
    assert log == ["a", "b", "c", "a", "a"]


async def test_all_peers_together_take_no_more_than_the_share_of_all(monkeypatch):
    monkeypatch.setattr(ours, "ALL", Share(10, 200))
    turns, log = Turns(lambda: None), []
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(taken(turns, f"{number}", log, 5))
    assert time.monotonic() - began > (len(log) * 10 - 30) / 200


async def test_what_connections_cost_is_charged_to_their_peer_alone(turns, pauses):
    for _ in range(100_000):
        turns.accepted("many")
    await turns.wait("one")
    assert pauses == []
    waiting = asyncio.ensure_future(turns.wait("many"))
    await asyncio.sleep(0.01)
    assert (pauses, waiting.done()) == (["paused"], False)
    waiting.cancel()


async def test_a_second_after_it_took_too_much_a_peer_is_served_again(turns):
    turns.took("many", 1e9)
    async with asyncio.timeout(PATIENCE_S):
        await turns.wait("many")
        await turns.wait("one")


async def test_a_connection_that_is_cut_while_it_waits_leaves_the_next_one_its_turn(turns):
    turns.took("many", ours.PEER.burst + 9)
    first, next_ = [asyncio.ensure_future(turns.wait("many")) for _ in range(2)]
    await asyncio.sleep(0.01)
    first.cancel()
    async with asyncio.timeout(PATIENCE_S):
        await next_
    assert first.cancelled()


async def test_work_that_has_no_other_reason_to_wait_is_charged_and_stopped_too(turns, pauses):
    async def endless():
        while True:
            await turns.wait("many")
            began = time.thread_time()
            while time.thread_time() - began < 0.02:
                pass

    working = asyncio.ensure_future(turns.charged("many", endless()))
    async with asyncio.timeout(PATIENCE_S):
        while not pauses:
            await turns.wait("one")
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


async def test_what_work_raises_is_raised_and_what_is_thrown_into_it_arrives(turns):
    async def broken():
        await asyncio.sleep(0)
        raise ValueError("torn")

    async def suppressing():
        try:
            await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            arrived.append(True)

    arrived = []
    with pytest.raises(ValueError, match="torn"):
        await turns.charged("one", broken())
    working = asyncio.ensure_future(turns.charged("one", suppressing()))
    await asyncio.sleep(0)
    working.cancel()
    await working
    assert arrived == [True]
