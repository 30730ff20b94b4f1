import asyncio

import pytest
from holdfast.api.types.event_pb2 import Envelope
from holdfast.errors import Code, ResourceExhausted
from holdfast.events import Event, QueueLimits, Subscription
from holdfast.filters import EVERYTHING, parse_all


def event(topic):
    return Event(Envelope(namespace="ns", topic=topic))


def subscription(limits=QueueLimits(), filters=None):  # noqa: B008 (frozen)
    ended = []
    made = Subscription(parse_all(filters) if filters else EVERYTHING, limits, ended.append)
    return made, ended


async def test_events_come_in_the_order_they_were_offered():
    reading, _ = subscription()
    sent = [event(f"/{number}") for number in range(5)]
    for each in sent:
        assert reading.offer(each) == ""
    assert [await anext(reading) for _ in sent] == sent


async def test_a_reader_waits_for_the_next_event():
    reading, _ = subscription()
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(anext(reading))
        await asyncio.sleep(0)
        assert not waiting.done()
        sent = event("/late")
        reading.offer(sent)
    assert waiting.result() is sent


async def test_one_event_more_than_the_limit_ends_the_subscription_with_the_reason():
    reading, ended = subscription(QueueLimits(events=2))
    dropped = []
    reading.on_drop(lambda: dropped.append(True))
    assert [reading.offer(event("/a")) for _ in range(3)] == ["", "", "events"]
    assert (ended, dropped, len(reading)) == ([reading], [True], 0)
    with pytest.raises(ResourceExhausted) as refused:
        await anext(reading)
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    assert str(refused.value) == (
        "subscriber is too slow: 2 events (16 bytes) wait to be read, and the next one passes the limit of 2 events or "
        "16777216 bytes: resource exhausted"
    )


async def test_bytes_are_limited_too_but_a_first_event_always_fits():
    large = event("/" + "x" * 100)
    reading, _ = subscription(QueueLimits(size=50))
    assert reading.offer(large) == ""
    assert await anext(reading) is large
    assert [reading.offer(event("/small")), reading.offer(large)] == ["", "bytes"]


async def test_what_was_read_makes_room_again():
    reading, _ = subscription(QueueLimits(events=1, size=30))
    for _ in range(100):
        assert reading.offer(event("/a")) == ""
        await anext(reading)
    assert reading.ended_by is None


async def test_closing_ends_a_reader_that_waits_and_gives_the_queue_back():
    reading, ended = subscription()
    seen = []

    async def read():
        async for each in reading:
            seen.append(each)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        await asyncio.sleep(0)
        reading.close()
    assert (seen, ended, reading.ended_by) == ([], [reading], None)


async def test_a_dropped_reader_that_waits_elsewhere_is_told_through_its_callback():
    reading, _ = subscription(QueueLimits(events=1))
    never = asyncio.Event()

    async def read():
        reading.on_drop(asyncio.current_task().cancel)
        async for _ in reading:
            await never.wait()  # a client that does not read

    async with asyncio.TaskGroup() as tasks:
        stuck = tasks.create_task(read())
        await asyncio.sleep(0)
        for _ in range(3):
            reading.offer(event("/a"))
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await stuck
    assert isinstance(reading.ended_by, ResourceExhausted)


async def test_leaving_the_block_closes():
    made, ended = subscription()
    with made as reading:
        assert reading is made
    assert ended == [made]


async def test_only_what_the_filters_match_is_wanted():
    reading, _ = subscription(filters=['topic=="/a"', "namespace==other"])
    assert [reading.wants(event("/a")), reading.wants(event("/b"))] == [True, False]
