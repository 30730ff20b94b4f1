"""cgrulesengd, ananicy and holdfast on the same load: who holds how many, how soon, and what is left afterwards.

Needs root, cgroup v1 and cgrulesengd. The load, a third at a time: processes 20 ms apart that live until they are
held (15 s at most), processes that live 5 ms, and processes whose exec came while the daemon was stopped and its
queue full. Each daemon alone; cgrulesengd moves to a cgroup, as it knows no ``oom_score_adj``, the others write that.

ananicy is no package of a distribution or of PyPI. ``HOLDFAST_ANANICY`` names a checkout of it
(https://github.com/Nefelim4ag/Ananicy): then that program runs, at its own pace and under its own file format, and
its published rules go through ``holdfast rules import`` into ours (in dry run: they would rename and renice this
machine). Without one a stand-in does what its README says: every 5 s, by the name of the program.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench.frame import node
from bench.frame.figure import Figure, Options, options, publish
from bench.frame.node import ADJ, LATE, NAME, PEER, PEERS, Daemon, overrun, percentile_us, starter

RULE = {"name": NAME, "oom_score_adj": 300}
STAND_IN = """
import json, os, sys, time
rules = {rule["name"]: rule["oom_score_adj"] for rule in map(json.loads, open(sys.argv[1]))}
while True:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            adj = rules.get(os.path.basename(os.readlink(f"/proc/{pid}/exe")))
            if adj is not None and int(open(f"/proc/{pid}/oom_score_adj").read()) != adj:
                open(f"/proc/{pid}/oom_score_adj", "w").write(str(adj))
        except OSError:
            continue
    time.sleep(5)
"""
#: The program as it is, but that a process it may not look at does not end it (a pid 1 with more capabilities did).
ORIGINAL = """
import os, sys
sys.path.insert(0, sys.argv[2])
import ananicy
real = os.path.realpath
def realpath(path):
    try:
        return real(path)
    except PermissionError:
        return path
os.path.realpath = realpath
ananicy.Ananicy(sys.argv[1] + "/").run()
"""


@dataclass
class Arm:
    """One daemon: how it is started, what it gives a process, and what was seen."""

    name: str
    start: Callable[[str], contextlib.AbstractContextManager[Daemon]]
    adj: str = ""
    group: str = ""
    held: dict[str, list[float]] = field(default_factory=dict)

    def note(self, what: str, value: float) -> None:
        """One round's figure."""
        self.held.setdefault(what, []).append(value)

    @property
    def wanted(self) -> list[str]:
        """The last arguments of the probe's starter."""
        return [self.adj, "pids", self.group]


@contextlib.contextmanager
def ananicy(probe: str) -> Iterator[Daemon]:
    """The original where there is one, else what its README says."""
    del probe
    checkout = os.environ.get("HOLDFAST_ANANICY")
    with tempfile.TemporaryDirectory() as directory:
        rules = Path(directory) / "bench.rules"
        rules.write_text(json.dumps(RULE) + "\n")
        if checkout:
            shutil.copy(Path(checkout) / "ananicy.d" / "ananicy.conf", directory)
            command = [sys.executable, "-c", ORIGINAL, directory, checkout]
        else:
            command = [sys.executable, "-c", STAND_IN, str(rules)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)
        time.sleep(2)  # it says nowhere that it is ready
        assert process.poll() is None, "ananicy ended"
        yield Daemon(process)
        process.kill()
        process.wait()


@contextlib.contextmanager
def ours(probe: str) -> Iterator[Daemon]:
    """The engine under the probe's rule and, where there is a checkout, all that ananicy published."""
    del probe
    rules: list[dict[str, object]] = [ADJ]
    if checkout := os.environ.get("HOLDFAST_ANANICY"):
        command = [sys.executable, "-m", "holdfast", "rules", "import", "ananicy", f"{checkout}/ananicy.d"]
        imported = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rules += [{**rule, "dry_run": True} for rule in yaml.safe_load(imported)["rules"]]
    with node.ours(*rules) as daemon:
        yield daemon


def counted(*command: str) -> float:
    """Return how many were missed, from the last line of a probe's starter."""
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1])


def living(arm: Arm, probe: str, daemon: Daemon, number: int) -> None:
    """Processes that wait until they are held."""
    before = daemon.cpu_ns()
    began = time.monotonic()
    command = [starter(probe), "crowd", str(number), "20000", probe, *arm.wanted, "15000"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [tuple(map(int, line.split())) for line in lines]
    times = [row[1] if arm.adj else row[2] for row in rows]
    arm.note("held p50", percentile_us([t for t in times if t >= 0] or [-1], 0.5) / 1000)
    arm.note("held p99", percentile_us([t for t in times if t >= 0] or [-1], 0.99) / 1000)
    arm.note("never held", sum(t < 0 for t in times))
    arm.note("CPU", (daemon.cpu_ns() - before) / 1e7 / (time.monotonic() - began))


def left_behind(arm: Arm, probe: str) -> None:
    """Return what a process still has after its rule's daemon ended with the order to restore."""
    with arm.start(probe) as daemon:
        process = subprocess.Popen([probe, "check", "60000000", "", "pids", ""])
        deadline = time.monotonic() + 15
        while not _has(process.pid, arm) and time.monotonic() < deadline:
            time.sleep(0.05)
        del daemon
    arm.note("left as it was set, after the stop", float(_has(process.pid, arm)))
    process.kill()
    process.wait()


def _has(pid: int, arm: Arm) -> bool:
    if arm.adj:
        return Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == arm.adj
    return f":pids:{arm.group}\n" in Path(f"/proc/{pid}/cgroup").read_text()


def run(probe: str, given: Options) -> list[Figure]:
    """Each arm alone, then the table."""
    arms = [
        Arm("holdfast", ours, adj="300"),
        Arm(PEER, node.peer, group=PEERS),
        Arm("ananicy" if os.environ.get("HOLDFAST_ANANICY") else "ananicy's way", ananicy, adj="300"),
    ]
    number = 100 if given.quick else 500
    for arm in arms:
        with arm.start(probe) as daemon:
            living(arm, probe, daemon, number)
            short = [starter(probe), "short", str(6 * number), "5000", "16", probe, *arm.wanted]
            arm.note("5 ms long, missed", counted(*short))
            arm.note("unheard of, never held", overrun(probe, daemon, arm.wanted))
        left_behind(arm, probe)
    units = {"held p50": "ms", "held p99": "ms", "CPU": "% of a core"}
    return [
        Figure(f"{what}, {arm.name}", units.get(what, ""), values, note=_of(what, number))
        for what in arms[0].held
        for arm in arms
        for values in [arm.held[what]]
    ]


def _of(what: str, number: int) -> str:
    totals = {"never held": number, "5 ms long, missed": 6 * number, "unheard of, never held": LATE}
    return f"of {totals[what]:,}" if what in totals else "1: yes" if what.startswith("left") else ""


def main(argv: list[str]) -> int:
    """The table."""
    given = options(argv, __doc__)
    if node.is_missing():
        return 1
    with node.probes() as probe:
        return publish("side_by_side", run(probe, given), given)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
