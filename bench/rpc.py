"""Unary calls through the whole layer beside bare grpc.aio and beside the usual library chain.

    python -m bench rpc

Every server runs for the whole time and is idle but in its own slices, which are taken in a new order each round. One
grpc.aio client asks them all over unix sockets; at 64 calls at a time it is near its own limit, so a ratio there says
what that client sees, and the CPU time per call says what the node pays.

The libraries run in an environment of their own, made once in ``bench/.libraries`` from ``bench/rpc-libraries.txt``;
``HOLDFAST_BENCH_LIBRARIES`` names the Python of one that is there already.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
import timeit
import venv
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue

from bench.frame.figure import Figure, interleaved, options, publish

HERE = Path(__file__).parent
SERVER = HERE / "_rpc_server.py"
SLICE_S = 0.4
METHOD = "/bench.v1.Last/Echo"

#: The whole chain as the daemon has it.
CHAIN = ["ours", "--methods", "60"]
#: Servers by name: the chain and its flags. Two are the same: what they differ by is the noise of the run.
ARMS: dict[str, list[str]] = {
    "bare": ["bare"],
    "bare again": ["bare"],
    "1 %": [*CHAIN, "--ratio", "0.01"],
    "always": [*CHAIN, "--ratio", "1"],
    "off": CHAIN,
    "1 method": ["ours", "--methods", "1", "--ratio", "0.01"],
    "200 methods": ["ours", "--methods", "200", "--ratio", "0.01"],
    "uvloop": ["ours", "--methods", "60", "--ratio", "0.01", "--loop", "uvloop"],
    "uvloop, batch": ["ours", "--methods", "60", "--ratio", "0.01", "--loop", "uvloop", "--batch"],
    "libraries": ["libraries", "--methods", "60", "--ratio", "0.01"],
    "libraries always": ["libraries", "--methods", "60", "--ratio", "1"],
}
#: Figures: what it is called, ours, the peer, and the limit and the aim it is held against.
COMPARED: list[tuple[str, str, str, float | None, float | None]] = [
    ("control: the same server twice", "bare again", "bare", None, None),
    ("chain, 60 methods, 1 % traced", "1 %", "bare", 0.95, 1.05),
    ("… with uvloop", "uvloop", "bare", None, None),
    ("… with uvloop and SCHED_BATCH", "uvloop, batch", "bare", None, None),
    ("chain, tracing off", "off", "bare", None, None),
    ("chain, always traced", "always", "bare", 0.85, 1.0),
    ("chain, 200 methods ÷ 1", "200 methods", "1 method", 0.95, 1.0),
    ("chain ÷ libraries, 1 % traced", "1 %", "libraries", 1.3, 1.5),
    ("chain ÷ libraries, always traced", "always", "libraries always", None, None),
]
#: Whose server CPU a call is held against whose.
COSTS = [
    ("bare again", "bare"),
    ("1 %", "bare"),
    ("uvloop", "bare"),
    ("1 %", "libraries"),
]


@dataclass(slots=True)
class Arm:
    """One running server and a client of it."""

    process: subprocess.Popen[str]
    call: Any = None
    channel: Any = None
    cpu_us: dict[int, list[float]] = field(default_factory=dict)

    def cpu_ns(self) -> int:
        """CPU time of all its threads so far."""
        total = 0
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            total += int(path.read_text().split()[0])
        return total

    def connect(self, target: str) -> None:
        self.channel = grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)])
        self.call = self.channel.unary_unary(METHOD, StringValue.SerializeToString, StringValue.FromString)

    async def rate(self, concurrency: int, slice_s: float) -> float:
        """Calls a second, so many at a time; the CPU they cost is kept by the way."""
        request, deadline, done = StringValue(value="x" * 32), time.perf_counter() + slice_s, 0

        async def work() -> None:
            nonlocal done
            while time.perf_counter() < deadline:
                await self.call(request)
                done += 1

        cpu, began = self.cpu_ns(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
        elapsed = time.perf_counter() - began
        self.cpu_us.setdefault(concurrency, []).append((self.cpu_ns() - cpu) / 1000 / done)
        return done / elapsed


def libraries_python(*, make: bool) -> str | None:
    """The Python that has the libraries; made if asked for, None where there is none."""
    given = os.environ.get("HOLDFAST_BENCH_LIBRARIES")
    if given:
        return given
    python = HERE / ".libraries" / "bin" / "python"
    if not python.exists() and make:
        venv.create(HERE / ".libraries", with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "-r", HERE / "rpc-libraries.txt"]
        subprocess.run(install, check=True)
    return str(python) if python.exists() else None


def start(stack: ExitStack, directory: str, name: str, python: str) -> tuple[Arm, str]:
    socket = f"{directory}/{list(ARMS).index(name)}"
    process = subprocess.Popen([python, str(SERVER), *ARMS[name][:1], socket, *ARMS[name][1:]], stdout=-1, text=True)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return Arm(process), f"unix:{socket}"


def measured(rounds: int, slice_s: float, libraries: str | None) -> tuple[dict[str, list[float]], dict[str, Arm]]:
    """Rates by ``arm@concurrency``, and the servers they were taken from (ended by now)."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="hf"))
        names = [name for name in ARMS if libraries or not name.startswith("libraries")]
        started = {
            name: start(stack, directory, name, (libraries or "") if name.startswith("libraries") else sys.executable)
            for name in names
        }
        arms = {name: arm for name, (arm, _) in started.items()}

        async def connect() -> None:
            for name, (arm, target) in started.items():
                assert arm.process.stdout is not None
                if arm.process.stdout.readline() != "ready\n":
                    raise RuntimeError(f"the server for {name!r} did not start")
                arm.connect(target)
                await arm.rate(8, slice_s / 2)

        async def disconnect() -> None:
            for arm in arms.values():
                await arm.channel.close()

        runner.run(connect())
        measures = {
            f"{name}@{concurrency}": (
                lambda arm=arm, concurrency=concurrency: runner.run(arm.rate(concurrency, slice_s))  # type: ignore[misc]
            )
            for name, arm in arms.items()
            for concurrency in (1, 64)
        }
        samples = interleaved(measures, rounds)
        runner.run(disconnect())
    return samples, arms


