"""Pods that come and go, and what the daemon makes of them: values at their first instruction, its memory, its files.

`python -m tests.cluster.churn` has a node full of pods change for minutes, and prints a table; `make churn` runs it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.cluster import running
from tests.cluster.kit import PATIENCE_S, Namespace, pod
from tests.cluster.release import Release
from tests.running import until

VALUE = 660
FIRST = ["sh", "-c", "read value </proc/self/oom_score_adj; echo first=$value; exec sleep infinity"]
JOBS = ("holdfast_background_job_restarts_total", "holdfast_background_job_up")


def values(namespace: Namespace) -> dict[str, object]:
    """Values of the chart: CRI and NRI, and one rule by label."""
    rule = {
        "name": "churn",
        "reason": "pods come and go",
        "match": {"pod": {"namespace": namespace.name, "labels": "churn=yes"}},
        "oom_score_adj": VALUE,
        "trust_claims": True,
    }
    return {"dryRun": False, "rules": [rule], "pods": {"nri": {"enabled": True}}}


@dataclass
class Churn:
    """Batches of pods in a namespace, one after the other."""

    release: Release
    namespace: Namespace
    started: int = 0
    batches: list[list[str]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)  # pods whose first instruction or whose process had another value

    def grow(self, count: int) -> None:
        """Start so many pods; those whose value is wrong are added to ``missed``."""
        batch = f"batch-{len(self.batches)}"
        labels = {"churn": "yes", "batch": batch}
        pods = [pod(f"{batch}-{number}", labels=labels, command=FIRST) for number in range(count)]
        running = self.namespace.start(*pods)
        printed = until(lambda: self._printed(batch, count), f"each pod of {batch} has printed a line", PATIENCE_S)
        for one in running:
            if printed[f"[pod/{one.name}/main]"] != f"first={VALUE}" or one.values() != {VALUE}:
                self.missed.append(one.name)
        self.started += count
        self.batches.append([one.name for one in running])

    def _printed(self, batch: str, count: int) -> dict[str, str]:
        """The line of each pod, by the pod; empty until all have printed theirs: a pod is Ready before."""
        words = ("logs", f"--selector=batch={batch}", "--prefix", f"--max-log-requests={count}")
        printed = self.namespace.kubectl(*words).split()
        lines = dict(zip(printed[::2], printed[1::2], strict=True))
        return lines if len(lines) == count else {}

    def shrink(self) -> None:
        """Delete the oldest batch at once."""
        batch = next(number for number, names in enumerate(self.batches) if names)
        self.batches[batch] = []
        words = ("delete", "pods", f"--selector=batch=batch-{batch}", "--grace-period=0", "--force", "--wait=false")
        self.namespace.kubectl(*words)


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon's use of its node."""

    rss_kib: int
    descriptors: int
    cpu_s: float

    @classmethod
    def of(cls, release: Release) -> Daemon:
        """Now, by /proc."""
        pid = release.process()
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        return cls(int(status["VmRSS"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")), cpu_s)


def failures(release: Release) -> dict[str, float]:
    """Figures of the daemon that are 0 while every job does what it has to."""
    metrics = release.metrics()
    found = {dict(labels)["name"]: value for labels, value in metrics[JOBS[0]].items()}
    found |= {f"{dict(labels)['name']} is down": 1 - value for labels, value in metrics[JOBS[1]].items()}
    found["failed lists"] = sum(
        value for labels, value in metrics["holdfast_pods_relists_total"].items() if ("result", "failed") in labels
    )
    found["not asked for"] = sum(metrics["holdfast_pods_unasked_total"].values())
    found["not taken in"] = sum(metrics["holdfast_pods_refused_total"].values())
    return {name: value for name, value in found.items() if value}


def rows(churn: Churn, minutes: float, pods: int, batch: int) -> Iterator[str]:
    """Fill the node, then replace the oldest batch by a new one for so long; a row of the table each minute."""
    yield "| minute | pods started | values missed | RSS, MiB | descriptors | CPU, s |"
    yield "|---|---|---|---|---|---|"
    while sum(map(len, churn.batches)) + batch <= pods:
        churn.grow(batch)
    begun, told = time.monotonic(), -1.0
    while (minute := (time.monotonic() - begun) / 60) < minutes:
        if minute - told >= 1:
            told = minute
            yield row(churn, minute)
        churn.shrink()
        churn.grow(batch)
    yield row(churn, minute)


def row(churn: Churn, minute: float) -> str:
    """Return the present figures."""
    now = Daemon.of(churn.release)
    figures = (f"{minute:.0f}", churn.started, len(churn.missed), f"{now.rss_kib / 1024:.1f}", now.descriptors)
    return "| " + " | ".join(map(str, (*figures, f"{now.cpu_s:.1f}"))) + " |"


def main() -> None:
    """Have a cluster of its own for it."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.churn", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--pods", type=int, default=109, help="beside the daemon; a kubelet takes 110 by default")
    parser.add_argument("--batch", type=int, default=10)
    given = parser.parse_args()
    with running("churn") as cluster:
        home, namespace = Namespace(cluster, "holdfast"), Namespace(cluster, "churn")
        home.create({"pod-security.kubernetes.io/enforce": "privileged"})
        namespace.create()
        release = Release(home)
        release.install(values(namespace))
        churn = Churn(release, namespace)
        for line in rows(churn, given.minutes, given.pods, given.batch):
            print(line, flush=True)  # noqa: T201
        wrong = failures(release)
        print(f"missed: {churn.missed or 'nothing'}; jobs: {wrong or 'as they should be'}")  # noqa: T201
        sys.exit(bool(wrong or churn.missed))


if __name__ == "__main__":
    main()
