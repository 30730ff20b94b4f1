import asyncio
import contextlib
import socket
import struct

import pytest
from holdfast.errors import ConnectionClosed
from holdfast.ttrpc import Client, Server
from holdfast.ttrpc.dial import unix
from holdfast.ttrpc.mux_connection import MuxConnection, dial

from tests.unit.ttrpc.harness import Echo, Number, Stubs, Text, bound, socket_path

OURS, THEIRS = 1, 2


@contextlib.asynccontextmanager
async def muxes():
    """Two muxes, connected to each other."""
    loop, (left, right) = asyncio.get_running_loop(), socket.socketpair()
    ends = []
    for sock in (left, right):
        sock.setblocking(False)
        mux = MuxConnection()
        await loop.create_unix_connection(lambda mux=mux: mux, sock=sock)
        ends.append(mux)
    try:
        yield ends
    finally:
        for mux in ends:
            mux.close()
            await mux.ended.wait()


@contextlib.asynccontextmanager
async def both_ways():
    """Each end serves Echo on one stream and calls the other's on the other, over one socket."""
    async with muxes() as (one, other), asyncio.TaskGroup() as group:
        services, stubs, closers = [], [], []
        for mux, serves, calls in ((one, OURS, THEIRS), (other, THEIRS, OURS)):
            service, server = Echo(), Server()
            service.register(server)
            mux.attach(serves, server.session(group))
            client = Client(mux.connector(calls))
            services.append(service)
            stubs.append(Stubs(client))
            closers.append(client)
        yield (one, other), services, stubs
        for client in closers:
            await client.close()
        one.close()
        other.close()


async def test_both_ends_call_each_other_over_one_socket():
    async with both_ways() as (_, _, (ours, theirs)):
        replies = await asyncio.gather(*(stub.Say(Text(value=str(at))) for at in range(50) for stub in (ours, theirs)))
    assert [reply.value for reply in replies] == [str(at) for at in range(50) for _ in range(2)]


async def test_messages_of_every_size_pass():
    async with both_ways() as (_, _, (ours, _)):
        for size in (0, 4000, 4080, 4096, 5000, 100_000, 4_000_000):
            assert len((await ours.Big(Number(value=size))).value) == size


async def test_streams_of_messages_pass():
    async with both_ways() as (_, _, (ours, _)), ours.EchoStream() as call:
        for number in range(100):
            await call.send(Text(value=str(number)))
        await call.half_close()
        assert [reply.value async for reply in call] == [str(number) for number in range(100)]


async def test_what_waits_is_told_when_the_socket_ends_and_why_is_known():
    async with both_ways() as ((one, other), (_, service), (ours, _)):
        call = asyncio.ensure_future(ours.Block(Text(value="x")))
        await service.started.get()
        other.close()
        with pytest.raises(ConnectionClosed):
            await call
        await one.ended.wait()
        assert (await service.stopped.get()) == "x"
    assert one.why == ""


async def test_a_stream_that_is_gone_cannot_be_had_again():
    async with muxes() as (one, other):
        client = Client(one.connector(THEIRS))
        other.close()
        await one.ended.wait()
        with pytest.raises(ConnectionClosed, match="cannot connect"):
            await Stubs(client).Say(Text(value="x"))
        with pytest.raises(ConnectionError, match="stream 1 cannot be opened"):
            one.attach(OURS, Heard())


class Heard(asyncio.Protocol):
    """Keeps what a stream receives."""

    def __init__(self):
        super().__init__()
        self.data, self.ended, self.arrived = b"", asyncio.Event(), asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        self.arrived.set()

    def connection_lost(self, error):
        self.ended.set()


@contextlib.asynccontextmanager
async def raw():
    """A mux and the socket's other end, for bytes of the test's own."""
    with socket_path() as path, bound(path) as listener:
        listener.setblocking(False)
        mux = await dial(unix(path))
        sock, _ = await asyncio.get_running_loop().sock_accept(listener)
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        try:
            yield mux, reader, writer
        finally:
            mux.close()
            writer.close()
            await mux.ended.wait()


async def test_pieces_for_nobody_are_dropped_and_counted():
    async with raw() as (mux, _, writer):
        heard = Heard()
        mux.attach(OURS, heard)
        writer.write(struct.pack(">II", 9, 2) + b"xx" + struct.pack(">II", OURS, 2) + b"ok")
        await heard.arrived.wait()
        assert (heard.data, mux.dropped) == (b"ok", 1)


async def test_a_length_that_cannot_be_ends_the_mux_and_every_stream():
    async with raw() as (mux, _, writer):
        heard = Heard()
        mux.attach(OURS, heard)
        writer.write(b"\xff" * 8)
        await heard.ended.wait()
        await mux.ended.wait()
        assert mux.why.startswith("mux: payload of 4294967295 bytes")


async def test_an_end_inside_a_frame_is_told():
    async with raw() as (mux, _, writer):
        writer.write(struct.pack(">II", 1, 100) + b"half")
        writer.close()
        await mux.ended.wait()
        assert mux.why == "the connection ended inside a frame"


async def test_a_stream_that_is_not_read_stops_the_socket_until_it_is():
    async with raw() as (mux, _, writer):
        one, other = Heard(), Heard()
        mux.attach(1, one)
        mux.attach(2, other)
        one.transport.pause_reading()
        other.transport.pause_reading()
        writer.write(struct.pack(">II", 2, 2) + b"ok")
        one.transport.resume_reading()
        await asyncio.sleep(0)
        assert other.data == b""
        other.transport.resume_reading()
        await other.arrived.wait()
        assert other.data == b"ok"


async def test_closing_a_stream_leaves_the_others():
    async with raw() as (mux, reader, writer):
        one, other = Heard(), Heard()
        mux.attach(1, one)
        mux.attach(2, other)
        writer.write(struct.pack(">II", 1, 1) + b"x")
        await one.arrived.wait()
        one.transport.close()
        await one.ended.wait()
        other.transport.write(b"frame")
        assert await reader.readexactly(13) == struct.pack(">II", 2, 5) + b"frame"
        assert one.transport.is_closing()
        assert not other.transport.is_closing()
