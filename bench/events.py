"""Events to 100 subscribers: beside containerd, and beside a subscriber that never reads.

Rounds of ours, of ours with a blocked subscriber, and of containerd take turns, so that other load on the machine meets
all of them. The client is one Python process and co-limits; the server's CPU per delivered message does not know it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import grpc
from google.protobuf.any_pb2 import Any
from holdfast.api.services.events.v1.events_pb2 import PublishRequest, SubscribeRequest
from holdfast.api.services.events.v1.events_pb2_grpc import EventsStub
from holdfast.events import Exchange

from bench.frame import figure, side
from bench.frame.figure import Figure, Options

PEER = "containerd 1.6"
BARE, BARE_NOTE = "bare grpc.aio", "bytes from a queue to a stream, no filter, bound or layer"
SUBSCRIBERS = 100
CONNECTIONS = 4
BURST = 50  # events in flight before the slowest reader must have caught up
BURSTS = 10  # in one round
START = "/bench/start"
PAYLOAD = Any(type_url="holdfast.bench.v1.Nothing", value=bytes(200))  # an envelope of about 260 bytes
METADATA = (("containerd-namespace", "bench"),)


class Readers:
    """Subscribers that read all they get, on a few connections; ``reached`` waits until each has so many."""

    def __init__(self, count: int) -> None:
        self.counts = [0] * count
        self.target, self.waiter, self.left = 0, None, 0
        self.started = 0

    async def read(self, number, call):
        async for event in call:
            if START.encode() in event:
                self.counts[number] = 0
                self.started += 1
                continue
            self.counts[number] += 1
            if self.counts[number] == self.target:
                self.left -= 1
                if not self.left:
                    self.waiter.set_result(None)

    async def reached(self, target):
        self.target, self.waiter = target, asyncio.get_running_loop().create_future()
        self.left = sum(count < target for count in self.counts)
        if self.left:
            await self.waiter

    @asynccontextmanager
    async def running(self, address):
        own = [("grpc.use_local_subchannel_pool", 1)]  # a connection each
        request = SubscribeRequest(filters=["namespace==bench"]).SerializeToString()
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            channels = [grpc.aio.insecure_channel(address, own) for _ in range(CONNECTIONS)]
            for channel in channels:
                stack.push_async_callback(channel.close)
            calls = [
                channels[number % CONNECTIONS].unary_stream("/containerd.services.events.v1.Events/Subscribe")(request)
                for number in range(len(self.counts))
            ]  # bytes in, bytes out
            reading = [tasks.create_task(self.read(number, call)) for number, call in enumerate(calls)]
            await self._subscribed(channels[0])
            yield self
            for task in reading:
                task.cancel()

    async def _subscribed(self, channel):
        """Containerd does not say when it has subscribed: publish until every reader got one, then mark the start."""
        stub = EventsStub(channel)
        while min(self.counts) == 0:
            await stub.Publish(PublishRequest(topic="/bench/probe", event=PAYLOAD), metadata=METADATA)
            await asyncio.sleep(0.01)
        await stub.Publish(PublishRequest(topic=START, event=PAYLOAD), metadata=METADATA)
        while self.started < len(self.counts):
            await asyncio.sleep(0.01)


async def one_round(stub, readers, blocked):
    """Publish some bursts, beside a subscriber that never reads if asked; messages delivered a second."""
    call = stub.Subscribe(SubscribeRequest()) if blocked else None
    if call is not None:
        await call.initial_metadata()
    sent = min(readers.counts)
    started = time.perf_counter()
    for _ in range(BURSTS):
        await asyncio.gather(
            *(
                stub.Publish(PublishRequest(topic="/bench/event", event=PAYLOAD), metadata=METADATA)
                for _ in range(BURST)
            )
        )
        sent += BURST
        await readers.reached(sent)
    elapsed = time.perf_counter() - started
    if call is not None:
        call.cancel()
    return BURST * BURSTS * len(readers.counts) / elapsed


class Target:
    """One daemon with its readers connected."""

    def __init__(self, address: str, pid: int) -> None:
        self._pid = pid
        self._address = f"unix:{address}"
        self.readers = Readers(SUBSCRIBERS)
        self.cpu_us: list[float] = []

    @asynccontextmanager
    async def connected(self):
        async with self.readers.running(self._address), grpc.aio.insecure_channel(self._address) as channel:
            self._stub = EventsStub(channel)
            yield self

    async def round(self, blocked: bool = False) -> float:
        """Messages delivered a second; the CPU they cost goes to ``cpu_us``."""
        before = side.cpu_ns(self._pid)
        rate = await one_round(self._stub, self.readers, blocked)
        self.cpu_us.append((side.cpu_ns(self._pid) - before) / 1000 / (BURST * BURSTS * SUBSCRIBERS))
        return rate


async def fan_out(servers: list[tuple[str, int]], rounds: int) -> list[Figure]:
    async with AsyncExitStack() as stack:
        targets = [await stack.enter_async_context(Target(*server).connected()) for server in servers]
        for target in targets:
            await target.round()
            target.cpu_us.clear()
        ours, theirs, least = targets
        free, blocked, real, library = [], [], [], []
        for _ in range(rounds):
            free.append(await ours.round())
            real.append(await theirs.round())
            library.append(await least.round())
            blocked.append(await ours.round(blocked=True))
    label = f"fan-out to {SUBSCRIBERS}"
    return [
        Figure(f"{label}: delivered", "msg/s", free, real, PEER, "higher"),
        Figure(f"{label}: delivered, by itself", "msg/s", free, better="higher", must=20_000, stretch=25_000),
        Figure(f"{label}: delivered", "msg/s", free, library, BARE, "higher", BARE_NOTE),
        Figure(f"{label}: server CPU", "µs/msg", ours.cpu_us[::2], theirs.cpu_us, PEER),
        Figure(f"{label}: server CPU", "µs/msg", ours.cpu_us[::2], least.cpu_us, BARE),
        Figure(f"{label}, one never reads", "msg/s", blocked, free, "without it", "higher", must=0.95, stretch=1.0),
    ]


async def exchange_alone(rounds: int) -> Figure:
    """The exchange without a transport: what publishing itself costs."""
    exchange = Exchange()
    subscriptions = [exchange.subscribe(["namespace==bench"]) for _ in range(SUBSCRIBERS)]
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(100):
            exchange.publish("/bench/event", PAYLOAD, namespace="bench")
        times.append((time.perf_counter() - started) / 100 * 1e6)
        for subscription in subscriptions:
            for _ in range(100):
                await anext(subscription)
    return Figure(f"exchange alone, {SUBSCRIBERS} subscribers", "µs/event", times)


def measured(options: Options) -> list[Figure]:
    with ExitStack() as stack:
        daemons = [stack.enter_context(side.running(starter)) for starter in (side.OURS, side.CONTAINERD)]
        servers = [(daemon.address, daemon.pid) for daemon in daemons]
        servers.append(stack.enter_context(side.bare("bench._bare_events")))
        figures = asyncio.run(fan_out(servers, options.rounds(12)))
    return [*figures, asyncio.run(exchange_alone(options.rounds(20, 3)))]


def main(argv: Sequence[str]) -> int:
    options = figure.options(argv, __doc__)
    if side.containerd_is_missing():
        print("bench: containerd is not installed (.ci/run installs it)", file=sys.stderr)
        return 1
    return figure.publish("events", measured(options), options)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
