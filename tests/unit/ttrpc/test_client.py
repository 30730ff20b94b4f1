import asyncio
import os
import socket
from math import inf

import pytest
from google.protobuf.empty_pb2 import Empty
from holdfast.api.services.ttrpc.events.v1 import events_ttrpc
from holdfast.errors import (
    Code,
    ConnectionClosed,
    DeadlineExceeded,
    HoldfastError,
    MisusedStream,
    NotFound,
    OutOfRange,
    PeerBrokeProtocol,
    ResourceExhausted,
    Unimplemented,
)
from holdfast.ttrpc import CallOptions, Client, Limits, Metadata, Reconnect, unix
from holdfast.ttrpc.frame import MAX_STREAM_ID

from tests.unit.ttrpc.harness import (
    DATA,
    RESPONSE,
    Echo,
    Number,
    Raw,
    Stubs,
    Text,
    echo,
    frame,
    serving,
    socket_path,
)

MAX = 4 << 20
FAST = Reconnect(first_s=0.001, longest_s=0.002)
HI = b"\x12\x04" + Text(value="hi").SerializeToString()


async def against(script, path):
    """A server that is a script: ``script(Raw)`` is run for each connection."""

    async def connected(reader, writer):
        try:
            await script(Raw(reader, writer))
        finally:
            writer.close()

    return await asyncio.start_unix_server(connected, path)


async def test_unary_and_a_hundred_messages_each_way_and_then_the_end():
    async with echo() as (_, stubs, _, _):
        assert (await stubs.Say(Text(value="hello"))).value == "hello"
        async with stubs.EchoStream() as call:
            for number in range(100):
                await call.send(Text(value=str(number)))
                assert (await call.receive()).value == str(number)
            await call.half_close()
            with pytest.raises(EOFError):
                await call.receive()


async def test_a_server_stream_is_iterated_to_its_end():
    async with echo() as (_, stubs, _, _):
        async with stubs.Count(Number(value=30)) as call:
            assert [number.value async for number in call] == list(range(30))
        async with stubs.FromEmpty(Empty()) as call:
            assert [word.value async for word in call] == ["one", "two"]


async def test_a_client_stream_has_one_answer():
    async with echo() as (_, stubs, _, _), stubs.Total() as call:
        for number in range(202):
            await call.send(Number(value=number))
        assert (await call.finish()).value == sum(range(202))
        assert (await call.finish()).value == sum(range(202))


async def test_empty_messages_are_messages():
    async with echo() as (_, stubs, _, _), stubs.EchoStream() as call:
        for _ in range(100):
            await call.send(Text())
        await call.half_close()
        assert [reply.value async for reply in call] == [""] * 100


async def test_ten_senders_on_one_stream_lose_nothing():
    async with echo() as (_, stubs, _, _), stubs.EchoStream() as call:

        async def send(sender):
            for number in range(100):
                await call.send(Text(value=f"{sender}.{number}"))

        await asyncio.gather(*(send(sender) for sender in range(10)))
        await call.half_close()
        replies = [reply.value async for reply in call]
    assert len(replies) == 1000
    for sender in range(10):  # each sender's own messages stay in order
        own = [reply for reply in replies if reply.startswith(f"{sender}.")]
        assert own == [f"{sender}.{number}" for number in range(100)]


async def test_errors_come_back_as_the_class_of_their_code_with_their_words():
    async with echo() as (_, stubs, _, _):
        with pytest.raises(NotFound, match=r"^gone$"):
            await stubs.Fail(Text(value="FileNotFoundError('gone')"))
        with pytest.raises(OutOfRange, match=r"^end$"):
            await stubs.Fail(Text(value="EOFError('end')"))
        async with stubs.BrokenStream(Empty()) as call:
            assert (await call.receive()).value == 1
            with pytest.raises(NotFound, match=r"^no more$"):
                await call.receive()


async def test_an_unknown_service_is_unimplemented():
    async with serving() as (_, path), Client(path) as client:
        with pytest.raises(Unimplemented, match=r"^service test\.Echo$"):
            await Stubs(client).Say(Text())


async def test_metadata_and_deadline_reach_the_server_on_every_kind():
    seen = []

    def wrap(full_method, kind, handler):
        def look(request, call):
            seen.append((full_method, dict(call.metadata), round(call.time_remaining())))
            return handler(request, call)

        return look

    options = {"timeout": 60, "metadata": {"Key": ("a", "b")}}
    async with echo(interceptors=[wrap]) as (_, stubs, _, _):
        await stubs.Say(Text(), **options)
        async with stubs.Total(**options) as call:
            await call.finish()
        async with stubs.Count(Number(), **options) as call, stubs.EchoStream(**options) as other:
            await other.half_close()
            assert [[reply async for reply in one] for one in (call, other)] == [[], []]
    assert seen == [(f"/test.Echo/{name}", {"key": ("a", "b")}, 60) for name in ("Say", "Total", "Count", "EchoStream")]


