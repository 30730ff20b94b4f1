import asyncio
import contextlib
import socket
import struct

import pytest
from google.protobuf.descriptor_pb2 import UninterpretedOption
from holdfast.errors import InvalidArgument, PermissionDenied
from holdfast.ttrpc import Client, Limits, Method, Server, anyone

from tests.running import async_until
from tests.unit.ttrpc.harness import (
    CLOSED,
    DATA,
    NO_DATA,
    OPEN,
    REQUEST,
    RESPONSE,
    Echo,
    Number,
    Stubs,
    Text,
    bound,
    echo,
    frame,
    raw_client,
    request,
    served_sockets,
    serving,
    socket_path,
    status,
    ttrpc_pb2,
)

MAX = 4 << 20
SAY = request("Say", Text(value="hi"))
HI = b"\x12\x04" + Text(value="hi").SerializeToString()


def text(data):
    return Text.FromString(data).value


# every row of the table of bad input, on a raw socket: (frames, answers), an answer being (id, code, sentence)
OVERSIZE = "message length 4194305 exceed maximum message size of 4194304"
ROWS = {
    "unknown service": ([frame(1, REQUEST, 0, request("M", b"", "X"))], [(1, 12, "service X")]),
    "unknown method": ([frame(1, REQUEST, 0, request("M"))], [(1, 12, "method M")]),
    "zero-length request": ([frame(1, REQUEST)], [(1, 12, "service ")]),
    "even id": ([frame(2, REQUEST, 0, SAY)], [(2, 3, "StreamID must be odd for client initiated streams")]),
    "id 0": ([frame(0, REQUEST, 0, SAY)], [(0, 3, "StreamID must be odd for client initiated streams")]),
    "even data": ([frame(4, DATA, 0, b"")], [(4, 3, "StreamID must be odd for client initiated streams")]),
    "re-used id": (
        [frame(3, REQUEST, 0, request("Nope")), frame(3, REQUEST, 0, SAY), frame(1, REQUEST, 0, SAY)],
        [
            (3, 12, "method Nope"),
            (3, 3, "StreamID cannot be re-used and must increment"),
            (1, 3, "StreamID cannot be re-used and must increment"),
        ],
    ),
    "data for an unknown id": ([frame(7, DATA, 0, b"x")], [(7, 3, "StreamID is no longer active")]),
    "data after half-close": (
        [frame(1, REQUEST, OPEN, request("Stuck")), frame(1, DATA, CLOSED | NO_DATA), frame(1, DATA, 0, b"")],
        [(1, 3, "data handling error: ttrpc: stream closed")],
    ),
    "close with a body": (
        [frame(1, REQUEST, OPEN, request("Stuck")), frame(1, DATA, CLOSED, b"x")],
        [(1, 3, "data close message cannot include data")],
    ),
    "oversized request": ([frame(1, REQUEST, 0, bytes(MAX + 1))], [(1, 8, OVERSIZE)]),
    "nil reply": ([frame(1, REQUEST, 0, request("Nothing"))], [(1, 2, "ttrpc: marshal called with nil")]),
    "wrong reply": (
        [frame(1, REQUEST, 0, request("Wrong"))],
        [(1, 13, "ttrpc: error unsupported response type: Int64Value")],
    ),
    "deadline that passed": (
        [frame(1, REQUEST, 0, request("Block", timeout_nano=-1))],
        [(1, 4, "context deadline exceeded")],
    ),
}


