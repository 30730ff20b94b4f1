"""Pods: from exec to held in a real pod, what 500 pods cost, and how long NRI keeps a runtime waiting.

``python -m bench.pods [--quick] [--json FILE]``. Needs root, cgroup v1, containerd, runc, busybox, tests/peers/build.
The pod is real: containerd 1.6 makes it through CRI, and probes (``placement_probe.c``) are executed in its container
as ``kubectl exec`` does it, turn about with the same probe outside of any pod. 500 pods cannot run here: a fake runtime
lists them. NRI is asked by containerd/nri's own adaptation package; its peer is a plugin in Go that gives every
container one value. Both are timed by the runtime's side, on the way there and back.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import yaml

from bench.frame import side
from bench.frame.figure import Figure, Options, options, publish
from bench.frame.held import buckets, median_us
from bench.frame.node import NAME, percentile_us
from tests.integration.test_pods_at_size import MOST_KIB, MOST_LOOP_S, PODS, measured
from tests.needs import found, path_of
from tests.peers import cri_side
from tests.peers.daemon import Daemon, holdfast
from tests.peers.ttrpc_wire import field

NEEDED = ("containerd", "ctr", "containerd-shim-runc-v2", "runc", "busybox", "nripeer")
BARE, STARTER = "hfbench-bare", "hfbench-start"  # a probe outside of pods, and who starts probes
LABELS = {"app": "bench"}
IN_POD = {"name": "pod", "match": {"comm": NAME, "pod": {"labels": "app=bench"}}, "oom_score_adj": 300}
OUTSIDE = {"name": "bare", "match": {"comm": BARE}, "oom_score_adj": 300}
MOST_EXEC_US, MOST_HANDLER_US = 1000, 5000


@contextmanager
def daemon(folder: Path, plugins: dict[str, object], *rules: dict[str, object], metrics: str = "") -> Iterator[Daemon]:
    """The whole daemon under these rules."""
    placement = {"dry_run": False, "builtin_rules": "none", "rescan": "1h", "rules": list(rules)}
    config = {
        "root": f"{folder}/root",
        "state": f"{folder}/state",
        "grpc": {"address": f"{folder}/s.sock"},
        "metrics": {"address": metrics},
        "web": {"address": ""},
        "plugins": {"io.holdfast.placement.v1.rules": placement, **plugins},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    with holdfast(folder, path) as started:
        yield started.ready()


def exec_to_held(given: Options) -> list[Figure]:
    """Of processes executed in a pod's container, and of the same outside, 5 ms apart."""
    number = 50 if given.quick else 200
    taken: dict[str, list[list[int]]] = {"pod": [], "bare": []}
    since_event: dict[str, list[float]] = {"pod": [], "bare": []}
    with side.folder() as folder:
        for name in ("c", "h"):
            (folder / name).mkdir()
        probe = folder / NAME
        source = Path(__file__).with_name("placement_probe.c")
        subprocess.run(["cc", "-O2", "-static", "-o", probe, source], check=True)
        with cri_side.running(folder / "c") as cri:
            pod = cri.run_pod("bench", str(uuid4()), LABELS)
            container = pod.run("main", ["sleep", "100000"], 985)
            root = folder / "c" / "state" / "io.containerd.runtime.v2.task" / "k8s.io" / container / "rootfs" / "bin"
            for name, place in ((NAME, root), (STARTER, root), (STARTER, folder), (BARE, folder)):
                if place / name != probe:
                    shutil.copy(probe, place / name)
            told = {"io.holdfast.pods.v1.directory": {"cri": {"enabled": True, "address": cri.address}}}
            metrics = f"127.0.0.1:{side.free_port()}"
            url = f"http://{metrics}/metrics"
            with daemon(folder / "h", told, IN_POD, OUTSIDE, metrics=metrics):
                arms = {
                    "pod": lambda count: executed(cri, container, probes("/bin", NAME, count)),
                    "bare": lambda count: said(probes(str(folder), BARE, count)),
                }
                while any(arm(1)[0] < 0 for arm in arms.values()):
                    pass  # until the pod is known; a probe waits two seconds
                for _ in range(given.rounds(12, 2)):
                    for name, arm in arms.items():
                        before = buckets(url)
                        taken[name].append(arm(number))
                        since_event[name].append(median_us(before, buckets(url)))
    p50, p99 = (
        {name: [percentile_us(row, part) for row in rows] for name, rows in taken.items()} for part in (0.5, 0.99)
    )
    return [
        Figure("exec event to held in a pod, p50", "us", since_event["pod"], must=MOST_EXEC_US),
        Figure("exec event to held in a pod, p50", "us", since_event["pod"], since_event["bare"], "outside of pods"),
        Figure("before execve to held in a pod, p50", "us", p50["pod"], must=MOST_EXEC_US),
        Figure("before execve to held in a pod, p50", "us", p50["pod"], p50["bare"], "outside of pods"),
        Figure("before execve to held in a pod, p99", "us", p99["pod"], p99["bare"], "outside of pods"),
    ]