async def test_the_deadline_is_kept_here_too_when_the_server_says_nothing_and_the_late_answer_is_dropped():
    async def silent(raw):
        connected, *_ = await raw.receive()
        raw.send(frame(connected, RESPONSE, 0, HI))
        first, *_ = await raw.receive()
        second, *_ = await raw.receive()  # sent only after the first call gave up
        raw.send(frame(first, RESPONSE, 0, b"\xff"), frame(second, RESPONSE, 0, HI))
        await raw.reader.read()

    with socket_path() as path:
        async with await against(silent, path), Client(path) as client:
            await Stubs(client).Say(Text())  # connected: the next call is on the wire at once, however short its time
            with pytest.raises(DeadlineExceeded, match=r"^context deadline exceeded$"):
                await Stubs(client).Say(Text(), timeout=0.01)
            assert (await Stubs(client).Say(Text(), timeout=60)).value == "hi"
            assert client._session.connection.strays == 1


async def test_a_streams_deadline_ends_it():
    async with echo() as (_, stubs, _, _):
        await stubs.Say(Text())
        async with stubs.Stuck(timeout=0.01) as call:
            with pytest.raises(DeadlineExceeded):
                await call.receive()
            with pytest.raises(DeadlineExceeded):
                await call.send(Text())


async def test_a_deadline_that_passed_is_not_even_sent():
    with pytest.raises(DeadlineExceeded):
        await Stubs(Client("/nowhere")).Say(Text(), timeout=0)


async def test_a_cancelled_caller_is_forgotten():
    async with echo() as (service, stubs, _, _):
        async with asyncio.TaskGroup() as group:
            call = group.create_task(stubs.Block(Text(value="x")))
            await service.started.get()
            call.cancel()
        service.release.set()
        assert (await stubs.Say(Text(value="next"))).value == "next"


async def test_leaving_the_block_ends_the_call_whatever_happened():
    async with echo() as (_, stubs, _, path), Client(path) as client:
        try:
            async with Stubs(client).Stuck() as call:
                assert len(client._session.connection.streams) == 1
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert client._session.connection.streams == {}
        with pytest.raises(MisusedStream):
            await call.send(Text())
        assert stubs


async def test_a_request_that_does_not_fit_fails_here_and_the_connection_goes_on():
    async with echo() as (_, stubs, server, _):
        with pytest.raises(ResourceExhausted, match=r"^message length \d+ exceed maximum message size of 4194304$"):
            await stubs.Say(Text(value="x" * (MAX + 1)))
        async with stubs.EchoStream() as call:
            with pytest.raises(ResourceExhausted):
                await call.send(Text(value="x" * (MAX + 1)))
            await call.send(Text(value="small"))
            assert (await call.receive()).value == "small"
        assert server.connections == 1


async def test_a_reply_that_does_not_fit_is_an_error_on_both_ends_and_the_connection_goes_on():
    async with echo() as (_, stubs, server, _):
        with pytest.raises(ResourceExhausted):
            await stubs.Big(Number(value=MAX))
        assert len((await stubs.Big(Number(value=MAX - 20))).value) == MAX - 20
        assert server.connections == 1


async def test_a_frame_that_is_too_long_fails_its_call_alone():
    async def too_long(raw):
        for _ in range(2):
            await raw.receive()
        raw.send(frame(1, RESPONSE, 0, bytes(MAX + 1)), frame(3, RESPONSE, 0, HI))
        await raw.reader.read()

    with socket_path() as path:
        async with await against(too_long, path), Client(path) as client:
            stubs = Stubs(client)
            big, small = await asyncio.gather(stubs.Say(Text()), stubs.Say(Text()), return_exceptions=True)
            assert (big.code, str(big)) == (
                Code.RESOURCE_EXHAUSTED,
                "message length 4194305 exceed maximum message size of 4194304",
            )
            assert small.value == "hi"


async def test_what_breaks_the_protocol_on_one_call_fails_that_call_alone():
    async def odd(raw):
        for _ in range(3):
            await raw.receive()
        raw.send(
            frame(77, RESPONSE),
            frame(1, DATA, 0, b""),
            frame(3, RESPONSE, 0, b"\x12\x02\xff\xff"),
            frame(5, RESPONSE, 0, HI),
        )
        await raw.reader.read()

    with socket_path() as path:
        async with await against(odd, path), Client(path) as client:
            say = Stubs(client).Say
            results = await asyncio.gather(*(say(Text()) for _ in range(3)), return_exceptions=True)
            assert [type(result) for result in results] == [PeerBrokeProtocol, PeerBrokeProtocol, Text]


