from __future__ import annotations

import asyncio

import pytest
from holdfast.errors import ResourceExhausted, Unavailable
from holdfast.rpc import Gate


async def test_a_drain_without_calls_ends_at_once():
    assert await Gate().drain(0) == 0


async def test_a_drain_waits_for_calls_and_no_longer_than_its_grace():
    gate = Gate()
    with gate:
        assert await gate.drain(0.01) == 1
    assert await gate.drain(0) == 0


async def test_nobody_passes_a_closed_gate():
    gate = Gate()
    await gate.drain(0)
    with pytest.raises(Unavailable, match="shutting down"), gate:
        raise AssertionError("passed")


async def test_the_limit_counts_calls_that_run():
    gate = Gate(limit=2)
    with gate, gate:
        with pytest.raises(ResourceExhausted), gate:
            raise AssertionError("passed")
        assert gate.running == 2
    with gate:
        assert gate.running == 1


async def test_a_share_leaves_the_rest_to_others_and_counts_in_the_whole():
    gate = Gate(limit=3)
    share = gate.share(2)
    with share, share:
        with pytest.raises(ResourceExhausted, match="more than 2 concurrent calls"), share:
            raise AssertionError("passed")
        with gate:
            assert (gate.running, share.running) == (3, 2)
            with pytest.raises(ResourceExhausted, match="more than 3 concurrent calls"), gate:
                raise AssertionError("passed")
    with gate, gate, gate:
        with pytest.raises(ResourceExhausted, match="more than 3 concurrent calls"), share:
            raise AssertionError("passed")
        assert share.running == 0
    await gate.drain(0)
    with pytest.raises(Unavailable), share:
        raise AssertionError("passed")


async def test_a_drain_cuts_the_streams_of_a_share_too():
    gate = Gate()
    share, entered = gate.share(1), asyncio.Event()

    async def stream():
        mine = share.add_stream()
        with share:
            entered.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                assert share.was_cut()
            finally:
                share.drop_stream(mine)

    task = asyncio.create_task(stream())
    await entered.wait()
    assert await gate.drain(10) == 0
    await task


async def test_a_drain_cuts_streams_and_they_can_tell():
    gate, seen = Gate(), []

    async def stream():
        mine = gate.add_stream()
        try:
            with gate:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append(gate.was_cut())
        finally:
            gate.drop_stream(mine)

    async with asyncio.TaskGroup() as group:
        cut = group.create_task(stream())
        given_up = group.create_task(stream())
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert await gate.drain(10) == 0
        await cut
    assert seen == [False, True]


async def test_a_stream_that_is_sending_is_cut_when_the_message_is_out_or_after_a_moment(monkeypatch):
    monkeypatch.setattr("holdfast.rpc.draining.SENDING_S", 0.05)
    gate, taken, ended = Gate(), asyncio.Event(), []

    async def stream(name, sent):
        mine = gate.add_stream()
        try:
            with gate:
                mine.sending = True
                await sent.wait()
                mine.sending = False
                assert mine.cut
                ended.append(f"{name} sent")
        except asyncio.CancelledError:
            ended.append(f"{name} cancelled")
        finally:
            gate.drop_stream(mine)

    async with asyncio.TaskGroup() as group:
        group.create_task(stream("quick", taken))
        group.create_task(stream("stuck", asyncio.Event()))
        await asyncio.sleep(0)
        drain = group.create_task(gate.drain(10))
        await asyncio.sleep(0)
        assert ended == []
        taken.set()
        assert await drain == 0
    assert ended == ["quick sent", "stuck cancelled"]


async def test_a_call_that_raises_leaves_all_the_same():
    gate = Gate()
    with pytest.raises(ValueError, match="x"), gate:
        raise ValueError("x")
    assert gate.running == 0