@pytest.mark.parametrize("row", ROWS)
async def test_bad_input_is_answered_in_go_s_words_and_the_connection_goes_on(row):
    frames, answers = ROWS[row]
    async with echo() as (_, _, _, path), raw_client(path) as raw:
        raw.send(*frames)
        assert [await raw.refusal() for _ in answers] == answers
        raw.send(frame(99, REQUEST, 0, SAY))
        assert await raw.receive() == (99, RESPONSE, 0, HI)


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        ("ValueError('plain words')", 2, "plain words"),
        ("KeyError('k')", 2, "'k'"),
        ("RuntimeError()", 2, "RuntimeError"),
        ("FileExistsError('there')", 6, "there"),
        ("FileNotFoundError('gone')", 5, "gone"),
        ("PermissionError('no')", 13, "no"),
        ("TimeoutError()", 4, "context deadline exceeded"),
        ("asyncio.CancelledError()", 13, "something that it awaited was cancelled"),
        ("EOFError('end')", 11, "end"),
        ("BrokenPipeError('io: closed')", 9, "io: closed"),
        ("NotImplementedError('method X')", 12, "method X"),
        ("__import__('holdfast.errors', fromlist=['x']).NotFound('lease \"l\"')", 5, 'lease "l": not found'),
    ],
)
async def test_what_a_handler_raises_travels_as_a_code_and_its_words(raised, code, sentence):
    async with echo() as (_, _, _, path), raw_client(path) as raw:
        raw.send(frame(1, REQUEST, 0, request("Fail", Text(value=raised))))
        assert await raw.refusal() == (1, code, sentence)


async def test_reason_and_field_of_an_error_reach_a_client_in_the_status():
    raised = "__import__('holdfast.errors', fromlist=['x']).InvalidArgument('a: no', reason='INVALID_FIELD', field='a')"
    async with echo() as (_, stubs, _, _):
        with pytest.raises(InvalidArgument) as caught:
            await stubs.Fail(Text(value=raised))
    assert (str(caught.value), caught.value.reason, caught.value.field) == (
        "a: no: invalid argument",
        "INVALID_FIELD",
        "a",
    )


async def test_a_payload_that_is_no_protobuf_is_internal():
    async with echo() as (_, _, _, path), raw_client(path) as raw:
        raw.send(frame(1, REQUEST, 0, request("Say", b"\xff\xff")))
        raw.send(frame(3, REQUEST, CLOSED, request("Total", b"\xff\xff")))
        for _ in range(2):
            _, code, sentence = await raw.refusal()
            assert code == 13
            assert sentence.startswith("ttrpc: error unmarshalling payload: ")


async def test_responses_and_unknown_types_from_a_client_are_skipped():
    async with echo() as (_, _, _, path), raw_client(path) as raw:
        raw.send(frame(1, RESPONSE, 0, b"x"), frame(1, 200, 7, b"y"), frame(1, REQUEST, 0, SAY))
        assert await raw.receive() == (1, RESPONSE, 0, HI)


async def test_a_request_that_arrives_byte_by_byte_is_served():
    async with echo() as (_, _, _, path), raw_client(path) as raw:
        for byte in frame(1, REQUEST, 0, SAY):
            raw.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert await raw.receive() == (1, RESPONSE, 0, HI)


async def test_half_a_header_and_then_the_end_only_ends_that_connection():
    async with echo() as (_, stubs, server, path):
        async with raw_client(path) as raw:
            raw.send(frame(1, REQUEST, 0, SAY)[:5])
        assert (await stubs.Say(Text(value="still here"))).value == "still here"
        assert server.connections <= 2


async def test_requests_are_answered_as_they_finish_not_as_they_came():
    async with echo() as (service, _, _, path), raw_client(path) as raw:
        raw.send(frame(1, REQUEST, 0, request("Block", Text(value="slow"))), frame(3, REQUEST, 0, SAY))
        assert (await raw.receive())[0] == 3
        service.release.set()
        assert (await raw.receive())[0] == 1


async def test_metadata_deadline_and_full_name_reach_the_handler():
    async with echo() as (_, _, _, path), raw_client(path) as raw:
        pairs = [{"key": "Foo", "value": "a"}, {"key": "foo", "value": "b"}, {"key": "Foo", "value": "c"}]
        raw.send(frame(1, REQUEST, 0, request("Context", timeout_nano=90_000_000_000, metadata=pairs)))
        raw.send(frame(3, REQUEST, 0, request("Context")))
        answers = {stream_id: text(data[2:]) for stream_id, _, _, data in [await raw.receive() for _ in range(2)]}
        assert answers == {1: "/test.Echo/Context Foo=a,Foo=c,foo=b 90", 3: "/test.Echo/Context  None"}


