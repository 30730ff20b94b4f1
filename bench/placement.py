"""Placement beside cgrulesengd and beside C: each limit with what was measured, in one run.

``python -m bench.placement [--quick] [--json FILE]``. Needs root and cgroup v1.
The peer is cgrulesengd of libcgroup (package cgroup-tools), which moves the same program to a cgroup; it has no
``oom_score_adj``, so ours is held against its move. Both run alone, turn about; ours is the whole daemon. What is
started and what measures is ``placement_probe.c``: a probe watches itself, so the times are those of the process that
is to be held. It has a processor for itself and either daemon the others: some kernels put who is woken beside who
woke it, and there an exec waits for its watcher (the rows "anywhere"). A sweep is held against the same
program reading the same files. Times need a quiet machine; counts and CPU per exec suffer less from a busy one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

from bench.frame.figure import Figure, Options, options, publish
from bench.frame.held import buckets, median_us
from bench.frame.node import (
    ADJ,
    LATE,
    MOVE,
    OURS,
    PEER,
    PEERS,
    Daemon,
    bare,
    floor,
    halves,
    is_missing,
    measure,
    other,
    ours,
    overrun,
    peer,
    percentile_us,
    probes,
    sleepers,
    starter,
    whole,
)  # fmt: skip

SPACED_US = 50_000
FLOOR, BARE = "floor", "bare"
MOST_CPU = 2.5  # half of cgrulesengd's is beyond any program that must not touch a recycled number: the row "floor"
#: Limits of the ratio to cgrulesengd's.
LIMITS = {
    ("adj", "spaced", "p50"): 0.2,
    ("move", "tight", "p50"): 1.1,
    ("move", "spaced", "p50"): 1.1,
    ("adj", "tight", "CPU per exec"): MOST_CPU,
    ("adj", "spaced", "CPU per exec"): MOST_CPU,
    ("move", "tight", "CPU per exec"): MOST_CPU,
    ("move", "spaced", "CPU per exec"): MOST_CPU,
}
HELD = (("adj", "oom_score_adj"), ("move", "cgroup"))
MEASURED = ("p50", "p99", "after main p50", "CPU per exec")
SAFELY = "those of ours: no rules, plan or undo, what any program pays"
BARELY = "no rules, record, check, metrics or undo: what an interpreter costs"
MOST_ADJ_US = 1000  # from exec to oom_score_adj, the median, at either pace


class Arm(NamedTuple):
    """A daemon and what is asked of it: a value, a group, or neither, of a program that no rule knows."""

    started: Callable[[str], AbstractContextManager[Daemon]]
    adj: str
    group: str

    def program(self, probe: str) -> str:
        """The probe, under the name that the rule knows or under another."""
        return probe if self.adj or self.group else other(probe)


ARMS = {
    "adj": Arm(lambda probe: whole(ADJ), "300", ""),
    "move": Arm(lambda probe: whole(MOVE), "", OURS),
    PEER: Arm(peer, "", PEERS),
    FLOOR: Arm(floor, "", OURS),
    BARE: Arm(bare, "", OURS),
    "nobody's": Arm(lambda probe: whole(MOVE), "", ""),
    f"nobody's, {PEER}": Arm(peer, "", ""),
}
#: Whether load and daemon have processors of their own; all arms do, and these as they come, too.
ANYWHERE = ("adj", "move", PEER)
WHERE = {"": tuple(ARMS), ", anywhere": ANYWHERE}


def latency(probe: str, given: Options) -> list[Figure]:
    """From exec to held, one after the other and 50 ms apart."""
    taken: dict[str, list[float]] = {}
    for _ in range(given.rounds(3, 1)):
        for pace, number, gap_us in (("tight", 200, 0), ("spaced", 40 if given.quick else 200, SPACED_US)):
            for where, names in WHERE.items():
                for name in names:
                    figures = watched(probe, ARMS[name], pace, number, gap_us, apart=not where)
                    for what, value in figures.items():
                        taken.setdefault(f"{name} {pace}{where} {what}", []).append(value)
    return [
        figure
        for pace in ("tight", "spaced")
        for where in WHERE
        for figure in (*alone(taken, pace, where), *beside(taken, pace, where))
    ]


def watched(probe: str, arm: Arm, pace: str, number: int, gap_us: int, *, apart: bool) -> dict[str, float]:
    """One arm at one pace."""
    column = 2 if arm.group else 1 if arm.adj else 0
    with arm.started(probe) as daemon:
        for_load, for_daemon = halves() if apart else ((), ())
        if for_daemon:
            daemon.keep_to(for_daemon)
        told = buckets(daemon.metrics) if arm.adj else []
        before = daemon.cpu_ns()
        rows = measure(arm.program(probe), pace, number, gap_us, arm.adj, arm.group, processors=for_load)
        spent_us = (daemon.cpu_ns() - before) / number / 1000
        event = median_us(told, buckets(daemon.metrics)) if arm.adj else 0
    held = [row[column] for row in rows]
    since_main = [row[column] - row[0] if row[column] >= 0 else -1 for row in rows]
    return {
        "p50": percentile_us(held, 0.5),
        "p99": percentile_us(held, 0.99),
        "main p50": percentile_us([row[0] for row in rows], 0.5),
        "after main p50": percentile_us(since_main, 0.5),
        "CPU per exec": spent_us,
        "event p50": event,
    }


def alone(taken: Mapping[str, list[float]], pace: str, where: str) -> list[Figure]:
    """Measurements that need no peer."""
    of = f"adj {pace}{where}"
    return [
        Figure(f"exec event to oom_score_adj, {pace}{where}, p50", "us", taken[f"{of} event p50"], must=MOST_ADJ_US),
        Figure(f"before execve to oom_score_adj, {pace}{where}, p50", "us", taken[f"{of} p50"], must=MOST_ADJ_US),
        Figure(f"before execve to main, {pace}{where}, p50", "us", taken[f"{of} main p50"], note="the exec itself"),
    ]


def beside(taken: Mapping[str, list[float]], pace: str, where: str) -> list[Figure]:
    """Each arm beside cgrulesengd's move on the same processors."""
    rows = [(name, f"exec to {what}", PEER, figure, "") for name, what in HELD for figure in MEASURED]
    if not where:
        rows += [
            (FLOOR, "exec to cgroup by its system calls alone, in C", PEER, "CPU per exec", SAFELY),
            (BARE, "exec to cgroup by a bare loop in Python", PEER, "CPU per exec", BARELY),
            ("nobody's", "exec of what no rule knows", f"nobody's, {PEER}", "CPU per exec", ""),
        ]
    return [
        Figure(
            f"{what}, {pace}{where}, {figure}",
            "us",
            taken[f"{name} {pace}{where} {figure}"],
            taken[f"{its} {pace}{where} {figure}"],
            f"{PEER}'s move" if its == PEER else PEER,
            must=LIMITS.get((name, pace, figure)),
            note=note,
        )
        for name, what, its, figure, note in rows
    ]


