"""A daemon under attack and what its other users see meanwhile: the answers' times, its memory, its work."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.running import PATIENCE_S, Running

REPOSITORY = Path(__file__).parents[2]
ATTACKS = Path(__file__).parent / "attacks"
#: How long each attack lasts; HOLDFAST_HOSTILE_SECONDS=60 for a long run.
SECONDS = float(os.environ.get("HOLDFAST_HOSTILE_SECONDS", "4"))
NOBODY = 65534
#: A scrape and a health check must be answered within a second; a single one may take longer on a machine that is busy
#: with the attackers and the tests.
ANSWER_S, WORST_S = 1.0, 5.0
#: An exec that a rule matches must have its value by then, without waiting for a rescan.
ENFORCED_S = 5.0
PREY, PREY_ADJ = "hf-hostile-prey", 300
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.66"  # where the good clients come from, and where attackers may


def memory_bound() -> int:
    """Half of the chart's memory limit, in bytes."""
    values = yaml.safe_load((REPOSITORY / "helm/holdfast/values.yaml").read_text())
    limit = re.fullmatch(r"(\d+)Mi", values["resources"]["limits"]["memory"])
    assert limit is not None
    return int(limit[1]) * (1 << 20) // 2


@dataclass
class Figures:
    """What was seen during one attack."""

    scrapes_s: list[float] = field(default_factory=list)
    checks_s: list[float] = field(default_factory=list)
    enforced_s: list[float] = field(default_factory=list)
    rss: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        def worst(times: Sequence[float]) -> str:
            return f"median {statistics.median(times) * 1000:.0f} ms, worst {max(times) * 1000:.0f} ms of {len(times)}"

        return (
            f"{self.seconds:.0f} s: rss {self.rss / (1 << 20):.0f} MiB; scrape {worst(self.scrapes_s)};"
            f" health {worst(self.checks_s)}; enforced {worst(self.enforced_s)}"
        )


class Target:
    """A daemon of ours, run as root, with every listener open on loopback and one rule that is enforced."""

    def __init__(self, directory: Path, running: Running, ports: dict[str, int]) -> None:
        self.directory, self.running, self.ports = directory, running, ports
        self.pid = running.pid
        self.address = f"{directory}/h.sock"

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def scrape(self, source: str = HERE) -> str:
        """The metrics page, over a connection of its own."""
        peer = http.client.HTTPConnection(
            "127.0.0.1", self.ports["metrics"], timeout=PATIENCE_S, source_address=(source, 0)
        )
        try:
            peer.request("GET", "/metrics")
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

    def check(self) -> None:
        """A health check on the health port, over a connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(f"127.0.0.1:{self.ports['health']}", options) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="holdfast.placement.v1.Placement"), timeout=PATIENCE_S
            )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    def versions(self, number: int = 20) -> int:
        """How many of so many calls on the unix socket are answered."""
        with grpc.insecure_channel(f"unix:{self.address}") as channel:
            call = channel.unary_unary("/containerd.services.version.v1.Version/Version")
            return sum(1 for _ in range(number) if call(b"", timeout=PATIENCE_S))

    def look(self) -> float:
        """List the placements over the unix socket; the seconds until they are there."""
        with grpc.insecure_channel(f"unix:{self.address}") as channel:
            call = channel.unary_unary("/holdfast.placement.v1.Placement/ListPlacements")
            return _timed(lambda: call(b"", timeout=4 * PATIENCE_S))

    def enforce(self) -> float:
        """Start a process that the rule matches; the seconds until it has the rule's value."""
        program = self.directory / PREY
        if not program.exists():
            shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
        with subprocess.Popen([program, "60"]) as prey:
            began = time.monotonic()
            try:
                while True:
                    taken = time.monotonic() - began
                    if Path(f"/proc/{prey.pid}/oom_score_adj").read_text().strip() == str(PREY_ADJ):
                        return taken
                    assert taken < PATIENCE_S, "the engine enforces nothing any more"
                    time.sleep(0.001)
            finally:
                prey.kill()

    def observe(self, attack: Running | None = None, seconds: float = SECONDS) -> Figures:
        """Use the daemon as its good clients do for so long, while ``attack`` goes on."""
        figures, began = Figures(), time.monotonic()
        while (elapsed := time.monotonic() - began) < seconds or len(figures.checks_s) < 3:
            assert not self.running.ended(), f"the daemon ended:\n{self.running.said[-4000:]}"
            assert attack is None or not attack.ended(), f"the attack ended early:\n{attack.said}"
            figures.scrapes_s.append(_timed(self.scrape))
            figures.checks_s.append(_timed(self.check))
            figures.enforced_s.append(self.enforce())
            figures.rss = max(figures.rss, self.rss())
            figures.seconds = elapsed
        return figures

    def survives(self, attack: Running | None, seconds: float = SECONDS) -> Figures:
        """Observe, and check that nobody lost anything: answers in time, work done, memory within its bound."""
        figures = self.observe(attack, seconds)
        print(figures)
        for what, times in (("scrape", figures.scrapes_s), ("health check", figures.checks_s)):
            assert statistics.median(times) < ANSWER_S * busy(), f"{what}: {figures}"
            assert max(times) < WORST_S * busy(), f"{what}: {figures}"
        assert max(figures.enforced_s) < ENFORCED_S, f"enforcement: {figures}"
        assert figures.rss < memory_bound(), f"memory: {figures}"
        return figures


