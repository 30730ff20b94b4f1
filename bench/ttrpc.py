"""ttrpc: our server and client beside grpc.aio and Go's ttrpc server, over unix sockets, deadline and metadata on.

One client process measures servers in processes of their own, in slices that alternate. Our client calls both ttrpc
servers, so a figure against Go compares servers; a figure against grpc.aio compares both ends together.
"""

import asyncio
import os
import resource
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from holdfast.api.ttrpc import ttrpc_pb2
from holdfast.ttrpc import Client, Metadata

from bench._ttrpc_server import GRPC_OPTIONS, SERVICE
from bench.frame.figure import Figure, interleaved, options, publish

GO_PEER = Path(__file__).parents[1] / "tests" / "peers" / "bin" / "ttrpcpeer"
MESSAGE = StringValue(value="x" * 40)
TIMEOUT_S = 30
IDLE = 1000
BIG = Int64Value(value=(4 << 20) - 100)
UNREAD = 70  # messages to a handler that never reads; Go's buffer is 64
GO, GRPC, OURS, AGAIN = "Go ttrpc", "grpc.aio", "ttrpc", "ttrpc again"
UVLOOP = "ttrpc, uvloop"


class Peer:
    """A server in a process of its own, and how to call it."""

    def __init__(self, command, path):
        self.path = path
        self._process = subprocess.Popen([*command, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == b"serving\n"
        self.pid = self._process.pid

    def cpu_s(self):
        """CPU time of all its threads so far; schedstat counts nanoseconds, stat only ticks."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def rss_kib(self):
        words = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(words[1]) * resource.getpagesize() / 1024

    def end(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


def ttrpc_calls(path):
    """``say()`` and ``big()`` of a ttrpc server, and the client."""
    client = Client(path)
    say = client.unary(SERVICE, "Say", StringValue, StringValue)
    big = client.unary(SERVICE, "Big", Int64Value, BytesValue)
    metadata = Metadata({"containerd-namespace-ttrpc": "default"})
    return (
        lambda: say(MESSAGE, timeout=TIMEOUT_S, metadata=metadata),
        lambda: big(BIG, timeout=TIMEOUT_S, metadata=metadata),
        client,
    )


def grpc_calls(path):
    """The same of a gRPC server."""
    channel = grpc.aio.insecure_channel(f"unix:{path}", options=GRPC_OPTIONS)

    def method(name, request, reply):
        return channel.unary_unary(
            f"/{SERVICE}/{name}", request_serializer=request.SerializeToString, response_deserializer=reply.FromString
        )

    say, big = method("Say", StringValue, StringValue), method("Big", Int64Value, BytesValue)
    metadata = (("containerd-namespace", "default"),)
    return (
        lambda: say(MESSAGE, timeout=TIMEOUT_S, metadata=metadata),
        lambda: big(BIG, timeout=TIMEOUT_S, metadata=metadata),
        channel,
    )


async def rate(call, callers, seconds, latencies=None):
    """Calls a second of so many callers, each of which waits for its answer."""
    done, end = 0, time.perf_counter() + seconds

    async def caller():
        nonlocal done
        while (began := time.perf_counter()) < end:
            await call()
            done += 1
            if latencies is not None:
                latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return done / (time.perf_counter() - began)


@contextmanager
def peers(folder):
    """Every server, by its name in the report."""
    python = [sys.executable, "-m", "bench._ttrpc_server"]
    commands = {
        OURS: [*python, "ttrpc"],
        AGAIN: [*python, "ttrpc"],
        UVLOOP: [*python, "ttrpc-uvloop"],
        GRPC: [*python, "grpc"],
        GO: [str(GO_PEER), "serve"],
    }
    with ExitStack() as stack:
        running = {}
        for number, (name, command) in enumerate(commands.items()):
            running[name] = Peer(command, f"{folder}/{number}")
            stack.callback(running[name].end)
        yield running


class Bench:
    """The servers, the calls, and the loop the calls run on."""

    def __init__(self, runner, servers, given):
        self.run, self.servers = runner.run, servers
        self.rounds, self.seconds = given.rounds(12), 0.15 if given.quick else 0.5
        self.calls = {name: self.run(self._calls(name, peer.path)) for name, peer in servers.items()}

    @staticmethod
    async def _calls(name, path):
        calls = (grpc_calls if name == GRPC else ttrpc_calls)(path)
        await calls[0]()
        return calls

    def rates(self, callers, names):
        """Rates, p50 latencies in ms and server CPU in µs a call, by name."""
        latencies, costs = {name: [] for name in names}, {name: [] for name in names}

        def one(name):
            def measure():
                seen, began, cpu = [], time.perf_counter(), self.servers[name].cpu_s()
                calls_s = self.run(rate(self.calls[name][0], callers, self.seconds, seen))
                calls = calls_s * (time.perf_counter() - began)
                costs[name].append((self.servers[name].cpu_s() - cpu) / calls * 1e6)
                latencies[name].append(statistics.median(seen) * 1e3)
                return calls_s

            return measure

        return interleaved({name: one(name) for name in names}, self.rounds), latencies, costs

    def unary(self):
        """Figures of small unary calls."""
        for callers in (1, 64):
            rates, latencies, costs = self.rates(callers, list(self.servers))
            what = f"unary, {callers} caller{'s' * (callers > 1)}"
            limits = {1: (4, 6), 64: (15, 25)}[callers]
            yield Figure(what, "/s", rates[OURS], rates[GRPC], GRPC, "higher", "", *limits)
            yield Figure(f"{what}, server on uvloop", "/s", rates[UVLOOP], rates[GRPC], GRPC, "higher")
            yield Figure(what, "/s", rates[OURS], rates[GO], GO, "higher", must=0.8)
            yield Figure(f"{what}, control", "/s", rates[OURS], rates[AGAIN], "the same", "higher", "the noise")
            yield Figure(f"{what}, server CPU a call", "us", costs[OURS], costs[GRPC], GRPC)
            yield Figure(f"{what}, server CPU a call", "us", costs[OURS], costs[GO], GO)
            if callers == 1:
                yield Figure(f"{what}, p50", "ms", latencies[OURS], must=0.15)
                yield Figure(f"{what}, p50", "ms", latencies[OURS], latencies[GO], GO)

    def floor(self, path):
        """The same bytes there and back between two blocking sockets."""

        def one():
            seen, end = [], time.perf_counter() + self.seconds
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(path)
                while (began := time.perf_counter()) < end:
                    sock.sendall(MESSAGE.SerializeToString())
                    sock.recv(1 << 12)
                    seen.append((time.perf_counter() - began) * 1e3)
            return statistics.median(seen)

        rounds = [one() for _ in range(self.rounds)]
        yield Figure("bare echo of the bytes, p50", "ms", rounds, note="two blocking sockets, no protocol: the floor")

    def large(self):
        """Replies of 4 MiB."""

        def one(name):
            return lambda: self.run(rate(self.calls[name][1], 2, self.seconds))

        rates = interleaved({name: one(name) for name in (OURS, GO, GRPC)}, self.rounds)
        yield Figure("replies of 4 MiB, 2 callers", "/s", rates[OURS], rates[GO], GO, "higher")
        yield Figure("replies of 4 MiB, 2 callers", "/s", rates[OURS], rates[GRPC], GRPC, "higher")

    def blocked(self):
        """Measure what a stream that nobody reads costs other calls on its connection."""
        blocked_call = self.run(self._block(self.calls[AGAIN][2], 1000))

        def one(name):
            return lambda: self.run(rate(self.calls[name][0], 64, self.seconds))

        rates = interleaved({name: one(name) for name in (AGAIN, OURS)}, self.rounds)
        yield Figure("unary beside a blocked stream", "/s", rates[AGAIN], rates[OURS], "none", "higher", must=0.95)
        self.run(_done(blocked_call.cancel))
        delays = {OURS: [], GO: []}
        for name, seen in delays.items():
            seen += [self.run(self._behind(self.servers[name].path)) for _ in range(2)]
        yield Figure(f"a call behind {UNREAD} unread messages", "ms", delays[OURS], delays[GO], GO)

    @staticmethod
    async def _block(client, messages):
        call = await client.bidi_stream(SERVICE, "Stuck", StringValue, StringValue)()
        for _ in range(messages):
            await call.send(MESSAGE)
        return call

    async def _behind(self, path):
        async with Client(path) as client:
            say = client.unary(SERVICE, "Say", StringValue, StringValue)
            await say(MESSAGE)
            await self._block(client, UNREAD)
            began = time.perf_counter()
            await say(MESSAGE)
            return (time.perf_counter() - began) * 1e3

    def idle(self):
        """Memory of connections that made one call and then nothing."""
        per_connection = {name: [_idle_kib(self.servers[name])] for name in (AGAIN, GO)}
        yield Figure("an idle connection of 1,000", "KiB", per_connection[AGAIN], per_connection[GO], GO)


async def _done(action):
    action()


def _idle_kib(peer):
    """KiB of the server's resident memory for each of `IDLE` connections."""
    request = ttrpc_pb2.Request(service=SERVICE, method="Say", payload=MESSAGE.SerializeToString())
    data = request.SerializeToString()
    frame = struct.pack(">IIBB", len(data), 1, 1, 0) + data
    before = peer.rss_kib()
    with ExitStack() as stack:
        for _ in range(IDLE):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(peer.path)
            sock.sendall(frame)
            assert sock.recv(1 << 12)
        return (peer.rss_kib() - before) / IDLE


def main(argv=None):
    given = options(sys.argv[1:] if argv is None else argv, __doc__)
    if not GO_PEER.exists():
        sys.exit("bench.ttrpc: run `make peers` first: Go's server is one of those measured")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    with tempfile.TemporaryDirectory(prefix="hf") as folder, peers(folder) as servers, ExitStack() as stack:
        bench = Bench(stack.enter_context(asyncio.Runner()), servers, given)
        echo = Peer([sys.executable, "-m", "bench._ttrpc_server", "echo"], f"{folder}/echo")
        stack.callback(echo.end)
        figures = [*bench.floor(echo.path), *bench.idle(), *bench.unary(), *bench.large(), *bench.blocked()]
        status = publish("ttrpc", figures, given)
    load = " ".join(f"{number:.2f}" for number in os.getloadavg())
    print(f"load {load} on {os.cpu_count()} CPUs")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
