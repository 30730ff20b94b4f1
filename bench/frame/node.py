"""The load of `bench.placement` and `bench.side_by_side`, and the daemons under it: the engine alone, the whole
daemon, and cgrulesengd. Needs root and cgroup v1. ``python -m bench.frame.node RULES RESCAN_S`` is the engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml
from holdfast import log
from holdfast.cgroups import detect
from holdfast.node.engine.engine import Engine
from holdfast.node.engine.loop import EngineSettings, Loop
from holdfast.node.engine.reporter import EngineListeners
from holdfast.node.journal.journal import Journal
from holdfast.node.oom.store import Kills
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import Rule
from holdfast.process import heap, read_boot_id

from bench.frame import side

NAME = "hfbench-probe"
OURS, PEERS = "/holdfast-test-bench/ours", "/holdfast-test-bench/peer"
ADJ = {"name": "adj", "match": {"comm": NAME}, "oom_score_adj": 300}
MOVE = {"name": "move", "match": {"comm": NAME}, "cgroup": {"path": OURS, "controllers": ["pids"]}}
PEER = "cgrulesengd"
FLOOD, LATE = 14_000, 200  # execs nobody asks for fill the queue; then those somebody does


def serve(rules: str, rescan_s: float) -> None:
    """The engine alone, in a process of its own; it sweeps and stops as it is told on stdin."""
    log.set_up("error")
    heap.share_arena()  # as the daemon does at its start
    hierarchy, boot_id = detect("/proc", "/sys/fs/cgroup"), read_boot_id("/proc")
    with tempfile.TemporaryDirectory() as directory:
        at = Path(directory)
        engine = Engine(
            Loop(
                EngineSettings("/proc", "/dev/kmsg", rescan_s),
                hierarchy,
                Journal(at / "journal", boot_id),
                Kills(at / "kills.db", boot_id),
                EngineListeners(lambda report: None, lambda kill: None),
            )
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
    metrics: str = ""

    def events(self) -> int:
        """Return how many process events it received so far, from its own metrics."""
        with urllib.request.urlopen(self.metrics) as answer:
            lines = answer.read().decode().splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith("holdfast_placement_events_total"))

    def order(self, line: str) -> float:
        """Tell ours something; it answers when it swept, with the seconds that took."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def cpu_ns(self) -> int:
        """Return what its threads ran so far."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks)

    def keep_to(self, processors: Collection[int]) -> None:
        """Have all of its threads run on these alone."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), processors)

    def wake_ups(self) -> dict[str, int]:
        """Return how often its threads went to sleep so far, by their names."""
        found: dict[str, int] = {}
        for status in Path(f"/proc/{self.process.pid}/task").glob("*/status"):
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            name = lines["Name"].strip()
            found[name] = found.get(name, 0) + int(lines["voluntary_ctxt_switches"])
        return found

    def memory_kib(self) -> int:
        """Its private memory."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()[1:]
        kib = {line.split()[0]: int(line.split()[1]) for line in lines}
        return kib["Private_Clean:"] + kib["Private_Dirty:"]


@contextlib.contextmanager
def ours(*rules: dict[str, object], rescan_s: float = 30) -> Iterator[Daemon]:
    """Our engine under these rules, ready."""
    command = [sys.executable, "-m", "bench.frame.node", json.dumps(rules), str(rescan_s)]
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


@contextlib.contextmanager
def whole(*rules: dict[str, object]) -> Iterator[Daemon]:
    """The whole daemon under these rules, as it is started on a node: every plugin, gRPC, metrics; ready."""
    with side.folder() as folder:
        port = side.free_port()
        section = {"dry_run": False, "builtin_rules": "none", "rules": list(rules)}
        config = {
            "root": f"{folder}/root",
            "state": f"{folder}/state",
            "grpc": {"address": f"{folder}/s.sock"},
            "metrics": {"address": f"127.0.0.1:{port}"},
            "web": {"address": ""},
            "plugins": {"io.holdfast.placement.v1.rules": section},
        }
        (folder / "c.yaml").write_text(yaml.safe_dump(config))
        with (folder / "log").open("w") as said:
            command = [sys.executable, "-m", "holdfast", "run", "-c", f"{folder}/c.yaml"]
            process = subprocess.Popen(command, stdout=said, stderr=said, text=True)
            try:
                side.wait_for_socket(f"{folder}/s.sock")
                time.sleep(2)  # what a start leaves to be done is no part of what is measured
                yield Daemon(process, f"http://127.0.0.1:{port}/metrics")
            finally:
                process.terminate()
                process.wait()


@contextlib.contextmanager
def floor(probe: str, *command: str) -> Iterator[Daemon]:
    """A loop that does nothing but move, ready: in C its system calls alone, or ``command``."""
    command = command or (str(Path(probe).with_name("placement_floor")),)
    with tempfile.TemporaryDirectory() as directory:
        given = [*command, NAME, f"{directory}/rows", f"/sys/fs/cgroup/pids{OURS}/cgroup.procs"]
        process = subprocess.Popen(given, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        yield Daemon(process)
        process.terminate()
        process.communicate()


def bare(probe: str) -> AbstractContextManager[Daemon]:
    """The same by a loop in Python, without the reads that a safe move takes."""
    return floor(probe, sys.executable, "-m", "bench._bare_mover")


def halves() -> tuple[set[int], set[int]]:
    """A processor for what is started, and those for who watches it; the same where there is one."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