def missed(probe: str, given: Options) -> list[Figure]:
    """Processes that were not held: short-lived ones, those that came at 3,000 a second, those nobody heard of."""
    scale = 0.25 if given.quick else 1
    number, crowd = int(6000 * scale), int(12_000 * scale)
    loads = (
        (f"of {number:,} that live 5 ms", ("short", str(number), "5000", "16")),
        (f"of {crowd:,} at 3,000/s, held 1.5 s", ("hold", str(crowd), "3000", "1500")),
    )
    figures = []
    for arm, wanted in (("adj", ("300", "pids", "")), (PEER, ("", "pids", PEERS))):
        with whole(ADJ) if arm == "adj" else peer(probe) as daemon:
            most, whose = (0, "") if arm == "adj" else (None, "its move; ")
            for name, load in loads:
                command = [starter(probe), *load, probe, *wanted]
                line = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                _, lost, rate = line.split()
                note = f"{whose}{rate} execs/s reached"
                figures.append(Figure(f"missed {name}, {arm}", "", [float(lost)], must=most, note=note))
            if given.quick:  # a minute on an idle machine
                continue
            lost_too = [overrun(probe, daemon, wanted)]
            name = f"missed of {LATE} after an overrun, {arm}"
            figures.append(Figure(name, "", lost_too, must=most, note=f"{whose}ENOBUFS"))
    return figures


