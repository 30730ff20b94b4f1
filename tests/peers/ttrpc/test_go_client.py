"""Go's ttrpc client against our server."""

import asyncio
import re

import pytest

from tests.unit.ttrpc.harness import Echo, serving

pytestmark = pytest.mark.peer
OVERSIZE = "8 message length {} exceed maximum message size of 4194304"


@pytest.fixture
async def asking(ttrpcpeer, start):
    """Runs one scenario of the Go client against our Echo service; its lines."""

    async def ask(scenario):
        service = Echo()
        async with serving(service.register) as (_, path):
            client = await start(ttrpcpeer, "call", path, scenario, stderr=asyncio.subprocess.DEVNULL)
            lines, code = await client.rest()  # stderr is Go's log of answers that came too late for its callers
            assert (code, lines[-1].startswith("failed")) == (0, False), lines
            return lines

    return ask


async def test_unary(asking):
    assert await asking("unary") == ["hello"]


async def test_metadata_and_the_deadline_arrive(asking):
    (line,) = await asking("metadata")
    assert line == "/test.Echo/Context key=a,key=b 60"


async def test_errors_are_statuses_with_their_words(asking):
    assert await asking("errors") == [
        "12 method NoSuchMethod",
        "2 ttrpc: marshal called with nil",
        "12 service no.such.Service",
        "5 gone",
    ]


async def test_every_kind_of_stream(asking):
    assert await asking("streams") == [
        "count 30 29 <nil>",
        "from empty 2 <nil>",
        "broken 1 5 no more",
        f"total {sum(range(202))} <nil>",
        "echo 0 <nil>",
    ]


async def test_a_thousand_empty_messages_of_ten_senders(asking):
    assert await asking("nulls") == ["1000 <nil>"]


async def test_a_thousand_concurrent_calls(asking):
    assert await asking("concurrent") == ["wrong 0"]


async def test_oversize_in_both_directions_leaves_the_connection(asking):
    lines = await asking("oversize")
    assert re.search(r"message length 41943\d\d exceed maximum message size of 4194304$", lines[0])
    assert lines[1:] == [OVERSIZE.format((4 << 20) + 10), str((4 << 20) - 10) + " <nil>", "hello"]


async def test_a_deadline_that_passes(asking):
    assert await asking("deadline") == ["true", "hello"]


async def test_unread_answers_of_one_stream_hold_up_nothing(asking):
    assert await asking("unread") == ["hello"]


async def test_a_stream_that_ends_before_the_client_half_closes(asking):
    assert await asking("first") == ["1 <nil> <nil>", "hello"]


async def test_shutdown_answers_the_five_calls_in_progress(ttrpcpeer, start):
    service = Echo()
    async with serving(service.register) as (server, path):
        client = await start(ttrpcpeer, "call", path, "blocked")
        for _ in range(5):
            await service.started.get()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.shutdown())
            await asyncio.sleep(0)
            service.release.set()
        assert await client.rest() == ([f"{number} <nil>" for number in range(5)] + ["error ttrpc: closed"], 0)