def compared(samples: dict[str, list[float]], arms: dict[str, Arm]) -> list[Figure]:
    """A figure a comparison and concurrency, then the CPU time."""
    figures = []
    for name, ours, peer, *limits in COMPARED:
        if ours in arms and peer in arms:
            for concurrency in (1, 64):
                mine, theirs = samples[f"{ours}@{concurrency}"], samples[f"{peer}@{concurrency}"]
                label = f"{name}, c={concurrency}"
                figures.append(Figure(label, "calls/s", mine, theirs, peer, "higher", "", *limits))
    for ours, peer in COSTS:
        if peer in arms:
            for concurrency in (1, 64):
                mine, theirs = arms[ours].cpu_us[concurrency], arms[peer].cpu_us[concurrency]
                label = f"server CPU a call, {ours}, c={concurrency}"
                figures.append(Figure(label, "µs", mine, theirs, peer))
    return figures


class StubContext:
    """A gRPC context with the parts that the layer uses, at no cost."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self._metadata = (("user-agent", "grpc-python"), ("containerd-namespace", "k8s.io"), *metadata)

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def code(self) -> None:
        return None


def layer_alone(rounds: int) -> list[Figure]:
    """µs that the layer adds to a call, without a gRPC core; the minimum over each round's repeats."""
    from holdfast.rpc import Counters, InterceptorLayer
    from holdfast.rpc.spans import CallTracing
    from opentelemetry.sdk.trace import SpanProcessor

    async def answer(request: Any, context: Any) -> Any:
        return request

    def us(call: Any, context: Any) -> float:
        def once() -> None:
            coroutine = call(b"x", context)
            with suppress(StopIteration):
                coroutine.send(None)

        return min(timeit.repeat(once, timer=time.thread_time, number=500, repeat=20)) / 500 * 1e6

    def wrapped(ratio: float | None) -> Any:
        tracing = CallTracing([SpanProcessor()], lambda share, follow: (True, ratio)) if ratio is not None else None
        handler = grpc.unary_unary_rpc_method_handler(answer)
        return InterceptorLayer(Counters(), tracing=tracing).wrap("/a.B/C", handler).unary_unary

    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
    cases = {
        "tracing off": (wrapped(None), StubContext(), 5),
        "1 %, no caller's trace": (wrapped(0.01), StubContext(), 5),
        "1 %, caller unsampled": (wrapped(0.01), StubContext(("traceparent", f"{parent}0")), 5),
        "1 %, caller sampled": (wrapped(0.01), StubContext(("traceparent", f"{parent}1")), 25),
    }
    measures = {
        name: (lambda call=call, context=context: us(call, context)) for name, (call, context, _) in cases.items()
    }
    samples = interleaved({"nothing": lambda: us(answer, StubContext()), **measures}, rounds)
    nothing = samples["nothing"]
    return [
        Figure(f"layer alone, {name}", "µs", [mine - base for mine, base in zip(samples[name], nothing, strict=True)],
               must=limit)
        for name, (_, _, limit) in cases.items()
    ]  # fmt: skip


