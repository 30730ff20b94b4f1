from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from types import SimpleNamespace

import grpc
import pytest
from holdfast.listener import acceptor, client_frames
from holdfast.listener import front as ours
from holdfast.listener.client_frames import CUT_CALLS, ClientFrames, EncryptedFrames, Share
from holdfast.listener.connections import ConnectionMetrics
from holdfast.listener.descriptors import ConnectionBound
from holdfast.listener.front import Front
from holdfast.listener.rounds import Rounds

from tests.running import PATIENCE_S

WIDE = (ConnectionBound(64, 64), ConnectionBound(64, 64))


@contextlib.asynccontextmanager
async def fronting(target, bounds=WIDE, own="", frames=ClientFrames):
    """Gives the address of a front before the server at ``target``, and its metrics."""
    metrics, sock = ConnectionMetrics(), socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    made = Front("tcp", sock, (target, own or target), bounds, metrics, frames)
    made.start()
    try:
        yield sock.getsockname(), metrics
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def echoing(short_dir):
    """A server that sends back what it gets; gives its path."""

    async def echo(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        writer.close()

    path = f"{short_dir}/in"
    async with await asyncio.start_unix_server(echo, path):
        yield path


async def test_bytes_pass_both_ways_whole_even_when_their_reader_is_slow(short_dir):
    data = os.urandom(8 << 20)
    async with echoing(short_dir) as path, fronting(path) as (address, _):
        reader, writer = await asyncio.open_connection(*address)

        async def send():
            writer.write(data)
            await writer.drain()

        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            group.create_task(send())
            assert await reader.readexactly(len(data)) == data
        writer.close()


async def test_a_call_passes_and_what_the_server_said_last_arrives(short_dir):
    entered, leave = asyncio.Event(), asyncio.Event()

    async def wait(request, context):
        entered.set()
        await leave.wait()
        return request

    service = grpc.method_handlers_generic_handler("t.T", {"W": grpc.unary_unary_rpc_method_handler(wait)})
    server = grpc.aio.server(handlers=[service])
    server.add_insecure_port(f"unix:{short_dir}/in")
    await server.start()
    async with fronting(f"{short_dir}/in") as ((host, port), _), grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        call = asyncio.ensure_future(channel.unary_unary("/t.T/W")(b"1"))
        await entered.wait()
        leave.set()
        await server.stop(10)
        assert await call == b"1"


async def test_a_client_that_says_nothing_costs_no_connection_to_the_server_and_is_let_go(short_dir, monkeypatch):
    monkeypatch.setattr(ours, "SILENT_S", 0.05)
    async with fronting(f"{short_dir}/no-server") as (address, metrics):
        reader, writer = await asyncio.open_connection(*address)
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        assert metrics.closed.labels("tcp", "silent").value == 1
        writer.close()


async def test_a_client_whose_server_is_gone_is_closed(short_dir):
    async with fronting(f"{short_dir}/no-server") as (address, _):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x")
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("word", [b"", b"x"])
async def test_more_connections_than_the_bound_end_the_quietest_one(short_dir, word, monkeypatch):
    async def at_once(_):
        pass

    monkeypatch.setattr(ours, "_answered", at_once)  # this server speaks no gRPC
    bounds = (ConnectionBound(2, 2), ConnectionBound(2, 2))
    async with echoing(short_dir) as path, fronting(path, bounds) as (address, metrics):
        pairs = []
        for _ in range(3):
            pairs.append(await asyncio.open_connection(*address))
            if word:
                pairs[-1][1].write(word)
                assert await pairs[-1][0].readexactly(1) == word
        async with asyncio.timeout(PATIENCE_S):
            assert await pairs[0][0].read() == b""
        for reader, writer in pairs[1:]:
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"
        assert metrics.closed.labels("tcp", "peer_limit").value == 1
        for _, writer in pairs:
            writer.close()


async def test_accepting_goes_on_when_there_are_descriptors_again_and_the_lack_is_told_once(
    short_dir, caplog, monkeypatch
):
    monkeypatch.setattr(acceptor, "RETRY_S", 0)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with echoing(short_dir) as path, fronting(path) as (address, _):
        with socket.socket() as client:
            client.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await asyncio.get_running_loop().sock_connect(client, address)
                    while not caplog.records:
                        await asyncio.sleep(0)
                    for _ in range(50):
                        await asyncio.sleep(0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.get_running_loop().sock_sendall(client, b"x")
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b"x"
    assert [record.message for record in caplog.records] == ["accept failed; trying again"]


@contextlib.asynccontextmanager
async def holding_up(short_dir, monkeypatch):
    """A server whose every call waits for the event; gives it, the server's path, and how many calls it has."""
    go, taken = asyncio.Event(), []

    async def wait(request, context):
        taken.append(request)
        await go.wait()
        return request

    class Handlers(grpc.GenericRpcHandler):
        def service(self, handler_call_details):
            if handler_call_details.method == "/t.T/W":
                return grpc.unary_unary_rpc_method_handler(wait)
            return None

    monkeypatch.setattr(ours, "ROUND_S", 0)
    monkeypatch.setattr(ours, "RETRY_S", 0)
    server = grpc.aio.server(handlers=[Handlers()])
    server.add_insecure_port(f"unix:{short_dir}/in")
    await server.start()
    try:
        yield go, f"{short_dir}/in", taken
    finally:
        go.set()
        await server.stop(0)


def channel_to(address):
    host, port = address
    return grpc.aio.insecure_channel(f"{host}:{port}", [("grpc.use_local_subchannel_pool", 1)])


async def test_connections_beyond_a_round_come_to_the_server_when_it_has_handled_the_calls_before(
    short_dir, monkeypatch
):
    bounds = (ConnectionBound(8, 2), ConnectionBound(64, 64))
    async with (
        holding_up(short_dir, monkeypatch) as (go, path, taken),
        fronting(path, bounds) as (address, _),
        contextlib.AsyncExitStack() as stack,
    ):
        channels = [await stack.enter_async_context(channel_to(address)) for _ in range(5)]
        go.set()
        for number, channel in enumerate(channels):  # each is answered: the server is asked whether it has caught up
            assert await channel.unary_unary("/t.T/W")(b"%d" % number, timeout=PATIENCE_S) == b"%d" % number
        assert len(taken) == 5


async def test_as_long_as_the_server_has_not_caught_up_no_more_connections_of_a_peer_come_to_it(short_dir, monkeypatch):
    asked, caught_up = asyncio.Event(), asyncio.Event()

    async def held(_):
        asked.set()
        await caught_up.wait()

    monkeypatch.setattr(ours, "_answered", held)
    bounds = (ConnectionBound(8, 2), ConnectionBound(64, 64))
    async with echoing(short_dir) as path, fronting(path, bounds) as (address, _), asyncio.timeout(PATIENCE_S):
        pairs = []
        for _ in range(3):
            pairs.append(await asyncio.open_connection(*address))
            pairs[-1][1].write(b"x")
        for reader, _ in pairs[:2]:
            assert await reader.readexactly(1) == b"x"
        await asked.wait()
        gone = await asyncio.open_connection(*address)
        gone[1].write(b"gone")
        gone[1].close()
        for _, writer in pairs[:2]:  # that they end makes no room: what they brought may wait in the server
            writer.close()
        caught_up.set()
        assert await pairs[2][0].readexactly(1) == b"x"
        pairs[2][1].close()


@pytest.mark.parametrize(("frames", "is_root"), [(ClientFrames, False), (None, False), (ClientFrames, True)])
async def test_a_peer_that_resets_more_calls_than_its_share_loses_its_connection_before_the_server_sees_them(
    short_dir, monkeypatch, frames, is_root
):
    monkeypatch.setattr(ours, "OF_ROOT", f"uid {os.geteuid()}" if is_root else "")
    preface, reset = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\4\3\0\0\0\0\1\0\0\0\x08"
    async with (
        echoing(short_dir) as path,
        fronting(path, frames=frames) as (address, metrics),
        asyncio.timeout(PATIENCE_S),
    ):
        reader, writer = await asyncio.open_connection(*address)
        some = preface + reset * (CUT_CALLS.burst - 1)
        writer.write(some)
        assert await reader.readexactly(len(some)) == some
        writer.write(reset * 1000)
        if frames is None or is_root:
            await reader.readexactly(len(reset) * 1000)
        else:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        assert metrics.closed.labels("tcp", "cut_calls").value == (frames is not None and not is_root)
        writer.close()


FRAME, PREFACE = b"\0\0\0\xfa" + bytes(5), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize(
    ("frames", "is_root"), [(ClientFrames, False), (EncryptedFrames, False), (None, False), (ClientFrames, True)]
)
async def test_frames_beyond_a_peers_share_are_read_more_slowly_and_none_is_lost(
    short_dir, monkeypatch, frames, is_root
):
    monkeypatch.setattr(ours, "OF_ROOT", f"uid {os.geteuid()}" if is_root else "")
    monkeypatch.setattr(client_frames, "WORK", Share(10, 10000))
    async with (
        echoing(short_dir) as path,
        fronting(path, frames=frames) as (address, metrics),
        asyncio.timeout(PATIENCE_S),
    ):
        reader, writer = await asyncio.open_connection(*address)
        some = PREFACE + FRAME * 20000
        writer.write(some)
        assert await reader.readexactly(len(some)) == some
        assert (metrics.pauses.labels("tcp").value > 0) == (frames is not None and not is_root)
        writer.close()


async def test_the_connections_of_a_peer_beyond_its_share_are_read_in_turns_and_may_end(short_dir, monkeypatch):
    monkeypatch.setattr(ours, "OF_ROOT", "")
    monkeypatch.setattr(client_frames, "WORK", Share(10, 500))
    async with echoing(short_dir) as path, fronting(path) as (address, _), asyncio.timeout(PATIENCE_S):
        floods = [await asyncio.open_connection(*address) for _ in range(4)]
        for _, writer in floods:
            writer.write(PREFACE + FRAME * 1_000_000)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(PREFACE + FRAME)
        assert await reader.readexactly(24 + 9) == PREFACE + FRAME
        for _, flooding in floods:
            flooding.transport.abort()
        writer.write(FRAME)
        assert await reader.readexactly(9) == FRAME
        writer.close()


async def test_a_round_that_fails_is_not_the_last(short_dir, monkeypatch):
    failed = asyncio.Event()

    async def fails(_):
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a mistake")

    monkeypatch.setattr(ours, "_answered", fails)
    monkeypatch.setattr(ours, "ROUND_S", 0)
    bounds = (ConnectionBound(8, 2), ConnectionBound(64, 64))
    async with echoing(short_dir) as path, fronting(path, bounds) as (address, _), asyncio.timeout(PATIENCE_S):
        writers, reads = [], []

        async def connect():
            reader, writer = await asyncio.open_connection(*address)
            writers.append(writer)
            writer.write(b"x")
            reads.append(asyncio.ensure_future(reader.readexactly(1)))
            return reads[-1]

        *_, waits = [await connect() for _ in range(3)]
        await failed.wait()
        while not waits.done():  # the next connection has the rounds begin again, once the failed one has ended
            await asyncio.wait([waits, await connect()], timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
        assert waits.result() == b"x"
        for writer in writers:
            writer.close()
        await asyncio.gather(*reads, return_exceptions=True)


async def test_a_connection_that_waits_while_the_rounds_end_has_one_of_its_own(short_dir, monkeypatch):
    closing, closed = asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def channel(_):
        yield SimpleNamespace(unary_unary=lambda name: None)
        closing.set()
        await closed.wait()

    async def at_once(_):
        pass

    waiting = []

    class Seen(Rounds):
        def wait(self, peer, relay):
            waiting.append(relay)
            super().wait(peer, relay)

    monkeypatch.setattr(ours, "Rounds", Seen)
    monkeypatch.setattr(ours.grpc.aio, "insecure_channel", channel)
    monkeypatch.setattr(ours, "_answered", at_once)
    monkeypatch.setattr(ours, "ROUND_S", 0)
    bounds = (ConnectionBound(8, 1), ConnectionBound(64, 64))
    async with echoing(short_dir) as path, fronting(path, bounds) as (address, _), asyncio.timeout(PATIENCE_S):
        pairs = []
        for number in range(3):
            pairs.append(await asyncio.open_connection(*address))
            pairs[-1][1].write(b"x")
            if number == 1:
                await closing.wait()
        while len(waiting) < 2:
            await asyncio.sleep(0)
        closed.set()
        assert await pairs[-1][0].readexactly(1) == b"x"
        for _, writer in pairs:
            writer.close()
