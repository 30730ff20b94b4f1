"""Cases of Go's ttrpc suite that no other test here has; docs/ttrpc.md says which case is which test."""

import asyncio

import pytest
from google.protobuf.empty_pb2 import Empty
from holdfast.errors import ConnectionClosed
from holdfast.ttrpc import Client, Method

from tests.unit.ttrpc.harness import Echo, Number, Stubs, Text, echo, serving, socket_path


async def total_of_nothing(requests, call):
    async for _ in requests:
        pass
    return Empty()


async def nothing_each(requests, call):
    async for _ in requests:
        yield Empty()


def register_nulls(server):
    server.register(
        "test.Null",
        {
            "All": Method(total_of_nothing, Text, Empty, client_streaming=True),
            "Each": Method(nothing_each, Text, Empty, client_streaming=True, server_streaming=True),
        },
    )


async def test_two_calls_at_once_have_each_its_own_metadata():
    async with echo() as (_, stubs, _, _):
        replies = await asyncio.gather(
            *(stubs.Context(Text(), metadata={"foo": value, "only": value}) for value in ("bar", "baz"))
        )
        assert [reply.value for reply in replies] == [
            f"/test.Echo/Context foo={value},only={value} None" for value in ("bar", "baz")
        ]


async def test_once_the_server_is_gone_the_callback_has_run_and_the_next_call_is_closed():
    gone = asyncio.Event()
    with socket_path() as path:
        async with Client(path, on_disconnect=gone.set) as client:
            async with serving(Echo().register, path=path):
                await Stubs(client).Say(Text())
                assert not gone.is_set()
            await gone.wait()
            with pytest.raises(ConnectionClosed):
                await Stubs(client).Say(Text())


async def test_close_returns_when_the_callback_has_run():
    losses = []
    async with echo(client={"on_disconnect": lambda: losses.append(1)}) as (_, stubs, _, path):
        client = Client(path, on_disconnect=lambda: losses.append(2))
        await Stubs(client).Say(Text())
        await client.close()
        assert losses == [2]
        await stubs.Say(Text())  # another client's connection is none of its business


@pytest.mark.parametrize("name", ["Say", "EchoStream"])
async def test_whoever_kept_a_call_sees_that_it_is_over_once_its_handler_returned(name):
    kept = []

    def keep(full_method, kind, handler):
        def kept_call(request, call):
            kept.append((call, call.active))
            return handler(request, call)

        return kept_call

    async with echo(interceptors=[keep]) as (_, stubs, _, _):
        if name == "Say":
            await stubs.Say(Text())
        else:
            async with stubs.EchoStream() as stream:
                await stream.half_close()
                assert [reply async for reply in stream] == []
    assert [(was_active, call.active) for call, was_active in kept] == [(True, False)]


async def test_a_hundred_messages_are_answered_by_one_that_is_empty():
    async with (
        serving(register_nulls) as (_, path),
        Client(path) as client,
        client.client_stream("test.Null", "All", Text, Empty)() as call,
    ):
        for number in range(100):
            await call.send(Text(value=str(number)))
        assert await call.finish() == Empty()


async def test_ten_senders_get_a_thousand_empty_messages_and_the_end():
    async with (
        serving(register_nulls) as (_, path),
        Client(path) as client,
        client.bidi_stream("test.Null", "Each", Text, Empty)() as call,
        asyncio.TaskGroup() as group,
    ):

        async def send():
            for number in range(100):
                await call.send(Text(value=str(number)))

        senders = [group.create_task(send()) for _ in range(10)]
        replies = [await call.receive() for _ in range(1000)]
        await asyncio.gather(*senders)
        await call.half_close()
        with pytest.raises(EOFError):
            await call.receive()
    assert replies == [Empty()] * 1000


async def test_ten_replies_that_nobody_reads_hold_up_neither_a_call_nor_a_stream():
    async with echo() as (_, stubs, _, _), stubs.EchoStream() as unread, stubs.EchoStream() as other:
        for number in range(10):
            await unread.send(Text(value=str(number)))
        assert (await stubs.Say(Text(value="beside it"))).value == "beside it"
        await other.send(Text(value="second"))
        assert (await other.receive()).value == "second"
        assert [(await unread.receive()).value for _ in range(10)] == [str(number) for number in range(10)]


async def test_twenty_messages_to_a_handler_that_never_reads_hold_up_no_call():
    async with echo() as (service, stubs, _, _), stubs.Stuck() as stuck:
        await service.started.get()
        for number in range(20):
            await stuck.send(Text(value=str(number)))
        assert (await stubs.Say(Text(value="beside it"))).value == "beside it"
        service.release.set()
        assert (await stuck.receive()).value == "released"


async def test_thirty_parts_come_in_order_and_then_the_end():
    async with echo() as (_, stubs, _, _), stubs.Count(Number(value=30)) as call:
        assert [(await call.receive()).value for _ in range(30)] == list(range(30))
        with pytest.raises(EOFError):
            await call.receive()
