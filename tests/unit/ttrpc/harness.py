"""Shared by the ttrpc tests: a server on a socket, a peer that speaks raw frames, and one service of every kind."""

import asyncio
import contextlib
import socket
import struct
import tempfile
from pathlib import Path

from google.protobuf import empty_pb2, wrappers_pb2
from holdfast.api.ttrpc import ttrpc_pb2
from holdfast.ttrpc import Client, Method, Server, anyone

from tests.running import descriptors

Text, Number, Empty = wrappers_pb2.StringValue, wrappers_pb2.Int64Value, empty_pb2.Empty
Blob = wrappers_pb2.BytesValue

REQUEST, RESPONSE, DATA = 1, 2, 3
CLOSED, OPEN, NO_DATA = 1, 2, 4


class Echo:
    """One method of each kind, and some that misbehave. ``started`` and ``stopped`` show a test where handlers are."""

    def __init__(self):
        self.started = asyncio.Queue()
        self.stopped = asyncio.Queue()
        self.release = asyncio.Event()

    async def say(self, request, call):
        return Text(value=request.value)

    async def context(self, request, call):
        pairs = ",".join(f"{key}={value}" for key, value in call.metadata.pairs())
        left = call.time_remaining()
        return Text(value=f"{call.full_method} {pairs} {None if left is None else round(left)}")

    async def block(self, request, call):
        self.started.put_nowait(call)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.stopped.put_nowait(request.value)
            raise
        return Text(value=request.value)

    async def fail(self, request, call):
        raise eval(request.value)

    async def nothing(self, request, call):
        return None

    async def wrong(self, request, call):
        return Number(value=1)

    async def big(self, request, call):
        return Blob(value=bytes(request.value))

    async def count(self, request, call):
        for number in range(request.value):
            yield Number(value=number)

    async def from_empty(self, request, call):
        yield Text(value="one")
        yield Text(value="two")

    async def total(self, requests, call):
        return Number(value=sum([message.value async for message in requests]))

    async def echo_stream(self, requests, call):
        async for message in requests:
            yield Text(value=message.value)

    async def stuck(self, requests, call):
        self.started.put_nowait(call)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.stopped.put_nowait("stuck")
            raise
        yield Text(value="released")

    async def first_only(self, requests, call):
        async for message in requests:
            yield Text(value=message.value)
            return

    async def broken_stream(self, request, call):
        yield Number(value=1)
        raise FileNotFoundError("no more")

    def register(self, server):
        server.register(
            "test.Echo",
            {
                "Say": Method(self.say, Text, Text),
                "Context": Method(self.context, Text, Text),
                "Block": Method(self.block, Text, Text),
                "Fail": Method(self.fail, Text, Text),
                "Nothing": Method(self.nothing, Text, Text),
                "Wrong": Method(self.wrong, Text, Text),
                "Big": Method(self.big, Number, Blob),
                "Count": Method(self.count, Number, Number, server_streaming=True),
                "FromEmpty": Method(self.from_empty, Empty, Text, server_streaming=True),
                "BrokenStream": Method(self.broken_stream, Empty, Number, server_streaming=True),
                "Total": Method(self.total, Number, Number, client_streaming=True),
                "EchoStream": Method(self.echo_stream, Text, Text, client_streaming=True, server_streaming=True),
                "Stuck": Method(self.stuck, Text, Text, client_streaming=True, server_streaming=True),
                "FirstOnly": Method(self.first_only, Text, Text, client_streaming=True, server_streaming=True),
            },
        )


class Stubs:
    """The Echo service as a client sees it."""

    def __init__(self, client):
        for name in ("Say", "Context", "Block", "Fail", "Nothing", "Wrong"):
            setattr(self, name, client.unary("test.Echo", name, Text, Text))
        self.Big = client.unary("test.Echo", "Big", Number, Blob)
        self.Count = client.server_stream("test.Echo", "Count", Number, Number)
        self.FromEmpty = client.server_stream("test.Echo", "FromEmpty", Empty, Text)
        self.BrokenStream = client.server_stream("test.Echo", "BrokenStream", Empty, Number)
        self.Total = client.client_stream("test.Echo", "Total", Number, Number)
        for name in ("EchoStream", "Stuck", "FirstOnly"):
            setattr(self, name, client.bidi_stream("test.Echo", name, Text, Text))


def frame(stream_id, kind, flags=0, data=b""):
    return struct.pack(">IIBB", len(data), stream_id, kind, flags) + data


def request(method, message=b"", service="test.Echo", **more):
    payload = message if isinstance(message, bytes) else message.SerializeToString()
    return ttrpc_pb2.Request(service=service, method=method, payload=payload, **more).SerializeToString()


def status(data):
    """Code and text of a response's bytes."""
    response = ttrpc_pb2.Response.FromString(data)
    return response.status.code, response.status.message


class Raw:
    """A client that sends what it likes."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, *frames):
        self.writer.write(b"".join(frames))

    async def receive(self):
        length, stream_id, kind, flags = struct.unpack(">IIBB", await self.reader.readexactly(10))
        return stream_id, kind, flags, await self.reader.readexactly(length)

    async def refusal(self):
        stream_id, kind, flags, data = await self.receive()
        assert (kind, flags) == (RESPONSE, 0)
        return stream_id, *status(data)


@contextlib.contextmanager
def socket_path():
    with tempfile.TemporaryDirectory(prefix="hf") as folder:
        yield str(Path(folder) / "s")


def bound(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    return sock


@contextlib.asynccontextmanager
async def serving(*register, path=None, **options):
    """A running server and its address."""
    with contextlib.ExitStack() as stack:
        path = path or stack.enter_context(socket_path())
        server = Server(**{"handshake": anyone, **options})
        for add in register:
            add(server)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(bound(path)))
            try:
                yield server, path
            finally:
                await server.shutdown(0)


@contextlib.asynccontextmanager
async def raw_client(path):
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def echo(**options):
    """A server with the Echo service, stubs connected to it, and its address."""
    service = Echo()
    client_options = options.pop("client", {})
    async with serving(service.register, **options) as (server, path), Client(path, **client_options) as client:
        yield service, Stubs(client), server, path


def served_sockets(path):
    """Descriptors of this process for the server's ends of connections to ``path``, and for its listener."""
    table = Path("/proc/net/unix").read_text().splitlines()
    inodes = {line.split()[6] for line in table if line.endswith(f" {path}")}
    return {number for number, link in descriptors("socket:") if link[8:-1] in inodes}
