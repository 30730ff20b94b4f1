from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket

import grpc
import pytest
from holdfast.listener import acceptor
from holdfast.listener import front as ours
from holdfast.listener.connections import ConnectionMetrics
from holdfast.listener.descriptors import ConnectionBound
from holdfast.listener.front import Front

from tests.running import PATIENCE_S

WIDE = (ConnectionBound(64, 64), ConnectionBound(64, 64))


@contextlib.asynccontextmanager
async def fronting(target, bounds=WIDE):
    """Gives the address of a front before the server at ``target``, and its metrics."""
    metrics, sock = ConnectionMetrics(), socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    made = Front("tcp", sock, target, bounds, metrics)
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
    monkeypatch.setattr("holdfast.listener.connections.monotonic", iter(range(10_000)).__next__)
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