async def test_calls_in_progress_fail_when_the_server_goes_away_and_what_was_queued_is_delivered():
    async def half(raw):
        await raw.receive()
        await raw.receive()
        message = Text(value="queued").SerializeToString()
        raw.send(frame(1, DATA, 0, message), frame(3, RESPONSE, 0, HI), b"\x00\x00")

    with socket_path() as path:
        async with await against(half, path), Client(path) as client:
            stubs = Stubs(client)
            async with stubs.EchoStream() as call:
                assert (await stubs.Say(Text())).value == "hi"
                assert (await call.receive()).value == "queued"
                with pytest.raises(ConnectionClosed, match=r"^ttrpc: closed$"):
                    await call.receive()
                with pytest.raises(ConnectionClosed):
                    await call.send(Text())


async def test_a_lost_connection_is_made_anew_by_the_next_call():
    losses = asyncio.Queue()
    with socket_path() as path:
        client = Client(path, on_disconnect=lambda: losses.put_nowait(1), reconnect=FAST)
        stubs = Stubs(client)
        for _ in range(2):
            service = Echo()
            async with serving(service.register, path=path):
                assert (await stubs.Say(Text(value="x"), timeout=60, wait_for_ready=True)).value == "x"
            os.unlink(path)
            await losses.get()
        await client.close()
        assert losses.empty()


async def test_a_call_that_does_not_wait_fails_when_nobody_listens():
    with socket_path() as path:
        async with Client(path, reconnect=FAST) as client:
            for _ in range(3):
                with pytest.raises(ConnectionClosed, match=r"^ttrpc: cannot connect: "):
                    await Stubs(client).Say(Text())


async def test_a_call_that_waits_gives_up_at_its_deadline():
    with socket_path() as path:
        async with Client(path, reconnect=FAST) as client:
            with pytest.raises(DeadlineExceeded):
                await Stubs(client).Say(Text(), timeout=0.02, wait_for_ready=True)


async def test_a_call_that_waits_is_served_once_somebody_listens():
    attempts = asyncio.Queue()
    service = Echo()
    with socket_path() as path:
        dial = unix(path)

        async def connect(factory):
            attempts.put_nowait(1)
            return await dial(factory)

        async with Client(connect, reconnect=FAST) as client, asyncio.TaskGroup() as group:
            call = group.create_task(Stubs(client).Say(Text(value="late"), timeout=60, wait_for_ready=True))
            for _ in range(3):
                await attempts.get()
            async with serving(service.register, path=path):
                assert (await call).value == "late"


async def test_many_callers_share_one_connection_that_is_made_once():
    service = Echo()
    async with serving(service.register) as (server, path), Client(path) as client:
        replies = await asyncio.gather(*(Stubs(client).Say(Text(value=str(i))) for i in range(100)))
        assert [reply.value for reply in replies] == [str(i) for i in range(100)]
        assert server.connections == 1


async def test_the_wait_grows_to_its_longest_and_is_never_more():
    policy = Reconnect(first_s=1, factor=2, longest_s=10, jitter=0.2)
    assert [policy.delay_s(failures, 0) for failures in (1, 2, 3, 4, 5, 10**6)] == [1, 2, 4, 8, 10, 10]
    assert policy.delay_s(1, 0.5) == pytest.approx(0.9)
    assert all(0.8 <= policy.delay_s(1) <= 1 for _ in range(100))


async def test_after_the_last_id_the_next_call_makes_a_new_connection_and_the_old_one_finishes_its_calls():
    async with echo() as (service, _, _, path), Client(path) as client:
        stubs = Stubs(client)
        await stubs.Say(Text())
        old = client._session
        old.connection._next_id = MAX_STREAM_ID
        async with asyncio.TaskGroup() as group:
            last = group.create_task(stubs.Block(Text(value="last")))
            await service.started.get()
            assert (await stubs.Say(Text(value="new"))).value == "new"
            assert client._session is not old
            service.release.set()
        assert last.result().value == "last"
        await old.ended.wait()


async def test_a_closed_client_stays_closed():
    async with echo() as (service, _, _, path):
        client = Client(path)
        stubs = Stubs(client)
        async with asyncio.TaskGroup() as group:
            call = group.create_task(fails(stubs.Block(Text())))
            await service.started.get()
            await client.close()
        assert isinstance(call.result(), ConnectionClosed)
        with pytest.raises(ConnectionClosed, match=r"^ttrpc: closed$"):
            await stubs.Say(Text())


async def fails(awaitable):
    try:
        return await awaitable
    except HoldfastError as error:
        return error