async def test_a_deadline_is_answered_for_a_handler_that_ignores_it_and_the_handler_is_cancelled():
    async with echo() as (service, _, _, path), raw_client(path) as raw:
        raw.send(frame(1, REQUEST, 0, request("Block", Text(value="x"), timeout_nano=1_000_000)))
        assert await raw.refusal() == (1, 4, "context deadline exceeded")
        assert await service.stopped.get() == "x"
        service.release.set()
        raw.send(frame(3, REQUEST, 0, SAY))
        assert (await raw.receive())[0] == 3  # and nothing more for 1


async def test_handlers_are_cancelled_when_their_client_goes_away():
    async with echo() as (service, _, server, path):
        async with raw_client(path) as raw:
            raw.send(frame(1, REQUEST, 0, request("Block", Text(value="a"))), frame(3, REQUEST, OPEN, request("Stuck")))
            await service.started.get()
            await service.started.get()
            assert server.connections == 1
        assert {await service.stopped.get(), await service.stopped.get()} == {"a", "stuck"}
        assert server.connections == 0


async def test_a_response_that_does_not_fit_is_resource_exhausted_and_the_connection_goes_on():
    async with echo() as (_, _, _, path), raw_client(path) as raw:
        raw.send(frame(1, REQUEST, 0, request("Big", Number(value=MAX))))
        stream_id, code, sentence = await raw.refusal()
        assert (stream_id, code) == (1, 8)
        assert sentence.endswith("exceed maximum message size of 4194304")
        raw.send(frame(3, REQUEST, 0, request("Big", Number(value=MAX - 10))))
        _, kind, _, data = await raw.receive()
        assert (kind, len(data)) == (RESPONSE, MAX)


async def test_a_request_of_four_mebibytes_exactly_is_served():
    async with echo() as (_, _, _, path), raw_client(path) as raw:
        empty = len(request("Say", Text(value="x" * (3 << 20)))) - (3 << 20)
        body = request("Say", Text(value="x" * (MAX - empty)))
        assert len(body) == MAX
        raw.send(frame(1, REQUEST, 0, body))
        _, _, _, data = await raw.receive()
        assert len(data) > MAX - 100


async def test_a_streaming_server_sends_data_and_ends_with_closed_and_no_data():
    async with echo() as (_, _, _, path), raw_client(path) as raw:
        raw.send(frame(1, REQUEST, CLOSED, request("FromEmpty")))
        one, two = (Text(value=word).SerializeToString() for word in ("one", "two"))
        assert [await raw.receive() for _ in range(3)] == [(1, DATA, 0, one), (1, DATA, 0, two), (1, DATA, 5, b"")]


async def test_a_stream_that_fails_ends_with_a_response():
    async with echo() as (_, _, _, path), raw_client(path) as raw:
        raw.send(frame(1, REQUEST, CLOSED, request("BrokenStream")))
        assert (await raw.receive())[1] == DATA
        assert await raw.refusal() == (1, 5, "no more")


async def test_a_server_may_end_before_the_client_half_closes_and_answers_what_comes_late():
    async with echo() as (_, _, _, path), raw_client(path) as raw:
        first = Text(value="x").SerializeToString()
        raw.send(frame(1, REQUEST, OPEN, request("FirstOnly", first)))
        assert [(await raw.receive())[1:3] for _ in range(2)] == [(DATA, 0), (DATA, 5)]
        raw.send(frame(1, DATA, 0, first))
        assert await raw.refusal() == (1, 3, "StreamID is no longer active")


