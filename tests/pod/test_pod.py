"""The chart's pod, run by runc: probes as the kubelet asks them, a ConfigMap as it swaps it, a rollout.

What a cluster does above the container runtime is ``tests/e2e``; everything below it is here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.needs import peer
from tests.pod.node import TARGET, adj, rule, until

pytestmark = [peer("runc", "capsh", "helm4", "grpc-health-probe"), pytest.mark.root]


def test_the_pod_holds_host_processes_follows_its_configmap_and_is_replaced_without_letting_go(node, victim):
    before = adj(victim)
    first = node.start()
    node.passes("startupProbe", first)
    node.passes("readinessProbe", first)
    node.passes("livenessProbe", first)
    until(700, lambda: adj(victim), first)

    node.configure(rule(750))
    until(750, lambda: adj(victim), first)

    assert node.terminate(first) == 0
    assert not node.probe("livenessProbe")
    assert adj(victim) == 750

    second = node.start()
    node.passes("readinessProbe", second)
    assert adj(victim) == 750
    said = node.inside("restore")
    assert (said.returncode, said.stderr) == (0, ""), said
    assert adj(victim) == before
    assert node.terminate(second) == 0


def test_the_pod_moves_host_processes_between_cgroups_of_the_host(node, victim):
    node.configure(rule(700, cgroup={"path": TARGET}))
    container = node.start()
    node.passes("readinessProbe", container)
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
    node.passes("readinessProbe", container)
    assert node.terminate(container) == 0


def test_a_bad_configmap_and_a_restarted_pod_is_the_last_good_one_alive_and_not_ready(node, victim):
    first = node.start()
    until(700, lambda: adj(victim), first)
    until(0, lambda: node.inside("config", "show").returncode, first)
    assert node.terminate(first) == 0

    node.config.update("plugins: {io.holdfast.placement.v1.rules: {rulez: []}}\n")
    second = node.start()
    second.line("starting with the last good one.*rulez")
    node.passes("startupProbe", second)
    node.passes("livenessProbe", second)
    assert not node.probe("readinessProbe")
    assert adj(victim) == 700
    shown = node.inside("config", "show")
    assert shown.returncode == 1
    assert "rulez" in shown.stdout

    node.configure(rule(750))
    until(750, lambda: adj(victim), second)
    node.passes("readinessProbe", second)
    assert node.terminate(second) == 0


def test_without_a_port_the_kubelet_asks_the_socket(node_with, victim):
    node = node_with({"probes.mode": "exec", "metrics.enabled": False})
    assert "ports" not in node.container
    container = node.start()
    until(700, lambda: adj(victim), container)
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        command, *words = node.container[kind]["exec"]["command"]
        assert command == "holdfast"
        assert node.inside(*words).returncode == 0, kind
    assert node.terminate(container) == 0
