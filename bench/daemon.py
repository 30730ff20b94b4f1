"""The daemon beside containerd: start, memory, and unary calls through the whole chain.

The client is Python's and is busy itself, so at many calls in flight it is the slower part beside containerd: the
ratio of calls per second flatters holdfast there, and the ratio of server CPU per call is the honest one. A second
holdfast measured against the first is the control: what it differs from 1 by is what this run cannot resolve. A bare
grpc.aio server with one method, no layer and nothing beside it says what the library leaves to be had.
"""

from __future__ import annotations

import asyncio
import compileall
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc

from bench.frame import figure, side
from bench.frame.figure import Figure, Options
from bench.frame.load import Load, Slice
from tests.peers.daemon import Daemon

PEER = "containerd 1.6"
BARE_METHOD = "/bench.v1.Last/Echo"
STARTERS = {"ours": side.OURS, "peer": side.CONTAINERD}
BARE_NOTE = "one echo, no layer, nothing beside it"
SLICE_S = 0.5
LOAD_S = 8.0
LOAD = f"{LOAD_S:g} s of calls by 64 callers, then 2 s of nothing"
#: Calls a second ÷ containerd's, by concurrency: must, stretch.
LIMITS = {1: (0.70, 0.75), 64: (0.22, 0.30)}
#: Where a server listens, its pid, and the method to call.
Target = tuple[str, int, str]


def first_answer_ms(starter: side.Starter) -> float:
    """From exec to the first answered Version call, with directories of its own that are new."""
    with side.folder() as path:
        config = side.config(path)
        began = time.perf_counter()
        with starter(path, config) as daemon:
            side.wait_for_socket(daemon.address)
            with grpc.insecure_channel(f"unix:{daemon.address}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
                channel.unary_unary(side.VERSION)(b"", metadata=side.METADATA, timeout=30)
            took = time.perf_counter() - began
    return took * 1000


def compile_sources() -> None:
    """Write .pyc files, as the image has them, where the environment forbids them."""
    compileall.compile_dir(Path(__file__).parents[1] / "service", quiet=1)


def start_figures(options: Options) -> list[Figure]:
    compile_sources()
    measures = {name: lambda starter=starter: first_answer_ms(starter) for name, starter in STARTERS.items()}
    for measure in measures.values():
        measure()  # the first start of a day reads its files from disk
    samples = figure.interleaved(measures, options.rounds(15, 3))
    return [Figure("exec to first answered call", "ms", samples["ours"], samples["peer"], PEER, must=3.5, stretch=2.5)]


def memory_figures(options: Options) -> list[Figure]:
    """Idle, after the first answered call and half a second."""
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in STARTERS}
    for _ in range(options.rounds(5, 1)):
        for name, starter in STARTERS.items():
            with side.running(starter) as daemon:
                time.sleep(0.5)
                for key, value in side.memory_mib(daemon.pid).items():
                    samples[name].setdefault(key, []).append(value)
    rss, dirty = ((samples["ours"][key], samples["peer"][key], PEER) for key in ("Rss", "Private_Dirty"))
    return [
        Figure("idle RSS, rules loaded", "MiB", *rss, must=1.2, stretch=1.0),
        Figure("idle private dirty", "MiB", *dirty),
        Figure("RSS after load ÷ before it", "MiB", *after_load(options), "before", must=1.15, note=LOAD),
    ]


def after_load(options: Options) -> tuple[list[float], list[float]]:
    """RSS when all is quiet again after calls that 64 callers made, and before them."""
    after, before = [], []

    async def load(daemon: Daemon) -> None:
        client = Load(daemon.address, daemon.pid, side.VERSION)
        await client.slice(64, LOAD_S / (4 if options.quick else 1))
        await client.close()

    for _ in range(options.rounds(3, 1)):
        with side.running(side.OURS) as daemon:
            time.sleep(0.5)
            before.append(side.memory_mib(daemon.pid)["Rss"])
            asyncio.run(load(daemon))
            time.sleep(2)
            after.append(side.memory_mib(daemon.pid)["Rss"])
    return after, before


def call_figures(options: Options) -> list[Figure]:
    with ExitStack() as stack:
        daemons = {name: stack.enter_context(side.running(starter)) for name, starter in STARTERS.items()}
        daemons["control"] = stack.enter_context(side.running(side.OURS))
        targets = {name: (daemon.address, daemon.pid, side.VERSION) for name, daemon in daemons.items()}
        targets["bare"] = (*stack.enter_context(side.bare("bench._rpc_server", "bare")), BARE_METHOD)
        return [
            made
            for concurrency in (1, 64)
            for made in _figures_at(concurrency, asyncio.run(_slices(targets, concurrency, options)))
        ]


async def _slices(targets: dict[str, Target], concurrency: int, options: Options) -> dict[str, list[Slice]]:
    loads = {name: Load(*target) for name, target in targets.items()}
    taken: dict[str, list[Slice]] = {name: [] for name in loads}
    draw = random.Random(concurrency)
    for load in loads.values():
        await load.slice(concurrency, 0.2)
    for _ in range(options.rounds(16, 2)):
        for name in draw.sample(list(loads), len(loads)):
            taken[name].append(await loads[name].slice(concurrency, SLICE_S))
    for load in loads.values():
        await load.close()
    return taken


def _figures_at(concurrency: int, taken: dict[str, list[Slice]]) -> list[Figure]:
    def column(name: str, field: str) -> list[float]:
        return [getattr(one, field) for one in taken[name]]

    def beside(field: str, label: str, unit: str, better: figure.Better) -> Figure:
        return Figure(f"{label}, c={concurrency}", unit, column("ours", field), column("peer", field), PEER, better)

    rates = column("ours", "calls_per_s"), column("control", "calls_per_s")
    bare = column("bare", "calls_per_s"), column("peer", "calls_per_s")
    beside_bare = column("ours", "calls_per_s"), column("bare", "calls_per_s")
    beside_peer = column("ours", "calls_per_s"), column("peer", "calls_per_s"), PEER, "higher", ""
    return [
        Figure(f"unary calls, c={concurrency}", "/s", *beside_peer, *LIMITS[concurrency]),
        beside("p50_ms", "p50", "ms", "lower"),
        beside("p99_ms", "p99", "ms", "lower"),
        beside("cpu_us_per_call", "server CPU per call", "µs", "lower"),
        Figure(f"control: unary calls, c={concurrency}", "/s", *rates, "another holdfast", "higher"),
        Figure(f"bare grpc.aio: unary calls, c={concurrency}", "/s", *bare, PEER, "higher", BARE_NOTE),
        Figure(f"unary calls ÷ bare grpc.aio's, c={concurrency}", "/s", *beside_bare, "bare grpc.aio", "higher"),
    ]


def main(argv: Sequence[str]) -> int:
    """Measure, print, and write the JSON."""
    options = figure.options(argv, __doc__)
    if side.containerd_is_missing():
        print("bench: containerd is not installed (.ci/run installs it)", file=sys.stderr)
        return 1
    figures = [*start_figures(options), *memory_figures(options), *call_figures(options)]
    return figure.publish("daemon", figures, options)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
