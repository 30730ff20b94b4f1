"""Placement beside cgrulesengd and beside C: ``python -m bench.placement [--quick] [--json FILE]``.

Needs root and cgroup v1.
The peer is cgrulesengd of libcgroup (package cgroup-tools), which moves the same program to a cgroup; it has no
``oom_score_adj``, so ours is held against its move. Both run alone, turn about. What is started and what measures is
``placement_probe.c``: a probe watches itself, so the times are those of the process that is to be held. A sweep is
held against the same program reading the same files.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from holdfast import log
from holdfast.cgroups import detect
from holdfast.node.journal import Journal
from holdfast.node.kills import Kills
from holdfast.node.reconcile import Engine, Listeners, Surroundings
from holdfast.node.rules import compile_rules
from holdfast.node.schema import Rule
from holdfast.process import read_boot_id

from bench.frame.figure import Figure, Options, options, publish

NAME = "hfbench-probe"
OURS, PEERS = "/holdfast-test-bench/ours", "/holdfast-test-bench/peer"
ADJ = {"name": "adj", "match": {"comm": NAME}, "oom_score_adj": 300}
MOVE = {"name": "move", "match": {"comm": NAME}, "cgroup": {"path": OURS, "controllers": ["pids"]}}
BOTH = {**ADJ, **MOVE}
SPACED_US = 50_000
PEER = "cgrulesengd"


def serve(rules: str, rescan_s: float) -> None:
    """The engine alone, in a process of its own; it sweeps and stops as it is told on stdin."""
    log.set_up("error")
    hierarchy, boot_id = detect("/proc", "/sys/fs/cgroup"), read_boot_id("/proc")
    with tempfile.TemporaryDirectory() as directory:
        at = Path(directory)
        engine = Engine(
            Surroundings("/proc", "/dev/kmsg", rescan_s),
            hierarchy,
            Journal(at / "journal.db", boot_id),
            Kills(at / "kills.db", boot_id),
            Listeners(lambda report: None, lambda kill: None),
        )
        engine.start()
        for line in _orders(rules):
            order, _, rest = line.partition(" ")
            if order == "rules":
                engine.set_rules(compile_rules(msgspec.convert(json.loads(rest), tuple[Rule, ...]))).result()
            print(engine.sweep().result().seconds, flush=True)
        engine.stop(restore=True)


def _orders(rules: str) -> Iterator[str]:
    yield f"rules {rules}"
    yield from map(str.strip, sys.stdin)


@dataclass
class Daemon:
    """A running daemon: ours or the peer."""

    process: subprocess.Popen[str]

    def order(self, line: str) -> float:
        """Tell ours something; it answers when it swept, with the seconds that took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def cpu_ns(self) -> int:
        """What its threads ran so far."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks)

    def wake_ups(self) -> int:
        """How often its threads went to sleep so far."""
        found = 0
        for status in Path(f"/proc/{self.process.pid}/task").glob("*/status"):
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            found += int(lines["voluntary_ctxt_switches"])
        return found

    def memory_kib(self) -> int:
        """Its private memory."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()[1:]
        kib = {line.split()[0]: int(line.split()[1]) for line in lines}
        return kib["Private_Clean:"] + kib["Private_Dirty:"]


