"""A pod that lacks a right: it starts where it can, says in one line what is missing and how to grant it, and its
readiness is right. Each case is a pod as a user could deploy it, run by runc.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.needs import peer
from tests.pod.node import TARGET, adj, rule, until

pytestmark = [peer("runc", "capsh", "helm4", "grpc-health-probe"), pytest.mark.root]
MOVING = rule(700, cgroup={"path": TARGET})
CAPABILITIES = "privileges.capabilities"
NOT_PRIVILEGED = {"privileges.mode": "capabilities", CAPABILITIES: ["SYS_PTRACE", "DAC_OVERRIDE"]}


def missing(container, what, remedy):
    """The one line about it; the log has it as ``msg="missing: WHAT" effect="…" remedy="…"``."""
    pattern = f'msg="missing: [^"]*{re.escape(what)}'
    assert remedy in container.line(pattern)
    assert len(re.findall(pattern, container.said)) == 1


def without_the_cgroup_mount(node):
    mounts = node.container["volumeMounts"]
    node.container["volumeMounts"] = [mount for mount in mounts if mount["name"] != "cgroup"]


def is_moved(pid):
    return f":{TARGET}\n" in Path(f"/proc/{pid}/cgroup").read_text()


def test_without_the_host_s_pids_it_serves_and_is_not_ready(node_with, victim):
    node = node_with({"hostPID": False})
    before = adj(victim)
    container = node.start()
    node.passes("startupProbe", container)
    missing(container, "the host's PID namespace", "hostPID: true in the pod")
    node.passes("livenessProbe", container)  # a restart would not help
    assert not node.probe("readinessProbe")
    assert node.inside("health", "holdfast.placement.v1.Placement").returncode == 1
    assert adj(victim) == before
    assert node.terminate(container) == 0


@pytest.mark.parametrize("values", [{}, NOT_PRIVILEGED], ids=["privileged", "capabilities"])
def test_without_the_cgroup_mount_values_are_held_and_nothing_is_moved(node_with, victim, values):
    node = node_with(values)
    without_the_cgroup_mount(node)
    node.configure(MOVING)
    container = node.start()
    until(700, lambda: adj(victim), container)
    missing(container, "the host's cgroup tree", "mount the host's /sys/fs/cgroup")
    node.passes("readinessProbe", container)
    assert not is_moved(victim)
    assert "no cgroup tree to write to" in node.inside("explain", str(victim)).stdout
    assert node.terminate(container) == 0


def test_with_a_read_only_cgroup_mount_values_are_held_and_nothing_is_moved(node, victim):
    for mount in node.container["volumeMounts"]:
        if mount["name"] == "cgroup":
            mount |= {"readOnly": True, "recursiveReadOnly": "Enabled"}
    node.configure(MOVING)
    container = node.start()
    until(700, lambda: adj(victim), container)
    missing(container, "permission to write the host's cgroup tree", "writable")
    node.passes("readinessProbe", container)
    assert not is_moved(victim)
    assert node.terminate(container) == 0


def test_in_a_private_cgroup_namespace_that_it_cannot_leave_nothing_is_moved(node_with, victim):
    node = node_with(NOT_PRIVILEGED)
    node.given = replace(node.given, private_cgroups=True)
    node.configure(MOVING)
    container = node.start()
    until(700, lambda: adj(victim), container)
    missing(container, "the host's cgroup tree (this container's cgroup namespace is its own", "CAP_SYS_ADMIN")
    assert not is_moved(victim)
    node.passes("readinessProbe", container)
    assert node.terminate(container) == 0


def test_without_cap_sys_resource_values_are_raised_and_what_is_not_lowered_is_said(node_with, victim):
    node = node_with(NOT_PRIVILEGED)
    container = node.start()
    until(700, lambda: adj(victim), container)
    missing(container, "CAP_SYS_RESOURCE", "securityContext.capabilities.add")
    container.line("OOM kills are counted without the kernel log.*privileged in the pod")
    node.passes("readinessProbe", container)
    node.configure(rule(-500))
    until(True, lambda: "needs CAP_SYS_RESOURCE" in node.inside("explain", str(victim)).stdout, container)
    assert node.terminate(container) == 0


def test_with_hidepid_it_says_whom_it_does_not_see(node_with, victim):
    node = node_with({**NOT_PRIVILEGED, CAPABILITIES: ["DAC_OVERRIDE"]})
    node.given = replace(node.given, proc_options=("hidepid=ptraceable",))
    container = node.start()
    node.passes("startupProbe", container)
    missing(container, "/proc is mounted with hidepid=", "CAP_SYS_PTRACE")
    node.passes("readinessProbe", container)  # what it sees it can hold
    assert node.terminate(container) == 0


def test_with_hidepid_and_the_capability_everybody_is_seen(node_with, victim):
    node = node_with(NOT_PRIVILEGED)
    node.given = replace(node.given, proc_options=("hidepid=ptraceable",))
    container = node.start()
    until(700, lambda: adj(victim), container)
    assert "hidepid" not in container.said
    assert node.terminate(container) == 0