async def test_a_reader_that_does_not_read_blocks_nobody():
    async with echo() as (_, _, _, path), Client(path, limits=Limits(stream_bytes=10_000)) as client:
        stubs = Stubs(client)
        async with stubs.Count(Number(value=1000)) as unread, stubs.EchoStream() as other:
            for number in range(10):
                await other.send(Text(value=str(number)))
                assert (await other.receive()).value == str(number)
            assert (await stubs.Say(Text(value="x"))).value == "x"
            with pytest.raises(ResourceExhausted, match=r"^ttrpc: stream buffer full$"):
                async for _ in unread:
                    pass


async def test_a_caller_s_deadline_covers_waiting_for_a_server_that_does_not_read():
    with socket_path() as path, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        async with Client(path, limits=Limits(write_bytes=1 << 10)) as client:
            stubs = Stubs(client)
            await client._connected(inf, CallOptions())
            big = Text(value="x" * (1 << 20))
            first = asyncio.ensure_future(fails(stubs.Say(big, timeout=0.02)))
            with pytest.raises(DeadlineExceeded):
                await stubs.Say(Text(value="queued behind it"), timeout=0.01)
            assert isinstance(await first, DeadlineExceeded)
            assert client._session.paused
            with pytest.raises(DeadlineExceeded):
                await stubs.Say(Text(value="after"), timeout=0.01)


async def test_interceptors_wrap_once_the_first_outermost_and_see_streams_too():
    order = []

    def named(name):
        def wrap(full_method, kind, invoke):
            order.append(("wrap", name))

            async def call(request, options):
                order.append((name, full_method, kind.value, options.metadata.first("key")))
                return await invoke(request, options)

            return call

        return wrap

    async with echo() as (_, _, _, path), Client(path, interceptors=[named("outer"), named("inner")]) as client:
        say = client.unary("test.Echo", "Say", Text, Text)
        total = client.client_stream("test.Echo", "Total", Number, Number)
        assert order == [("wrap", "inner"), ("wrap", "outer")] * 2
        order.clear()
        await say(Text(), metadata=Metadata({"key": "v"}))
        async with total() as call:
            await call.finish()
    assert order == [
        (name, f"/test.Echo/{method}", kind, key)
        for method, kind, key in (("Say", "unary", "v"), ("Total", "client_stream", ""))
        for name in ("outer", "inner")
    ]


async def test_the_wrong_end_of_a_call_says_so():
    async with echo() as (_, stubs, _, _):
        async with stubs.Count(Number(value=1)) as call:
            with pytest.raises(MisusedStream):
                await call.finish()
            with pytest.raises(MisusedStream):
                await call.send(Number())
        async with stubs.Total() as call:
            with pytest.raises(MisusedStream):
                async for _ in call:
                    pass
            await call.half_close()
            await call.half_close()
            with pytest.raises(MisusedStream):
                await call.send(Number())


async def test_sending_after_the_server_ended_well_is_the_end_of_the_stream():
    async with echo() as (_, stubs, _, _), stubs.FirstOnly() as call:
        await call.send(Text(value="a"))
        assert [reply.value async for reply in call] == ["a"]
        with pytest.raises(EOFError):
            await call.send(Text(value="b"))


async def test_abstract_and_url_addresses_are_understood():
    name = f"holdfast-test-{os.getpid()}"
    service = Echo()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name)
        async with serving(service.register) as (server, path), asyncio.TaskGroup() as group:
            group.create_task(server.serve(listener))
            for address in (f"@{name}", f"unix://{path}", f"unix://@{name}"):
                async with Client(address) as client:
                    assert (await Stubs(client).Say(Text(value="hi"))).value == "hi"
            await server.shutdown()


async def test_the_request_on_the_wire_is_the_one_recorded_from_containerd():
    recorded = (
        "000000900000000101000a2a636f6e7461696e6572642e73657276696365732e6576656e74732e74747270632e76312e4576656e747312"
        "07466f72776172641a590a570a0c0880e2cfaa061080cab5ee01120764656661756c741a0f2f686f6c64666173742f70726f6265222d0a"
        "2974797065732e636f6e7461696e6572642e696f2f676f6f676c652e70726f746f6275662e456d7074791200"
    )

    class Recorded:  # its bytes hold an empty field that protobuf would leave out
        def SerializeToString(self):
            return bytes.fromhex(recorded)[65:]

    async def script(raw):
        assert (await raw.reader.readexactly(154)).hex() == recorded
        raw.writer.write(bytes.fromhex("00000000000000010200"))
        await raw.reader.read()

    with socket_path() as path:
        async with await against(script, path), Client(path) as client:
            assert await events_ttrpc.EventsStub(client).Forward(Recorded()) == Empty()


async def test_a_unary_call_of_a_megabyte_each_way():
    async with echo() as (_, stubs, _, _):
        assert len((await stubs.Say(Text(value="x" * (1 << 20)))).value) == 1 << 20