def probes(folder: str, name: str, number: int) -> list[str]:
    """The command that starts so many, one after the other, 5 ms apart; they want the rule's value, and no group."""
    return [f"{folder}/{STARTER}", "spaced", str(number), "5000", f"{folder}/{name}", "300", "pids", ""]


def executed(cri: cri_side.Cri, container: str, command: list[str]) -> list[int]:
    """In the container, as ``kubectl exec`` would."""
    words = b"".join(field(2, word) for word in command)
    answer = cri.call("ExecSync", field(1, container) + words + field(3, 60))
    return nanoseconds(bytes(answer.get(1, b"")).decode())


def said(command: list[str]) -> list[int]:
    """On the node."""
    return nanoseconds(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def nanoseconds(text: str) -> list[int]:
    """From exec to the value, of each probe; -1: never."""
    return [int(line.split()[1]) for line in text.splitlines()]


def at_size(given: Options) -> list[Figure]:
    """500 pods of two containers, told by CRI's lists."""
    tries = []
    with side.folder() as folder:
        for number in range(given.rounds(12, 2)):
            tries.append(asyncio.run(measured(folder / str(number))))
    kib, first, again = ([one[key] for one in tries] for key in ("kib", "first_s", "again_s"))
    most_ms = MOST_LOOP_S * 1000
    return [
        Figure(f"memory for {PODS} pods", "MiB", [one / 1024 for one in kib], must=MOST_KIB / 1024),
        Figure(f"the loop's time for a list of {PODS} new pods", "ms", [one * 1000 for one in first], must=most_ms),
        Figure(f"the loop's time for {PODS} known pods", "ms", [one * 1000 for one in again], must=most_ms),
    ]


class Go:
    """The runtime's side, told what to do line by line (tests/peers/nri)."""

    def __init__(self, folder: Path) -> None:
        self.socket = f"{folder}/nri.sock"
        control = f"{folder}/control"
        command = [path_of("nripeer"), control, self.socket]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.connect(control)
        self._lines = self._sock.makefile("r")

    def __enter__(self) -> Self:
        self.do("fill", Pods=PODS, Containers=2 * PODS)
        self.do("start", Version="v2.3")
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()
        self._sock.close()
        self._process.terminate()
        self._process.communicate()

    def do(self, do: str, **more: object) -> dict[str, Any]:
        """One command, and what came of it."""
        self._sock.sendall(json.dumps({"Do": do, **more}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(self._lines.readline())
        assert "error" not in answer, answer
        return answer

    def created(self, number: int) -> list[int]:
        """Microseconds that each of so many new containers waited for its plugin."""
        words = {"UID": "u1", "Pod": "pg-0", "Namespace": "db", "Labels": LABELS, "ID": "id-app", "Container": "app"}
        answer = self.do("create", **words, Path="/kubepods/podu1/id-app", Adj=985, Times=number)
        assert answer["adj"] == 300, answer
        waited: list[int] = answer["micros"]
        return waited


def nri(given: Options) -> list[Figure]:
    """A container about to be created, on a node of 500 pods and 1,000 containers, under a rule that adjusts it."""
    number, rule = 500, {"name": "nri", "match": {"pod": {"labels": "app=bench"}}, "oom_score_adj": 300}
    taken: dict[str, list[list[int]]] = {"ours": [], "peer": []}
    with side.folder() as one, side.folder() as other, Go(one) as ours, Go(other) as peer:
        peer.do("rival", Adj=300, Index="10")
        with daemon(one, {"io.holdfast.nri.v1.plugin": {"enabled": True, "socket_path": ours.socket}}, rule):
            for runtime in (ours, peer):
                runtime.do("wait", Plugins=1)
                runtime.created(50)
            for _ in range(given.rounds(12, 2)):
                taken["ours"].append(ours.created(number))
                taken["peer"].append(peer.created(number))
    p50, p99 = (
        {name: [percentile_us([us * 1000 for us in row], part) for row in rows] for name, rows in taken.items()}
        for part in (0.5, 0.99)
    )
    return [
        Figure("a container waits for NRI, p99", "us", p99["ours"], must=MOST_HANDLER_US),
        Figure("a container waits for NRI, p99", "us", p99["ours"], p99["peer"], "a plugin in Go"),
        Figure("a container waits for NRI, p50", "us", p50["ours"], p50["peer"], "a plugin in Go"),
    ]


def main(argv: list[str]) -> int:
    """Everything that this machine can measure."""
    given = options(argv, __doc__)
    missing = [name for name in NEEDED if found(name) is None]
    if missing:
        print(f"bench: pods needs {', '.join(missing)}", file=sys.stderr)
        return 1
    figures: list[Figure] = []
    for part in (exec_to_held, at_size, nri):
        print(f"bench: pods: {part.__name__}", file=sys.stderr, flush=True)
        figures += part(given)
    return publish("pods", figures, given)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