@contextlib.contextmanager
def ours(*rules: dict[str, object], rescan_s: float = 30) -> Iterator[Daemon]:
    """Our engine under these rules, ready."""
    command = [sys.executable, "-m", "bench.placement", "--serve", json.dumps(rules), str(rescan_s)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield Daemon(process)
    process.communicate()


@contextlib.contextmanager
def peer(probe: str) -> Iterator[Daemon]:
    """cgrulesengd with one rule, over a copy of /etc that it alone sees; ready when it moves a probe."""
    with tempfile.TemporaryDirectory() as directory:
        etc = Path(directory) / "etc"
        shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
        for name in ("cgconfig.d", "cgrules.d"):
            (etc / name).mkdir(exist_ok=True)
        (etc / "cgconfig.conf").write_text("")
        (etc / "cgrules.conf").write_text(f"*:{NAME}\tpids\t{PEERS.lstrip('/')}\n")
        script = f"mount --bind {etc} /etc && exec cgrulesengd --nodaemon --nolog"
        process = subprocess.Popen(["unshare", "-m", "sh", "-c", script], text=True)
        while measure(probe, "tight", 1, 0, "", PEERS)[0][2] < 0:
            assert process.poll() is None, "cgrulesengd ended"
        yield Daemon(process)
        process.terminate()
        process.wait()


def measure(probe: str, pace: str, number: int, gap_us: int, adj: str, group: str) -> list[tuple[int, int, int]]:
    """Nanoseconds from exec to main, to the value, to the group, of each probe; -1: never."""
    command = [starter(probe), pace, str(number), str(gap_us), probe, adj, "pids", group]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [(int(a), int(b), int(c)) for a, b, c in map(str.split, lines)]


def starter(probe: str) -> str:
    """The same program under a name that no rule knows: what starts probes must not be held, or they inherit it."""
    return str(Path(probe).with_name("hfbench-start"))


def percentile_us(values: list[int], part: float) -> float:
    """A percentile in microseconds; one that never came counts as the wait for it, two seconds."""
    ordered = sorted(2_000_000_000 if value < 0 else value for value in values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] / 1000


def latency(probe: str, given: Options) -> list[Figure]:
    """From exec to held, one after the other and 50 ms apart."""
    taken: dict[str, list[float]] = {}
    for _ in range(given.rounds(3, 1)):
        for pace, number, gap_us in (("tight", 200, 0), ("spaced", 100 if given.quick else 200, SPACED_US)):
            for arm, adj, group, column in (("adj", "300", "", 1), ("move", "", OURS, 2), (PEER, "", PEERS, 2)):
                with ours(ADJ if arm == "adj" else MOVE) if arm != PEER else peer(probe) as daemon:
                    before = daemon.cpu_ns()
                    rows = measure(probe, pace, number, gap_us, adj, group)
                    spent_us = (daemon.cpu_ns() - before) / number / 1000
                held = [row[column] for row in rows]
                since_main = [row[column] - row[0] if row[column] >= 0 else -1 for row in rows]
                for name, value in (
                    ("p50", percentile_us(held, 0.5)),
                    ("p99", percentile_us(held, 0.99)),
                    ("after main p50", percentile_us(since_main, 0.5)),
                    ("CPU per exec", spent_us),
                ):  # fmt: skip
                    taken.setdefault(f"{arm} {pace} {name}", []).append(value)
    return [
        Figure(
            f"exec to {'oom_score_adj' if arm == 'adj' else 'cgroup'}, {pace}, {name}",
            "us",
            taken[f"{arm} {pace} {name}"],
            taken[f"{PEER} {pace} {name}"],
            f"{PEER}'s move",
        )
        for arm in ("adj", "move")
        for pace in ("tight", "spaced")
        for name in ("p50", "p99", "after main p50", "CPU per exec")
    ]


def missed(probe: str, given: Options) -> list[Figure]:
    """Processes that were not held: of short-lived ones, and of those that came at 3,000 a second."""
    short, held = ("short", "6000", "5000", "16"), ("hold", "12000", "3000", "1500")
    figures = []
    for name, arguments in (("of 6,000 that live 5 ms", short), ("of 12,000 at 3,000/s, held 1.5 s", held)):
        with ours(ADJ):
            line = subprocess.run(
                [starter(probe), *arguments, probe, "300"], capture_output=True, text=True, check=True
            ).stdout
        _, lost, rate = line.split()
        figures.append(Figure(f"missed {name}", "", [float(lost)], note=f"{rate} execs/s reached"))
    return figures


@contextlib.contextmanager
def sleepers(probe: str, number: int) -> Iterator[None]:
    """So many processes that sleep."""
    process = subprocess.Popen(
        [probe, "sleep", str(number)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield
    process.communicate("\n")


def sweep_and_memory(probe: str, given: Options) -> list[Figure]:
    """A sweep over 10,000 processes against C, and what knowing them costs."""
    number, rounds = 10_000, given.rounds(7, 3)
    nobody = {"name": "nobody", "match": {"comm": "hf-nobody"}, "oom_score_adj": 300}
    by_group = {"name": "group", "match": {"cgroup": "/hf-nowhere/**"}, "oom_score_adj": 300}
    figures = []
    with sleepers(probe, number):
        for name, rule, files in (
            ("by name (stat)", nobody, ("stat",)),
            ("by cgroup (stat, cgroup)", by_group, ("stat", "cgroup")),
        ):
            mine, theirs = [], []
            with ours(rule, rescan_s=3600) as daemon:
                for _ in range(rounds):
                    mine.append(daemon.order("sweep") * 1000)
                    line = subprocess.run([probe, "sweep", *files], capture_output=True, text=True, check=True).stdout
                    theirs.append(int(line.split()[1]) / 1e6)
            figures.append(Figure(f"sweep over {number:,}, {name}", "ms", mine, theirs, "C"))
    for name, rule in (("looked at", nobody), ("held", ADJ)):
        with ours(rule, rescan_s=3600) as daemon:
            daemon.order("sweep")
            bare = daemon.memory_kib()
            with sleepers(probe, number):
                daemon.order("sweep")
                daemon.order("sweep")
                grown = [(daemon.memory_kib() - bare) / 1024]
        figures.append(Figure(f"memory for {number:,} processes {name}", "MiB", grown))
    return figures


def idle(given: Options) -> list[Figure]:
    """What the engine does on a node where nothing happens (but for what others of this machine do)."""
    seconds = 15 if given.quick else 60
    with ours(ADJ) as daemon:
        woken, spent = daemon.wake_ups(), daemon.cpu_ns()
        time.sleep(seconds)
        per_s = (daemon.wake_ups() - woken) / seconds
        percent = (daemon.cpu_ns() - spent) / seconds / 1e7
    note = "every exec of the machine is one, and one or two are a sweep's"
    return [
        Figure("idle wake-ups", "1/s", [per_s], note=note),
        Figure("idle CPU", "%", [percent], note="of one core, a sweep of the machine's processes each 30 s in it"),
    ]


def clean() -> None:
    """Leave no groups behind."""
    for base in Path("/sys/fs/cgroup").glob("*/holdfast-test-bench"):
        for group in (*base.iterdir(), base):
            if group.is_dir():
                with contextlib.suppress(OSError):
                    group.rmdir()


def main(argv: list[str]) -> int:
    """Everything that this machine can measure."""
    if argv[:1] == ["--serve"]:
        serve(argv[1], float(argv[2]))
        return 0
    given = options(argv, __doc__)
    if os.geteuid() != 0 or shutil.which("cgrulesengd") is None or not Path("/sys/fs/cgroup/pids/tasks").exists():
        print("bench: placement needs root, cgroup v1 and cgrulesengd (package cgroup-tools)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as directory:
        probe = f"{directory}/{NAME}"
        source = Path(__file__).with_name("placement_probe.c")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", probe, str(source)], check=True)
        shutil.copy(probe, starter(probe))
        for path in (OURS, PEERS):
            os.makedirs(f"/sys/fs/cgroup/pids{path}", exist_ok=True)
        try:
            figures = [*latency(probe, given), *missed(probe, given), *idle(given), *sweep_and_memory(probe, given)]
        finally:
            clean()
    return publish("placement", figures, given)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
