"""Our client against Go's ttrpc server; and the same bad input to Go's server and to ours."""

import asyncio

import pytest
from google.protobuf.empty_pb2 import Empty
from holdfast.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    HoldfastError,
    NotFound,
    ResourceExhausted,
    Unimplemented,
)
from holdfast.ttrpc import Client

from tests.unit.ttrpc.harness import Number, Stubs, Text, echo, raw_client, socket_path
from tests.unit.ttrpc.test_server import ROWS

pytestmark = pytest.mark.peer
MAX = 4 << 20


@pytest.fixture
async def go_server(ttrpcpeer, start):
    with socket_path() as path:
        running = await start(ttrpcpeer, "serve", path)
        await running.line("serving")
        yield path, running


@pytest.fixture
async def stubs(go_server):
    async with Client(go_server[0]) as client:
        yield Stubs(client)


async def test_unary(stubs):
    assert (await stubs.Say(Text(value="hello"))).value == "hello"


async def test_metadata_and_the_deadline_arrive(stubs):
    reply = await stubs.Context(Text(), timeout=60, metadata={"Key": ("a", "b"), "other": "c"})
    assert reply.value == "/test.Echo/Context key=a,key=b,other=c 60"


async def test_errors_are_classes_by_code_with_go_s_words(stubs):
    for word, words in (("status", "no such thing"), ("not-exist", "file does not exist")):
        with pytest.raises(NotFound, match=f"^{words}$"):
            await stubs.Fail(Text(value=word))
    with pytest.raises(HoldfastError, match=r"^plain$") as unknown:
        await stubs.Fail(Text(value="plain"))
    assert unknown.value.code == 2
    with pytest.raises(Unimplemented, match=r"^method Wrong$"):
        await stubs.Wrong(Text())


async def test_every_kind_of_stream(stubs):
    async with stubs.Count(Number(value=30)) as call:
        assert [number.value async for number in call] == list(range(30))
    async with stubs.FromEmpty(Empty()) as call:
        assert [word.value async for word in call] == ["one", "two"]
    async with stubs.BrokenStream(Empty()) as call:
        assert (await call.receive()).value == 1
        with pytest.raises(NotFound, match=r"^no more$"):
            await call.receive()
    async with stubs.Total() as call:
        for number in range(202):
            await call.send(Number(value=number))
        assert (await call.finish()).value == sum(range(202))
    async with stubs.EchoStream() as call:
        for number in range(50):
            await call.send(Text(value=str(number)))
            assert (await call.receive()).value == str(number)
        await call.half_close()
        assert [reply async for reply in call] == []


async def test_empty_messages_are_messages(stubs):
    async with stubs.EchoStream() as call:
        for _ in range(50):
            await call.send(Text())
        await call.half_close()
        assert [reply.value async for reply in call] == [""] * 50


async def test_a_stream_the_server_ends_first_drops_what_is_late(stubs):
    async with stubs.FirstOnly() as call:
        await call.send(Text(value="a"))
        assert [reply.value async for reply in call] == ["a"]
        with pytest.raises(EOFError):
            await call.send(Text(value="late"))
    assert (await stubs.Say(Text(value="next"))).value == "next"


async def test_a_thousand_concurrent_calls(stubs):
    replies = await asyncio.gather(*(stubs.Say(Text(value=str(number))) for number in range(1000)))
    assert [reply.value for reply in replies] == [str(number) for number in range(1000)]


async def test_an_oversized_request_fails_here_and_the_largest_is_served(stubs):
    with pytest.raises(ResourceExhausted, match=r"^message length \d+ exceed maximum message size of 4194304$"):
        await stubs.Say(Text(value="x" * MAX))
    assert len((await stubs.Say(Text(value="x" * (MAX - 40)))).value) == MAX - 40


async def test_a_go_server_that_makes_an_oversized_reply_drops_the_connection_and_the_next_call_connects(stubs):
    with pytest.raises(ConnectionClosed, match=r"^ttrpc: closed$"):
        await stubs.Big(Number(value=MAX))
    assert (await stubs.Say(Text(value="again"))).value == "again"


async def test_a_deadline_that_passes(stubs):
    with pytest.raises(DeadlineExceeded):
        await stubs.Block(Text(value="late"), timeout=0.02)
    assert (await stubs.Say(Text(value="next"))).value == "next"


async def test_shutdown_of_the_server_is_a_closed_connection(go_server, stubs):
    _, running = go_server
    await stubs.Say(Text())
    running.say("shutdown")
    assert await running.line("shutdown") == "shutdown <nil>"
    with pytest.raises(ConnectionClosed):
        await stubs.Say(Text())


SHARED = [row for row in ROWS if row not in ("wrong reply", "deadline that passed", "data after half-close")]


@pytest.mark.parametrize("row", SHARED)
async def test_bad_input_gets_the_same_answers_from_both_servers(go_server, row):
    frames, answers = ROWS[row]
    async with echo() as (_, _, _, our_path):
        for path in (go_server[0], our_path):
            async with raw_client(path) as raw:
                raw.send(*frames)
                assert sorted([await raw.refusal() for _ in answers]) == sorted(answers)
