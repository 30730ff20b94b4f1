"""The daemon's pod is taken away: by a drain, by an eviction, by the kernel at its memory limit. It comes back, and
processes keep their values.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cluster.conftest import QUICK
from tests.cluster.kit import becomes, pod
from tests.needs import path_of


@pytest.fixture
def victim(release, namespace):
    """A pod that has a rule's value, and a controller that makes it anew."""
    rule = {
        "name": "kept",
        "reason": "a scenario of tests/cluster",
        "match": {"pod": {"namespace": namespace.name}},
        "oom_score_adj": 760,
    }
    release.upgrade({**QUICK, "dryRun": False, "rules": [rule]})
    (started,) = namespace.start(pod("victim"))
    becomes({760}, started.values)
    return started


def status(release):
    (one,) = release.daemons()[0]["status"]["containerStatuses"]
    return one["ready"], one["restartCount"]


def test_a_drained_node_keeps_its_daemon(release, victim, namespace):
    (before,) = release.daemons()
    kubectl = namespace.cluster.kubectl
    try:
        options = ("--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=60s")
        drained = kubectl("drain", "node-1", *options)
        assert "node/node-1 drained" in drained.stdout
        namespace.wait_gone()  # the victim was evicted
        (after,) = release.daemons()
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert status(release)[0]
    finally:
        kubectl("uncordon", "node-1")
    (new,) = namespace.start(pod("new"))
    becomes({760}, new.values)


def test_an_evicted_daemon_is_replaced_and_no_value_changes(release, victim):
    (before,) = release.daemons()
    name = before["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    path = f"/api/v1/namespaces/{release.namespace.name}/pods/{name}/eviction"
    release.namespace.kubectl("create", "--raw", path, "--filename=-", text=json.dumps(eviction))
    seen = set()

    def replaced():
        seen.update(victim.values())
        found = release.daemons()
        return [one["metadata"]["uid"] != before["metadata"]["uid"] and is_ready(one) for one in found]

    becomes([True], replaced)
    assert seen == {760}
    (held,) = [row for row in release.holdfast("ps").splitlines() if f"{victim.namespace.name}/victim" in row]
    assert "kept" in held


def is_ready(daemon):
    return any(one["type"] == "Ready" and one["status"] == "True" for one in daemon["status"].get("conditions", []))


def test_killed_at_its_memory_limit_the_daemon_is_back_and_says_so(release, victim):
    """A process beside it in its cgroup takes the memory; the kernel kills the daemon, whose value the test raised."""
    restarts = status(release)[1]
    daemon = release.process()
    Path(f"/proc/{daemon}/oom_score_adj").write_text("1000")
    group = release.namespace.pod(release.daemon()).group("holdfast")
    hog = ["sh", "-c", f"echo $$ > {group}/cgroup.procs; exec tail -c 1000000000 /dev/zero"]
    subprocess.run([path_of("busybox"), *hog], check=False, timeout=60)
    seen = set()

    def look():
        seen.update(victim.values())
        return status(release)

    becomes((True, restarts + 1), look)
    assert seen == {760}
    (one,) = release.daemons()[0]["status"]["containerStatuses"]
    assert one["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert str(daemon) in release.holdfast("kills")
