"""This machine as a node: it runs the chart's pod from a bundle, as the kubelet and its runtime would."""

from __future__ import annotations

import contextlib
import copy
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.needs import path_of
from tests.pod import bundle
from tests.pod.bundle import Given, Root
from tests.pod.configmap import ConfigMap
from tests.running import PATIENCE_S, Running
from tests.running import adj_of as adj  # noqa: F401 (for the tests)

PLACEMENT = "io.holdfast.placement.v1.rules"
MARK = f"holdfast-test-victim-{os.getpid()}"
GROUP = f"/holdfast-test-pod-{os.getpid()}"
TARGET = f"/holdfast-test-target-{os.getpid()}"
Pod = dict[str, Any]


def group_of(pid: int, name: str = "") -> str:
    """The group of a process in the hierarchy that a line of /proc/PID/cgroup names."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line.split(":", 2)[2] for line in lines if line.split(":", 2)[1] == name)


def until(expected: object, look: Callable[[], object], container: Running, patience_s: float = PATIENCE_S) -> None:
    """Ask until the answer is the expected one; the kernel reports no change of an oom_score_adj."""
    deadline = time.monotonic() + patience_s
    while (seen := look()) != expected:
        assert time.monotonic() < deadline, f"{seen} is not {expected}\n{container.said}"
        assert not container.ended(0.02), container.said


def rule(value: int, **more: Any) -> dict[str, Any]:
    """A rule for the test's victim."""
    named = {"name": "victim", "match": {"cmdline": f"*{MARK}*"}, "trust_claims": True}
    return {**named, "oom_score_adj": value, **more}


class Node:
    """Runs pods; each `start` is one more "version" of it. ``template`` is the pod, to be changed before a start."""

    def __init__(
        self, runtime: str, root: Root, folder: Path, template: Pod, settings: Mapping[str, Any], start: Any
    ) -> None:
        self.runtime, self.root, self._dir, self._start = runtime, root, folder, start
        self.template = copy.deepcopy(template)
        self._settings = copy.deepcopy(dict(settings))
        self._settings["plugins"][PLACEMENT] |= {"builtin_rules": [], "dry_run": False}
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        self.places = {name: folder / name for name in volumes if name != "cgroup"}
        self.given = Given(self.places, GROUP)
        for name, place in self.places.items():
            if "hostPath" in volumes[name]:
                place.mkdir()
        self.config = ConfigMap(self.places["config"])
        self.names: list[str] = []

    @property
    def container(self) -> Pod:
        """The daemon's, in the template."""
        (found,) = self.template["spec"]["containers"]
        return found  # type: ignore[no-any-return]

    def configure(self, *rules: Mapping[str, Any]) -> None:
        """The ConfigMap with these rules."""
        self._settings["plugins"][PLACEMENT]["rules"] = list(rules)
        self.config.update(yaml.safe_dump(self._settings))

    def runtime_command(self, *words: str) -> list[str]:
        """The runtime with a state folder of its own."""
        return [path_of(self.runtime), "--root", str(self._dir / "runtime"), *words]

    def start(self) -> Running:
        """Run the pod as the template says now."""
        name = f"holdfast-test-{os.getpid()}-{len(self.names)}"
        folder = self._dir / name
        bundle.write(folder, self.root, self.template, self.given)
        self.names.append(name)
        started: Running = self._start(self.runtime_command("run", "--bundle", str(folder), name))
        return started

    def probe(self, kind: str) -> bool:
        """Ask what the kubelet would ask."""
        asked, patience = self.container[kind]["grpc"], self.container[kind]["timeoutSeconds"]
        where = [f"-addr=127.0.0.1:{asked['port']}", f"-service={asked['service']}"]
        command = [path_of("grpc-health-probe"), *where, f"-connect-timeout={patience}s", f"-rpc-timeout={patience}s"]
        return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False).returncode == 0

    def passes(self, kind: str, container: Running) -> None:
        """Wait until a probe succeeds: a kubelet, too, allows a late answer while others may follow."""
        until(True, lambda: self.probe(kind), container)

    def inside(self, *words: str) -> subprocess.CompletedProcess[str]:
        """``kubectl exec`` of the daemon's own client."""
        command = self.runtime_command("exec", self.names[-1], bundle.ENTRYPOINT, *words)
        return subprocess.run(command, capture_output=True, text=True, timeout=3 * PATIENCE_S, check=False)

    def terminate(self, container: Running) -> int:
        """As the kubelet: SIGTERM, and no more time than the pod's grace period."""
        subprocess.run(self.runtime_command("kill", self.names[-1], "TERM"), check=True, timeout=PATIENCE_S)
        return container.end(self.template["spec"]["terminationGracePeriodSeconds"])

    def clear(self) -> None:
        """Leave nothing: containers, then the groups."""
        for name in self.names:
            command = self.runtime_command("delete", "--force", name)
            subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
        root = Path("/sys/fs/cgroup")
        for mount in (root, *(path for path in root.iterdir() if path.is_dir())):
            for group in (GROUP, TARGET):
                with contextlib.suppress(OSError):
                    (mount / group.lstrip("/")).rmdir()