def measure(
    probe: str, pace: str, number: int, gap_us: int, adj: str, group: str, *, processors: Collection[int] = ()
) -> list[tuple[int, int, int]]:
    """Nanoseconds from exec to main, to the value, to the group, of each probe; -1: never."""
    command = [starter(probe), pace, str(number), str(gap_us), probe, adj, "pids", group]
    if processors:
        command = ["taskset", "-c", ",".join(map(str, processors)), *command]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [(int(a), int(b), int(c)) for a, b, c in map(str.split, lines)]


def starter(probe: str) -> str:
    """The same program under a name that no rule knows: what starts probes must not be held, or they inherit it."""
    return str(Path(probe).with_name("hfbench-start"))


def other(probe: str) -> str:
    """And under one more."""
    return str(Path(probe).with_name("hfbench-other"))


def percentile_us(values: list[int], part: float) -> float:
    """A percentile in microseconds; one that never came counts as the wait for it, two seconds."""
    ordered = sorted(2_000_000_000 if value < 0 else value for value in values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] / 1000


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


def overrun(probe: str, daemon: Daemon, wanted: Sequence[str]) -> float:
    """Of `LATE` processes whose execs came while the daemon stood still and its queue was full: those never held."""
    flood = [starter(probe), "short", str(FLOOD), "0", "8", starter(probe), "", "pids", ""]
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        subprocess.run(flood, check=True, capture_output=True)
        command = [starter(probe), "hold", str(LATE), "2000", "30000", probe, *wanted]
        late = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(2)
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    return float(late.communicate()[0].split()[1])


def is_missing() -> bool:
    """Whether this machine cannot measure it; says so."""
    there = shutil.which("cgrulesengd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if os.geteuid() == 0 and there and Path("/sys/fs/cgroup/pids/tasks").exists():
        return False
    print("bench: placement needs root, cgroup v1 and cgrulesengd (package cgroup-tools)", file=sys.stderr)
    return True


@contextlib.contextmanager
def probes() -> Iterator[str]:
    """The probe's path; its starter stands beside it, and the groups there are to move to exist."""
    with tempfile.TemporaryDirectory() as directory:
        probe = f"{directory}/{NAME}"
        for source, program in (("placement_probe.c", probe), ("placement_floor.c", f"{directory}/placement_floor")):
            path = Path(__file__).parent.with_name(source)
            subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", program, str(path)], check=True)
        for name in (starter(probe), other(probe)):
            shutil.copy(probe, name)
        for path in (OURS, PEERS):
            os.makedirs(f"/sys/fs/cgroup/pids{path}", exist_ok=True)
        try:
            yield probe
        finally:
            clean()


def clean() -> None:
    """Leave no groups behind."""
    for base in Path("/sys/fs/cgroup").glob("*/holdfast-test-bench"):
        for group in (*base.iterdir(), base):
            if group.is_dir():
                with contextlib.suppress(OSError):
                    group.rmdir()


if __name__ == "__main__":
    serve(sys.argv[1], float(sys.argv[2]))