async def test_a_stuck_handler_is_ended_when_its_mailbox_is_full_and_no_other_call_waits_for_it():
    async with echo(limits=Limits(stream_bytes=1000)) as (service, _, _, path), raw_client(path) as raw:
        raw.send(frame(1, REQUEST, OPEN, request("Stuck")))
        await service.started.get()
        raw.send(frame(1, DATA, 0, b"\x0a\x01x") * 30, frame(3, REQUEST, 0, SAY))
        assert await raw.refusal() == (1, 3, "data handling error: ttrpc: stream buffer full")
        answers = [await raw.receive() for _ in range(16)]
        assert answers[-1] == (3, RESPONSE, 0, HI)
        assert {answer[0] for answer in answers[:-1]} == {1}
        assert await service.stopped.get() == "stuck"


async def test_a_client_that_never_reads_is_not_read_either_and_nobody_else_notices():
    async with echo(limits=Limits(write_bytes=1 << 16)) as (_, stubs, server, path):
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        sock.connect(path)
        big = frame(1, REQUEST, 0, request("Big", Number(value=1 << 20)))
        sent, stalled = 0, 0
        while stalled < 50:  # until the server has read nothing through fifty of its turns
            stream_id = 2 * sent + 1
            try:
                sock.send(big[:4] + struct.pack(">I", stream_id) + big[8:])
                sent, stalled = sent + 1, 0
            except BlockingIOError:
                stalled += 1
            assert (await stubs.Say(Text(value="x"))).value == "x"
            assert sent < 100_000
        held = [session.transport.get_write_buffer_size() for session in server._sessions]
        assert max(held) < sent * (1 << 20)
        sock.close()


async def test_a_thousand_concurrent_calls_are_all_answered():
    async with echo() as (service, stubs, _, _):
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(stubs.Block(Text(value=str(number)))) for number in range(1000)]
            for _ in calls:
                await service.started.get()
            service.release.set()
        assert [call.result().value for call in calls] == [str(number) for number in range(1000)]


async def test_calls_beyond_the_cap_are_refused_and_the_others_served():
    async with echo(limits=Limits(concurrent_calls=2)) as (service, _, _, path), raw_client(path) as raw:
        raw.send(*(frame(i, REQUEST, 0, request("Block")) for i in (1, 3, 5)))
        assert await raw.refusal() == (5, 8, "ttrpc: more than 2 concurrent calls on one connection")
        service.release.set()
        assert {(await raw.receive())[0] for _ in range(2)} == {1, 3}


async def test_metadata_is_taken_up_to_the_bound_and_above_it_never():
    async with echo() as (_, _, _, path), raw_client(path) as raw:
        for number, (size, taken) in enumerate(((0, True), (30_000, True), (32 << 10, True), (33_000, False))):
            pairs = [ttrpc_pb2.KeyValue(key="k", value="v" * (size - 1))] if size else []
            raw.send(frame(2 * number + 1, REQUEST, 0, request("Say", Text(value="x"), metadata=pairs)))
            _, _, _, data = await raw.receive()
            assert status(data) == ((0, "") if taken else (8, "ttrpc: 33000 bytes of metadata, more than 32768"))


async def test_more_connections_than_the_bound_are_closed_and_counted_and_one_that_ends_makes_room():
    async with echo(max_connections=2) as (_, stubs, server, path), raw_client(path) as raw:
        assert (await stubs.Say(Text(value="x"))).value == "x"
        async with raw_client(path) as third:
            assert await third.reader.read() == b""
        assert (server.refused, server.connections) == ({"limit": 1, "credentials": 0}, 2)
        raw.writer.close()
        await async_until(lambda: server.connections < 2)
        async with raw_client(path) as another:
            another.send(frame(1, REQUEST, 0, request("Say", Text(value="x"))))
            assert (await another.receive())[1] == RESPONSE


async def test_shutdown_answers_every_call_that_was_accepted_and_closes_idle_connections():
    async with echo() as (service, stubs, server, path), raw_client(path) as idle:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(stubs.Block(Text(value=str(number)))) for number in range(5)]
            for _ in calls:
                await service.started.get()
            stopping = group.create_task(server.shutdown())
            assert await idle.reader.read() == b""
            assert not stopping.done()
            service.release.set()
        assert [call.result().value for call in calls] == ["0", "1", "2", "3", "4"]
        assert server.connections == 0


