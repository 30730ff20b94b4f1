"""The daemon's pod is taken away: by a drain, by an eviction, by the kernel at its memory limit. It comes back, and
processes keep their values.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cluster.conftest import QUICK
from tests.cluster.kit import PATIENCE_S, becomes, pod
from tests.cluster.release import is_ready
from tests.needs import path_of


@pytest.fixture
def victim(release, namespace):
    """A pod that has a rule's value, and a controller that makes it again."""
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


def test_a_drained_node_keeps_its_daemon(release, victim, namespace):
    (before,) = release.daemons()
    kubectl = namespace.cluster.kubectl
    try:
        options = ("--ignore-daemonsets", "--force", "--delete-emptydir-data", f"--timeout={PATIENCE_S:.0f}s")
        drained = kubectl("drain", "node-1", *options)
        assert "node/node-1 drained" in drained.stdout
        namespace.wait_gone()  # the victim was evicted
        (after,) = release.daemons()
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert is_ready(after)
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
    release.replaced(before, lambda: seen.update(victim.values()))
    assert seen == {760}
    becomes([True], lambda: ["kept" in row for row in release.rows(victim)])


def test_killed_at_its_memory_limit_the_daemon_is_back_and_says_so(release, victim):
    """A process beside it in its cgroup takes the memory; the kernel kills the daemon, whose value the test raised."""
    _, restarts = release.status()
    daemon = release.process()
    Path(f"/proc/{daemon}/oom_score_adj").write_text("1000")
    group = release.namespace.pod(release.daemon()).group("holdfast")
    hog = ["sh", "-c", f"echo $$ > {group}/cgroup.procs; exec tail -c 1000000000 /dev/zero"]
    subprocess.run([path_of("busybox"), *hog], check=False, timeout=60)
    seen = set()

    def look():
        seen.update(victim.values())
        return release.status()

    becomes((True, restarts + 1), look)
    assert seen == {760}
    becomes("OOMKilled", lambda: reason_of_the_last_end(release))  # the runtime reports the end, then its reason
    # The daemon reads the kernel's log later.
    becomes(True, lambda: str(daemon) in release.holdfast("kills", "-o", "name").split())


def reason_of_the_last_end(release):
    (one,) = release.daemons()[0]["status"]["containerStatuses"]
    return one["lastState"]["terminated"]["reason"]