def busy() -> float:
    """How many times longer answers may take: others' work delays every one."""
    return max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


def _timed(action) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def configuration(directory: Path, ports: dict[str, int], more: str = "", plugins: str = "", grpc: str = "") -> str:
    """The target's configuration; ``more`` are top-level lines, ``plugins`` and ``grpc`` lines of those sections."""
    return f"""\
root: {directory}/root
state: {directory}/state
grpc:
  address: {directory}/h.sock
  tcp_address: 127.0.0.1:{ports["tcp"]}
  health_address: 127.0.0.1:{ports["health"]}
{grpc}
metrics: {{address: "127.0.0.1:{ports["metrics"]}"}}
debug: {{address: {directory}/debug.sock}}
plugins:
  io.holdfast.placement.v1.rules:
    dry_run: false
    rescan: 60s
    rules:
      - {{name: prey, match: {{comm: {PREY}}}, oom_score_adj: {{at_least: {PREY_ADJ}}}}}
{plugins}
{more}
"""


def free_ports(*names: str) -> dict[str, int]:
    """Loopback ports nobody listens on, by name."""
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in names}
    ports = {name: sock.getsockname()[1] for name, sock in sockets.items()}
    for sock in sockets.values():
        sock.close()
    return ports


@contextmanager
def target(
    directory: Path, more: str = "", plugins: str = "", grpc: str = "", before: Sequence[str | Path] = ()
) -> Iterator[Target]:
    """A daemon that serves; ``before`` are words before its command (``prlimit --nofile=…``)."""
    ports = free_ports("metrics", "health", "tcp")
    config = directory / "config.yaml"
    config.write_text(configuration(directory, ports, more, plugins, grpc))
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [*before, sys.executable, "-m", "holdfast", "run", "-c", config]
    with Running(command, env=environment) as running:
        running.line("successfully booted")
        made = Target(directory, running, ports)
        yield made
        assert not running.ended(), f"the daemon ended:\n{running.said[-4000:]}"


@contextmanager
def attacking(name: str, *arguments: object) -> Iterator[Running]:
    """Run ``attacks/NAME.py ARGUMENT…``, which becomes uid 65534 first, until the block ends; it said it is at work."""
    with Running([sys.executable, ATTACKS / f"{name}.py", *map(str, arguments)]) as running:
        running.line("at work")
        yield running
