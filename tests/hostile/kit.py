"""A daemon under attack and what its other users see meanwhile: the answers' times, its memory, its work."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import grpc
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.node_kit import adj_of
from tests.running import PATIENCE_S, SLOW, Running, until

REPOSITORY = Path(__file__).parents[2]
ATTACKS = Path(__file__).parent / "attacks"
CONTROL = Path(__file__).parent / "control.py"
#: How long each attack is observed (an emulated processor answers less often); HOLDFAST_HOSTILE_SECONDS=60 for long.
SECONDS = float(os.environ.get("HOLDFAST_HOSTILE_SECONDS", "2" if SLOW == 1 else "4"))
NOBODY = 65534
RESCAN_S = 60
#: What an attack may add to a scrape, to a page, to a health check, and to the time until an exec has its rule's value.
#: The rest of what one takes is the machine's: `control.py` tells how long a server took at that time that nobody
#: attacked.
ADDED_S = 1.0
PROCESSORS = len(os.sched_getaffinity(0))
#: Tasks of a test itself that may want a processor at a time: the attack's, one for each, the daemon's, the clients'.
OUR_TASKS = PROCESSORS + 4
USUAL_S = 0.25  # the median until an exec has its value, beyond the control's; by a rescan it would be 60 s
#: Of one processor, for the engine's thread, while others make events as fast as they can: a fifth for events, a
#: twentieth for rescans, and what the daemon's own clients ask.
ENGINE_SHARE = 0.3
#: Lines of the log during an attack: one kind at 20 at once, which one a second follows, and a few of others.
LINES, LINES_PER_S = 25, 1.25
#: A run beside this one has another: the daemon of one must not give values to the processes of the other.
PREY, PREY_ADJ = f"hf-prey-{os.getpid()}", 300
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.66"  # where the good clients come from, and where attackers may


def memory_bound() -> int:
    """Half of the chart's memory limit, in bytes."""
    values = yaml.safe_load((REPOSITORY / "helm/holdfast/values.yaml").read_text())
    limit = re.fullmatch(r"(\d+)Mi", values["resources"]["limits"]["memory"])
    assert limit is not None
    return int(limit[1]) * (1 << 20) // 2


@dataclass(frozen=True)
class Sample:
    """One answer: since when it was waited for (monotonic), and how long that took.

    Of the control's, ``running`` says how many tasks of the machine wanted a processor then.
    """

    began: float
    taken_s: float
    running: float = 0.0


@dataclass
class Figures:
    """Measurements during one attack; ``control``: the answers of a server without an attack."""

    scrapes: list[Sample] = field(default_factory=list)
    pages: list[Sample] = field(default_factory=list)
    checks: list[Sample] = field(default_factory=list)
    enforced: list[Sample] = field(default_factory=list)
    control: list[Sample] = field(default_factory=list)
    rss: int = 0
    seconds: float = 0.0
    engine_share: float = 0.0
    daemon_share: float = 0.0
    lines: int = 0

    @property
    def answers(self) -> tuple[tuple[str, list[Sample]], ...]:
        """The times, by what they are of."""
        return (
            ("scrape", self.scrapes),
            ("page", self.pages),
            ("health", self.checks),
            ("placement", self.enforced),
        )

    @property
    def usual_s(self) -> float:
        """The median of the control's answers."""
        return statistics.median(sample.taken_s for sample in self.control)

    def added_s(self, sample: Sample) -> float:
        """The time beyond the slowest answer of the control at that time, as on a machine without others.

        On a processor that others want as well, the same work takes so many times longer.
        """
        ended = sample.began + sample.taken_s
        beside = [
            one for one in self.control if one.began <= ended + 0.5 and one.began + one.taken_s >= sample.began - 0.5
        ]
        others = statistics.mean(one.running for one in beside) - OUR_TASKS if beside else 0
        crowded = 1 + max(0, others) / PROCESSORS
        return (sample.taken_s - max((one.taken_s for one in beside), default=0.0)) / crowded

    def __str__(self) -> str:
        shown = "; ".join(f"{what} {_shown(times)}" for what, times in (*self.answers, ("control", self.control)))
        return (
            f"{self.seconds:.0f} s: rss {self.rss / (1 << 20):.0f} MiB; {shown}; processor: engine"
            f" {self.engine_share:.0%}, daemon {self.daemon_share:.0%}; {self.lines} log lines"
        )