async def test_a_request_that_comes_while_draining_is_told_so():
    async with echo() as (service, _, server, path), raw_client(path) as raw:
        raw.send(frame(1, REQUEST, 0, request("Block")))
        await service.started.get()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.shutdown())
            await asyncio.sleep(0)
            raw.send(frame(3, REQUEST, 0, SAY))
            assert await raw.refusal() == (3, 14, "ttrpc: server closed")
            service.release.set()
            assert (await raw.receive())[0] == 1
            assert await raw.reader.read() == b""


async def test_a_stream_that_was_accepted_may_be_finished_while_draining():
    async with echo() as (_, stubs, server, _), stubs.EchoStream() as call:
        await call.send(Text(value="a"))
        assert (await call.receive()).value == "a"
        async with asyncio.TaskGroup() as group:
            group.create_task(server.shutdown())
            await asyncio.sleep(0)
            await call.send(Text(value="b"))
            await call.half_close()
            assert [reply.value async for reply in call] == ["b"]


async def test_when_the_grace_is_over_what_still_runs_is_cancelled_and_told():
    async with echo() as (service, _, server, path), raw_client(path) as raw:
        raw.send(frame(1, REQUEST, 0, request("Block", Text(value="a"))))
        await service.started.get()
        await server.shutdown(0)
        assert await raw.refusal() == (1, 14, "ttrpc: server closed")
        assert await service.stopped.get() == "a"
        assert await raw.reader.read() == b""


async def test_a_client_that_does_not_read_cannot_hold_up_the_shutdown(monkeypatch):
    monkeypatch.setattr("holdfast.ttrpc.server.ABORT_AFTER_S", 0)
    async with echo() as (service, _, server, path):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            sock.send(frame(1, REQUEST, 0, request("Big", Number(value=MAX - 100))))
            sock.send(frame(3, REQUEST, 0, request("Block")))
            await service.started.get()
            await server.shutdown(0)
        assert server.connections == 0


async def test_shutdown_before_serve_makes_serve_return_at_once():
    with socket_path() as path:
        server = Server(handshake=anyone)
        await server.shutdown()
        sock = bound(path)
        await server.serve(sock)
        assert sock.fileno() == -1


async def test_close_drops_everything_and_serve_returns():
    with socket_path() as path:
        server = Server(handshake=anyone)
        service = Echo()
        service.register(server)
        async with asyncio.TaskGroup() as group:
            serving_task = group.create_task(server.serve(bound(path)))
            async with raw_client(path) as raw:
                raw.send(frame(1, REQUEST, 0, request("Block")))
                await service.started.get()
                server.close()
                await service.stopped.get()
                await serving_task
        assert server.connections == 0


async def test_a_listener_that_breaks_ends_serve_with_its_error():
    with socket_path() as path:
        server = Server(handshake=anyone)
        sock = bound(path)
        async with asyncio.TaskGroup() as group:
            serving_task = group.create_task(fails_with_os_error(server.serve(sock)))
            async with raw_client(path):
                sock.shutdown(socket.SHUT_RDWR)
                assert await serving_task
        assert server.connections == 0


async def fails_with_os_error(awaitable):
    try:
        await awaitable
    except OSError:
        return True
    return False


async def test_a_listener_that_was_closed_before_is_an_error():
    with socket_path() as path:
        sock = bound(path)
        sock.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            await Server(handshake=anyone).serve(sock)


async def test_out_of_descriptors_is_waited_out(monkeypatch):
    service = Echo()
    failures = iter([OSError(24, "Too many open files"), OSError(103, "Software caused connection abort")])
    real = socket.socket.accept

    def accept(self):
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    async with serving(service.register) as (_, path), Client(path) as client:
        assert (await Stubs(client).Say(Text(value="hi"))).value == "hi"


