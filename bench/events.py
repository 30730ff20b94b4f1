"""How many events a second reach 100 subscribers, and what one that never reads costs the others.

    python bench/events.py [--subscribers 100] [--rounds 12] [--address unix:PATH]

Without ``--address`` a daemon is started for it. The rounds with and without a blocked subscriber alternate, so that
other load on the machine meets both; figures are medians, the ratio is the median over pairs of rounds. The server's
cost is CPU time of its process per delivered message.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import grpc
from google.protobuf.any_pb2 import Any
from holdfast.api.services.events.v1.events_pb2 import PublishRequest, SubscribeRequest
from holdfast.api.services.events.v1.events_pb2_grpc import EventsStub
from holdfast.events import Exchange

CONNECTIONS = 4
BURST = 50  # events in flight before the slowest reader must have caught up
BURSTS = 10  # in one round
PAYLOAD = Any(type_url="holdfast.bench.v1.Nothing", value=bytes(200))  # an envelope of about 260 bytes
METADATA = (("containerd-namespace", "bench"),)


@contextmanager
def daemon():
    """Yield the address and the pid of a daemon of our own."""
    with tempfile.TemporaryDirectory(prefix="hf") as name:
        address = f"{name}/s"
        settings = Path(name, "config.yaml")
        settings.write_text("plugins:\n  io.containerd.event.v1.exchange:\n    queue_size: 64Mi\n")
        arguments = ["run", "-c", str(settings), "--root", f"{name}/root", "--state", f"{name}/state", "-a", address]
        process = subprocess.Popen([sys.executable, "-m", "holdfast", *arguments], stderr=subprocess.DEVNULL)
        try:
            with grpc.insecure_channel(f"unix:{address}") as channel:
                grpc.channel_ready_future(channel).result(timeout=30)
            yield f"unix:{address}", process.pid
        finally:
            process.terminate()
            process.wait(30)


def cpu_seconds(pid):
    """User and system time of a process so far; 0 where it cannot be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Readers:
    """Subscribers that read all they get, on a few connections; ``reached`` waits until each has so many."""

    def __init__(self, count):
        self.counts = [0] * count
        self.target, self.waiter, self.left = 0, None, 0

    async def read(self, number, call):
        async for _ in call:
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
            for call in calls:
                await call.initial_metadata()  # it is subscribed
            reading = [tasks.create_task(self.read(number, call)) for number, call in enumerate(calls)]
            yield self
            for task in reading:
                task.cancel()


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


async def measured(address, pid, subscribers, rounds):
    readers = Readers(subscribers)
    async with readers.running(address), grpc.aio.insecure_channel(address) as channel:
        stub = EventsStub(channel)
        before, free, blocked = cpu_seconds(pid), [], []
        for number in range(2 * rounds):
            (blocked if number % 2 else free).append(await one_round(stub, readers, bool(number % 2)))
        cpu = cpu_seconds(pid) - before
    ratio = statistics.median(slow / fast for slow, fast in zip(blocked, free, strict=True))
    delivered = 2 * rounds * BURST * BURSTS * subscribers
    print(f"{subscribers} subscribers, {CONNECTIONS} connections, {rounds} pairs of rounds")
    print(f"  delivered           {statistics.median(free):>9,.0f} msgs/s  ({min(free):,.0f}-{max(free):,.0f})")
    print(f"  beside a blocked    {statistics.median(blocked):>9,.0f} msgs/s  ratio {ratio:.2f}")
    print(f"  server CPU          {cpu / delivered * 1e6:>9.1f} µs/msg")


async def exchange_alone(subscribers):
    """The exchange without a transport: what publishing itself costs."""
    exchange = Exchange()
    subscriptions = [exchange.subscribe(["namespace==bench"]) for _ in range(subscribers)]
    times = []
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(100):
            exchange.publish("/bench/event", PAYLOAD, namespace="bench")
        times.append((time.perf_counter() - started) / 100)
        for subscription in subscriptions:
            for _ in range(100):
                await anext(subscription)
    best = min(times)
    print(f"exchange alone: {best * 1e6:.0f} µs an event, {best / subscribers * 1e6:.2f} µs a subscriber")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--address", help="a running daemon, as a gRPC target")
    parser.add_argument("--pid", type=int, default=0, help="its process, for the CPU figure")
    given = parser.parse_args()
    asyncio.run(exchange_alone(given.subscribers))
    if given.address:
        asyncio.run(measured(given.address, given.pid, given.subscribers, given.rounds))
        return
    with daemon() as (address, pid):
        asyncio.run(measured(address, pid, given.subscribers, given.rounds))


if __name__ == "__main__":
    main()