def _shown(times: Sequence[Sample]) -> str:
    taken_ms = [sample.taken_s * 1000 for sample in times]
    return f"worst {max(taken_ms):.0f} ms median {statistics.median(taken_ms):.0f} ms of {len(taken_ms)}"


class Target:
    """A daemon of ours, run as root, with every listener open on loopback and one rule that is enforced."""

    def __init__(self, directory: Path, running: Running, ports: dict[str, int]) -> None:
        self.directory, self.running, self.ports = directory, running, ports
        self.pid = running.pid
        self.address = f"{directory}/h.sock"

    def processor_s(self) -> tuple[float, float]:
        """Seconds of a processor so far: the engine's thread, the daemon."""
        engine = next(stat for stat in self._threads() if "(hf-engine)" in stat)
        return _processor_s(engine), _processor_s(Path(f"/proc/{self.pid}/stat").read_text())

    def _threads(self) -> Iterator[str]:
        """The ``stat`` of each of the daemon's threads."""
        for path in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it ended since it was listed
                yield (path / "stat").read_text()

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def scrape(self) -> str:
        """The metrics page, over a connection of its own."""
        return self._get("metrics", "/metrics")

    def page(self) -> str:
        """A small page of the web listener, over a connection of its own."""
        return self._get("web", "/healthz")

    def _get(self, listener: str, path: str) -> str:
        port = self.ports[listener]
        peer = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S, source_address=(HERE, 0))
        try:
            peer.request("GET", path)
            answer = peer.getresponse()
            assert answer.status == 200
            return answer.read().decode()
        finally:
            peer.close()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a family's samples that have these labels."""
        total = 0.0
        for line in self.scrape().splitlines():
            found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
                total += float(found[2])
        return total

    def pauses(self, listener: str) -> None:
        """Wait until a connection was paused: on a crowded machine it takes a while until an attack costs so much."""
        until(lambda: self.metric("holdfast_connection_pauses_total", listener=listener) > 0, "a connection is paused")

    def check(self) -> None:
        """A health check on the health port, over a connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(f"127.0.0.1:{self.ports['health']}", options) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="holdfast.placement.v1.Placement"), timeout=PATIENCE_S
            )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, self.running.said[-4000:]

    def versions(self, number: int = 20) -> int:
        """Return how many of so many calls on the unix socket are answered."""
        with grpc.insecure_channel(f"unix:{self.address}") as channel:
            call = channel.unary_unary("/containerd.services.version.v1.Version/Version")
            return sum(1 for _ in range(number) if call(b"", timeout=PATIENCE_S))

    def refused(self, number: int = 10) -> list[str]:
        """Return why so many new clients of root's on the unix socket get no answer at the first try; empty: all do."""
        errors = []
        for _ in range(number):
            with grpc.insecure_channel(f"unix:{self.address}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
                try:
                    channel.unary_unary("/containerd.services.version.v1.Version/Version")(b"", timeout=PATIENCE_S)
                except grpc.RpcError as error:
                    errors.append(f"{error.code()}: {error.details()}")
        return errors

    def look(self) -> Sample:
        """List the placements over the unix socket; the time until they are there."""
        with grpc.insecure_channel(f"unix:{self.address}") as channel:
            call = channel.unary_unary("/holdfast.placement.v1.Placement/ListPlacements")
            return _timed(lambda: call(b"", timeout=4 * PATIENCE_S))

    @cached_property
    def prey(self) -> Path:
        """A program that the rule matches."""
        program = self.directory / PREY
        shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
        return program

    def enforce(self) -> Sample:
        """Start a process that the rule matches; the time until it has the rule's value."""
        with subprocess.Popen([self.prey, "600"]) as prey:
            began = time.monotonic()
            try:
                while True:
                    taken = time.monotonic() - began
                    if adj_of(prey.pid) == PREY_ADJ:
                        return Sample(began, taken)
                    assert taken < PATIENCE_S, "the engine enforces nothing any more"
                    time.sleep(0.001)
            finally:
                prey.kill()

    @contextmanager
    def controlled(self, figures: Figures) -> Iterator[None]:
        """Ask the control for as long as the block lasts; its answers are put into ``figures``."""
        with Running([sys.executable, CONTROL, f"unix:{self.directory}/control.sock"]) as control:
            control.line("at work")
            yield
            control.stop(signal.SIGTERM)
        figures.control = [Sample(*map(float, line.split())) for line in control.out if line[0].isdigit()]

    def observe(self, attack: Running | None = None, seconds: float = SECONDS) -> Figures:
        """Use the daemon as its good clients do for so long, while ``attack`` goes on."""
        figures, lines = Figures(), len(self.running.err)
        with self.controlled(figures):
            before_s, began = self.processor_s(), time.monotonic()
            while (elapsed := time.monotonic() - began) < seconds or len(figures.checks) < 3:
                assert not self.running.ended(), f"the daemon ended:\n{self.running.said[-4000:]}"
                assert attack is None or not attack.ended(), f"the attack ended early:\n{attack.said}"
                figures.scrapes.append(_timed(self.scrape))
                figures.pages.append(_timed(self.page))
                figures.checks.append(_timed(self.check))
                figures.enforced.append(self.enforce())
                figures.rss = max(figures.rss, self.rss())
            after_s = self.processor_s()
        shares = [(now - then) / elapsed for then, now in zip(before_s, after_s, strict=True)]
        figures.seconds, (figures.engine_share, figures.daemon_share) = elapsed, shares
        figures.lines = len(self.running.err) - lines
        return figures

    def survives(self, attack: Running | None, seconds: float = SECONDS) -> Figures:
        """Observe, and check that no client lost anything: answers in time, work done, memory and log bounded."""
        figures = self.observe(attack, seconds)
        name = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[2].partition(" ")[0]
        print(f"\n{name}: {figures}", flush=True)
        for what, times in figures.answers:
            worst = max(times, key=figures.added_s)
            assert figures.added_s(worst) < ADDED_S, f"{what} took {worst.taken_s:.3f} s: {figures}"
        assert statistics.median(sample.taken_s for sample in figures.enforced) < USUAL_S + figures.usual_s, figures
        assert figures.rss < memory_bound(), f"memory: {figures}"
        assert figures.lines < LINES + LINES_PER_S * figures.seconds, f"log: {figures}\n{self.running.said[-4000:]}"
        return figures


def _timed(action: Callable[[], object]) -> Sample:
    began = time.monotonic()
    action()
    return Sample(began, time.monotonic() - began)


def _processor_s(stat: str) -> float:
    """User and system time of a ``stat`` of proc(5)."""
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def configuration(directory: Path, more: str = "", plugins: str = "", grpc: str = "", rules: str = "") -> str:
    """The target's configuration; ``more`` are top-level lines, the others lines of those sections."""
    return f"""\
root: {directory}/root
state: {directory}/state
grpc:
  address: {directory}/h.sock
  tcp_address: 127.0.0.1:0
  health_address: 127.0.0.1:0
{grpc}
metrics: {{address: "127.0.0.1:0"}}
web: {{address: "127.0.0.1:0"}}
debug: {{address: {directory}/debug.sock}}
plugins:
  io.holdfast.placement.v1.rules:
    dry_run: false
    rescan: {RESCAN_S}s
    rules:
      - {{name: prey, match: {{comm: {PREY}}}, oom_score_adj: {{at_least: {PREY_ADJ}}}}}
{rules}
{plugins}
{more}
"""


LISTENERS = {
    "metrics": "metrics endpoint",
    "web": "web endpoint",
    "health": "health endpoint",
    "tcp": "TCP grpc endpoint",
}


@contextmanager
def target(
    directory: Path,
    more: str = "",
    plugins: str = "",
    grpc: str = "",
    rules: str = "",
    before: Sequence[str | Path] = (),
) -> Iterator[Target]:
    """A daemon that serves, on ports the kernel chose; ``before`` are words before its command (``prlimit …``)."""
    config = directory / "config.yaml"
    config.write_text(configuration(directory, more, plugins, grpc, rules))
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [*before, sys.executable, "-m", "holdfast", "run", "-c", config]
    with Running(command, env=environment) as running:
        running.line("successfully booted")
        ports = {name: port_in(running.line(f'listener="{said}"')) for name, said in LISTENERS.items()}
        made = Target(directory, running, ports)
        yield made
        assert not running.ended(), f"the daemon ended:\n{running.said[-4000:]}"


def port_in(line: str) -> int:
    """The port in the line of the log that has the address of a listener."""
    found = re.search(r'address="?127\.0\.0\.1:(\d+)', line)
    assert found is not None, line
    return int(found[1])


@contextmanager
def attacking(name: str, *arguments: object) -> Iterator[Running]:
    """Run ``attacks/NAME.py ARGUMENT…``, which becomes uid 65534 first, until the block ends; it said it is at work."""
    with Running([sys.executable, ATTACKS / f"{name}.py", *map(str, arguments)]) as running:
        running.line("at work")
        yield running