async def test_one_server_serves_several_sockets_and_stops_on_all():
    service = Echo()
    with socket_path() as other_path:
        async with serving(service.register) as (server, path), asyncio.TaskGroup() as group:
            group.create_task(server.serve(bound(other_path)))
            for address in (path, other_path):
                async with Client(address) as client:
                    assert (await Stubs(client).Say(Text(value="hi"))).value == "hi"
            await server.shutdown()


async def test_a_session_can_be_served_on_a_transport_made_elsewhere():
    service = Echo()
    server = Server(handshake=lambda connection: 1 / 0)  # never asked
    service.register(server)
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        await loop.connect_accepted_socket(lambda: server.session(group), ours)
        client = Client(lambda factory: loop.connect_accepted_socket(factory, theirs))
        assert (await Stubs(client).Say(Text(value="hi"))).value == "hi"
        await client.close()


async def test_closed_connections_leave_no_descriptor_behind():
    async with echo() as (_, _, server, path):
        for _ in range(50):
            async with Client(path) as one:
                await Stubs(one).Say(Text(value="x"))
        async with raw_client(path) as raw:
            raw.send(frame(1, REQUEST, 0, SAY))  # everything before it was handled
            await raw.receive()
        await async_until(lambda: server.connections == 0)
        assert len(served_sockets(path)) == 1, "the listener"


async def test_a_fast_stream_does_not_starve_other_calls():
    async with echo() as (_, stubs, _, _), stubs.Count(Number(value=20_000)) as call:
        assert (await call.receive()).value == 0
        assert (await stubs.Say(Text(value="in between"))).value == "in between"
        last = 0
        async for number in call:
            last = number.value
        assert last == 19_999


async def test_the_handler_sees_who_calls():
    seen = []

    def wrap(full_method, kind, handler):
        async def look(request, call):
            seen.append((call.peer.uid, call.kind, call.deadline, call.active))
            return await handler(request, call)

        return look if kind.value == "unary" else handler

    async with echo(interceptors=[wrap]) as (_, stubs, _, _):
        await stubs.Say(Text(value="x"))
    import os

    assert [(uid, kind.value, deadline, active) for uid, kind, deadline, active in seen] == [
        (os.geteuid(), "unary", None, True)
    ]


async def test_a_handshake_error_is_not_the_end_of_the_server():
    def broken(connection):
        raise PermissionDenied("no")

    async with serving(handshake=broken) as (server, path):
        for _ in range(3):
            async with raw_client(path) as raw:
                assert await raw.reader.read() == b""
        assert server.connections == 0


async def test_a_handler_that_does_not_let_itself_be_cancelled_says_nothing_more():
    finished = asyncio.Event()

    async def stubborn(request, call):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        try:
            yield Text(value="too late")
        finally:
            finished.set()

    def register(server):
        server.register("test.Stubborn", {"Go": Method(stubborn, Text, Text, server_streaming=True)})

    async with echo() as (service, _, server, path), raw_client(path) as raw:
        register(server)
        raw.send(frame(1, REQUEST, CLOSED, request("Go", b"", "test.Stubborn", timeout_nano=1_000_000)))
        assert await raw.refusal() == (1, 4, "context deadline exceeded")
        await finished.wait()
        raw.send(frame(3, REQUEST, 0, SAY))
        assert await raw.receive() == (3, RESPONSE, 0, HI)
        assert service.stopped.empty()


async def test_a_reply_that_cannot_be_encoded_is_internal():
    part = UninterpretedOption.NamePart

    async def incomplete(request, call):
        return part()

    def register(server):
        server.register("test.Part", {"Get": Method(incomplete, Text, part)})

    async with serving(register) as (_, path), raw_client(path) as raw:
        raw.send(frame(1, REQUEST, 0, request("Get", b"", "test.Part")))
        _, code, sentence = await raw.refusal()
        assert code == 13
        assert sentence.startswith("ttrpc: error marshaling payload: ")
