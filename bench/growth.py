"""Cost of a unit of work as the work grows: methods, rules, subscribers, plugins, processes.

CPU time of one thread, in this process, the smallest size of each subject beside every larger one in the same round. A
ratio of 1 is work that grows in step with what there is; the limit of 3 says that nothing is quadratic.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence

import msgspec
from holdfast.events import Exchange
from holdfast.metrics import Registry
from holdfast.node.model.process import HostFacts, Process
from holdfast.node.plan.plan import plan
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import Rule
from holdfast.plugin import Kind, Registration
from holdfast.plugin.graph import ordered
from holdfast.rpc import Counters, MethodType

from bench.frame.figure import Figure, interleaved, options, publish

MUST, STRETCH = 3.0, 1.5
HOST = HostFacts(boot_id="bench", own_pid=1, memory_pages=1 << 22, capabilities=frozenset({"CAP_SYS_RESOURCE"}), cpus=2)
METHODS, RULES, SUBSCRIBERS, PLUGINS = (1, 20, 200), (1, 10, 100, 1000), (1, 10, 100), (10, 50, 200)
PROCESSES = (100, 1000, 10_000)
LEAST_S = 0.02  # of work in a sample
Work = Callable[[], object]


def us(work: Work, units: int) -> float:
    """CPU microseconds a unit."""
    times, began = 0, time.thread_time()
    while (spent := time.thread_time() - began) < LEAST_S:
        work()
        times += 1
    return spent / times / units * 1e6


def scrape(methods: int) -> Work:
    """The exposition of so many methods."""
    counters, registry = Counters(histogram=True), Registry()
    counters.add_to(registry)
    for number in range(methods):
        counters.method(f"/bench.v1.Service{number // 10}/Method{number}", MethodType.UNARY)
    families = counters.families()

    def work() -> str:
        lines: list[str] = []
        for family in families:
            family.write(lines)  # type: ignore[attr-defined]
        return "".join(lines)

    return work


def processes(count: int) -> list[Process]:
    return [
        Process(pid=100 + at, start_ticks=at, ppid=1, comm=f"prog{at % 200}", cgroups={"": f"/slice{at % 300}.slice"})
        for at in range(count)
    ]


def planned(rules: int, count: int) -> Work:
    """The plans of so many processes under so many rules, of which only the first has anything to match here."""
    given = [{"name": f"r{at}", "match": {"comm": f"prog{at * 1000}"}, "oom_score_adj": 5} for at in range(rules)]
    book, found = compile_rules(msgspec.convert(given, tuple[Rule, ...])), processes(count)
    return lambda: [plan(process, book, HOST) for process in found]


def plugins(count: int) -> Work:
    """The order of so many plugins, each of which needs the one before."""

    async def init(context):
        yield None

    kinds = [Kind(f"io.bench.kind{at}.v1") for at in range(count)]
    found = [Registration(kind, "x", init, (kinds[at - 1],) if at else ()) for at, kind in enumerate(kinds)]
    return lambda: ordered(found, set())


async def fan_out_us(subscribers: int, events: int = 50) -> float:
    """CPU microseconds of a message delivered to one subscriber of so many."""
    from google.protobuf.any_pb2 import Any

    exchange, payload = Exchange(), Any(type_url="bench.Nothing", value=bytes(200))

    async def read(subscription) -> None:
        left = events
        async for _ in subscription:
            left -= 1
            if not left:
                return

    began = time.thread_time()
    readers = [asyncio.ensure_future(read(exchange.subscribe([]))) for _ in range(subscribers)]
    await asyncio.sleep(0)
    for _ in range(events):
        exchange.publish("/bench/event", payload, "bench")
        await asyncio.sleep(0)
    await asyncio.gather(*readers)
    return (time.thread_time() - began) / events / subscribers * 1e6


def series(what: str, sizes: Sequence[int], measures: dict[str, Callable[[], float]], rounds: int) -> list[Figure]:
    """A figure for each size above the smallest, beside the smallest."""
    samples = interleaved(measures, rounds)
    least = str(sizes[0])
    return [
        Figure(f"{what}: {size:,}", "µs", samples[str(size)], samples[least], f"{least}", must=MUST, stretch=STRETCH)
        for size in sizes[1:]
    ]


def main(argv: Sequence[str]) -> int:
    """Measure, print, and write the JSON."""
    given = options(argv, __doc__)
    rounds = given.rounds(12, 3)

    def sizes(
        what: str, counts: Sequence[int], make: Callable[[int], Work], units: Callable[[int], int]
    ) -> list[Figure]:
        works = {count: make(count) for count in counts}
        measures = {str(n): (lambda n=n: us(works[n], units(n))) for n in counts}  # type: ignore[misc]
        return series(what, counts, measures, rounds)

    fan_out = {str(n): (lambda n=n: asyncio.run(fan_out_us(n))) for n in SUBSCRIBERS}  # type: ignore[misc]
    figures = [
        *sizes("scrape, a method of", METHODS, scrape, lambda n: n),
        *sizes("plan, a process under rules", RULES, lambda n: planned(n, 200), lambda _: 200),
        *sizes("plan, a process of", PROCESSES, lambda n: planned(100, n), lambda n: n),
        *sizes("order, a plugin of", PLUGINS, plugins, lambda n: n),
        *series("fan-out, a message to one of", SUBSCRIBERS, fan_out, rounds),
    ]
    return publish("growth", figures, given)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
