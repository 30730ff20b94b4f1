"""The chart's pod, run by runc from the image: probes as the kubelet asks them, a ConfigMap as it swaps it, a rollout.

What a cluster does above the container runtime is ``tests/e2e``; everything below it is here.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chart.kit import config_text, pod
from tests.image import bundle
from tests.needs import path_of, peer
from tests.running import PATIENCE_S, Running

pytestmark = [
    peer("buildah", "mmdebstrap", "runc", "helm4", "grpc-health-probe"),
    pytest.mark.root,
    pytest.mark.timeout(900),
]
MARK = f"holdfast-test-victim-{os.getpid()}"
GROUP = "/holdfast-test-pod"
TARGET = "/holdfast-test-target"


class ConfigMap:
    """A mounted ConfigMap: files are links into ``..data``, which is a link that an update replaces."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, itertools.count()
        folder.mkdir()
        (folder / "config.yaml").symlink_to("..data/config.yaml")

    def update(self, text: str) -> None:
        """As the kubelet's atomic writer does it: new folder, new link, rename, old folder away."""
        link = self._folder / "..data"
        old = self._folder / os.readlink(link) if link.is_symlink() else None
        fresh = self._folder / f"..2026_01_01_00_00_00.{next(self._numbers)}"
        fresh.mkdir()
        (fresh / "config.yaml").write_text(text)
        temporary = self._folder / "..data_tmp"
        temporary.symlink_to(fresh.name)
        temporary.rename(link)
        if old is not None:
            (old / "config.yaml").unlink()
            old.rmdir()


def adj(pid):
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def until(expected, look, container=None):
    """Ask until the answer is the expected one; the kernel tells nobody when an oom_score_adj changes."""
    deadline = time.monotonic() + PATIENCE_S
    while (seen := look()) != expected:
        assert time.monotonic() < deadline, f"{seen} is not {expected}\n{container.said if container else ''}"
        if container is not None:
            assert not container.ended(0.02), container.said


@pytest.fixture
def victim(start):
    found = start([sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()", MARK])
    found.line("up")
    return found.pid


PRESETS = ("batch", "containerRuntime", "kubelet", "logins", "nodeDaemons", "nodeExporter", "postgresql")


class Node:
    """Runs the chart's pod on this machine; `start` starts one more "version" of it."""

    def __init__(self, helm, rootfs, short_dir, free_port, start):
        self._helm, self._rootfs, self._dir, self._start = helm, rootfs, short_dir, start
        self.values = {
            "probes.port": free_port(),
            "metrics.port": free_port(),
            "presets": {name: {"enabled": False} for name in PRESETS},
            "rules": [self.rule(700)],
        }
        self.places = {"root": short_dir / "root", "state": short_dir / "state", "config": short_dir / "config"}
        self.places["root"].mkdir()
        self.places["state"].mkdir()
        self.config = ConfigMap(self.places["config"])
        self.names = []

    @staticmethod
    def rule(value, **more):
        return {"name": "victim", "match": {"cmdline": f"*{MARK}*"}, "oom_score_adj": value, **more}

    def runc(self, *words):
        return [path_of("runc"), "--root", str(self._dir / "runc"), *words]

    def rendered(self):
        return self._helm.template(self.values)

    def configure(self, *rules):
        self.values["rules"] = list(rules)
        self.config.update(config_text(self.rendered()))

    def start(self):
        found = self.rendered()
        self.template = pod(found)
        name = f"holdfast-test-{os.getpid()}-{len(self.names)}"
        folder = self._dir / name
        bundle.write(folder, self._rootfs, self.template, self.places, GROUP)
        self.names.append(name)
        return self._start(self.runc("run", "--bundle", str(folder), name))

    def probe(self, kind):
        (container,) = self.template["spec"]["containers"]
        asked = container[kind]["grpc"]
        command = [path_of("grpc-health-probe"), f"-addr=127.0.0.1:{asked['port']}", f"-service={asked['service']}"]
        return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False).returncode == 0

    def inside(self, *words):
        command = self.runc("exec", self.names[-1], "/opt/holdfast/bin/holdfast", *words)
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def terminate(self, container: Running):
        """As the kubelet: SIGTERM, and no more time than the pod's grace period."""
        subprocess.run(self.runc("kill", self.names[-1], "TERM"), check=True, timeout=PATIENCE_S)
        return container.end(self.template["spec"]["terminationGracePeriodSeconds"])


@pytest.fixture
def node(helm, rootfs, short_dir, free_port, start):
    made = Node(helm, rootfs, short_dir, free_port, start)
    made.config.update(config_text(made.rendered()))
    yield made
    for name in made.names:
        subprocess.run(made.runc("delete", "--force", name), capture_output=True, timeout=PATIENCE_S, check=False)
    for mount in Path("/sys/fs/cgroup").iterdir():
        for group in (GROUP, TARGET):
            with contextlib.suppress(OSError):
                (mount / group.lstrip("/")).rmdir()


def test_the_pod_holds_host_processes_follows_its_configmap_and_is_replaced_without_letting_go(node, victim):
    before = adj(victim)
    first = node.start()
    until(True, lambda: node.probe("startupProbe"), first)
    until(True, lambda: node.probe("readinessProbe"), first)
    assert node.probe("livenessProbe")
    until(700, lambda: adj(victim), first)

    node.configure(node.rule(750))
    until(750, lambda: adj(victim), first)

    assert node.terminate(first) == 0
    assert not node.probe("livenessProbe")
    assert adj(victim) == 750

    second = node.start()
    until(True, lambda: node.probe("readinessProbe"), second)
    assert adj(victim) == 750
    said = node.inside("restore")
    assert (said.returncode, said.stderr) == (0, ""), said
    assert adj(victim) == before
    assert node.terminate(second) == 0


def test_the_pod_moves_host_processes_between_cgroups_of_the_host(node, victim):
    node.configure(node.rule(700, cgroup={"path": TARGET}))
    container = node.start()
    until(True, lambda: node.probe("readinessProbe"), container)
    until(True, lambda: f":{TARGET}\n" in Path(f"/proc/{victim}/cgroup").read_text(), container)
    said = node.inside("restore")
    assert said.returncode == 0, said
    until(False, lambda: TARGET in Path(f"/proc/{victim}/cgroup").read_text(), container)
    assert node.terminate(container) == 0


def test_a_bad_configmap_changes_nothing_and_is_said(node, victim):
    container = node.start()
    until(700, lambda: adj(victim), container)
    node.config.update("plugins: {io.holdfast.placement.v1.rules: {rulez: []}}\n")
    container.line("configuration rejected.*rulez")
    assert adj(victim) == 700
    assert node.probe("readinessProbe")
    assert node.terminate(container) == 0


def test_in_capabilities_mode_it_says_what_it_cannot_do_and_holds_what_it_can(node, victim):
    node.values["privileges.mode"] = "capabilities"
    node.values["privileges.capabilities"] = ["SYS_PTRACE", "DAC_OVERRIDE"]
    container = node.start()
    until(True, lambda: node.probe("readinessProbe"), container)
    container.line("OOM kills are counted without the kernel log.*CAP_SYSLOG")
    until(700, lambda: adj(victim), container)
    assert node.terminate(container) == 0