def sweep_and_memory(probe: str, given: Options) -> list[Figure]:
    """A sweep over 10,000 processes against C, and what knowing them costs."""
    number, rounds = 2000 if given.quick else 10_000, given.rounds(7, 3)
    nobody = {"name": "nobody", "match": {"comm": "hf-nobody"}, "oom_score_adj": 300}
    by_group = {"name": "group", "match": {"cgroup": "/hf-nowhere/**"}, "oom_score_adj": 300}
    figures = []
    with sleepers(probe, number):
        for name, rule, files in (
            ("by name (comm)", nobody, ("comm",)),
            ("by cgroup (comm, cgroup)", by_group, ("comm", "cgroup")),
        ):
            mine, theirs = [], []
            with ours(rule, rescan_s=3600) as daemon:
                for _ in range(rounds):
                    mine.append(daemon.order("sweep") * 1000)
                    line = subprocess.run([probe, "sweep", *files], capture_output=True, text=True, check=True).stdout
                    theirs.append(int(line.split()[1]) / 1e6)
            figures.append(Figure(f"sweep over {number:,}, {name}", "ms", mine, theirs, "C", must=1.15))
    for name, rule in (("looked at", nobody), ("held", ADJ)):
        with ours(rule, rescan_s=3600) as daemon:
            daemon.order("sweep")
            bare = daemon.memory_kib()
            with sleepers(probe, number):
                daemon.order("sweep")
                daemon.order("sweep")
                grown = [(daemon.memory_kib() - bare) / 1024]
        figures.append(Figure(f"memory for {number:,} processes {name}", "MiB", grown, must=6))
    return figures


def idle(probe: str, given: Options) -> list[Figure]:
    """Measure an idle daemon: wake-ups by thread, less the execs that others made meanwhile."""
    del probe
    seconds = 20 if given.quick else 60
    with whole(ADJ) as daemon:
        woken, events, spent = daemon.wake_ups(), daemon.events(), daemon.cpu_ns()
        time.sleep(seconds)
        told = daemon.events() - events
        spent = daemon.cpu_ns() - spent
        by_thread = {name: number - woken.get(name, 0) for name, number in daemon.wake_ups().items()}
    engine = by_thread.pop("hf-engine", 0)
    grpc = sum(number for name, number in by_thread.items() if name.startswith(("grpc", "event_engine", "lifeguard")))
    others = f"{told / seconds:.1f} execs/s by others of this machine are left out"
    return [
        Figure("idle wake-ups, the engine", "1/s", [max(0, engine - told) / seconds], must=1, note=others),
        Figure("idle wake-ups, the rest of ours", "1/s", [(sum(by_thread.values()) - grpc) / seconds], must=1),
        Figure("idle wake-ups, gRPC's own threads", "1/s", [grpc / seconds], note="its core's timers"),
        Figure(
            "idle CPU, the whole daemon", "%", [spent / seconds / 1e7], must=0.1, note="of a core; with those execs"
        ),
    ]


def main(argv: list[str]) -> int:
    """Everything that this machine can measure."""
    given = options(argv, __doc__)
    if is_missing():
        return 1
    figures: list[Figure] = []
    with probes() as probe:
        for part in (latency, missed, idle, sweep_and_memory):
            print(f"bench: placement: {part.__name__}", file=sys.stderr, flush=True)
            figures += part(probe, given)
    return publish("placement", figures, given)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