def scrape(rounds: int) -> list[Figure]:
    """ms of the loop that one scrape of 200 methods with the histogram takes."""
    import prometheus_client
    from holdfast.metrics import Registry
    from holdfast.metrics.exposition import Registry as _  # noqa: F401 (imported before prometheus_client is seen)
    from holdfast.rpc import Counters, MethodType

    counters, registry = Counters(histogram=True), Registry()
    counters.add_to(registry)
    theirs = prometheus_client.CollectorRegistry()
    labels = ["grpc_method", "grpc_service", "grpc_type"]
    handled = prometheus_client.Counter("grpc_server_handled", "H.", ["grpc_code", *labels], registry=theirs)
    plain = [
        prometheus_client.Counter(f"grpc_server_{name}", "H.", labels, registry=theirs)
        for name in ("started", "msg_received", "msg_sent")
    ]
    seconds = prometheus_client.Histogram("grpc_server_handling_seconds", "H.", labels, registry=theirs)
    for number in range(200):
        method = counters.method(f"/bench.v1.Service{number // 10}/Method{number}", MethodType.UNARY)
        values = (f"Method{number}", f"bench.v1.Service{number // 10}", "unary")
        for code in range(17):  # one method in ten has seen errors
            count = number if code == 0 or number % 10 == 0 else 0
            handled.labels(str(code), *values).inc(count)
            method.handled[code] = count
        for family in plain:
            family.labels(*values).inc(number)
        method.started = method.received = method.sent = number
        seconds.labels(*values).observe(0.003)
        assert method.seconds is not None
        method.seconds.observe(0.003)
    lines: list[str] = []

    def ours() -> bytes:
        lines.clear()
        for family in counters.families():
            family.write(lines)  # type: ignore[attr-defined]
        return "".join(lines).encode()

    def ms(write: Any, times: int) -> float:
        return min(timeit.repeat(write, timer=time.thread_time, number=1, repeat=times)) * 1000

    samples = interleaved(
        {"ours": lambda: ms(ours, 10), "theirs": lambda: ms(lambda: prometheus_client.generate_latest(theirs), 3)},
        rounds,
    )
    return [
        Figure("scrape, 200 methods with histogram", "ms", samples["ours"], must=5, stretch=2),
        Figure("scrape, 200 methods with histogram", "ms", samples["ours"], samples["theirs"], "prometheus_client"),
    ]


def main(argv: Sequence[str]) -> int:
    """Measure and publish."""
    given = options(argv, __doc__)
    libraries = libraries_python(make=not given.quick)
    if libraries is None:
        print("bench: rpc: no libraries to compare with (make bench without QUICK installs them)", file=sys.stderr)
    samples, arms = measured(given.rounds(12), SLICE_S / (2 if given.quick else 1), libraries)
    figures = [*compared(samples, arms), *layer_alone(given.rounds(7)), *scrape(given.rounds(7))]
    return publish("rpc", figures, given)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
