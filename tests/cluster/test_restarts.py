"""Runtime, kubelet or API server go away and come back. Rules go on afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.churn import VALUE, failures, values
from tests.cluster.conftest import QUICK
from tests.cluster.kit import adj, becomes, pod
from tests.cluster.release import LIVENESS, READINESS, serves

LABELS = {"churn": "yes"}


@pytest.fixture
def victim(release, namespace):
    """A pod with a rule's value by CRI and NRI; the daemon has answered for it."""
    release.upgrade({**QUICK, **values(namespace)})
    becomes(1.0, lambda: release.metric("holdfast_nri_connected"))
    (started,) = namespace.start(pod("victim", labels=LABELS))
    becomes({VALUE}, started.values)
    return started


def acts_on_a_new_pod(release, namespace):
    (new,) = namespace.start(pod("new", labels=LABELS))
    becomes({VALUE}, new.values)
    (pid,) = new.processes()
    becomes(True, lambda: f"{namespace.name}/new/main" in release.holdfast("explain", str(pid)))
    _, restarts = release.status()
    assert (restarts, {name for name in failures(release) if name != "failed lists"}) == (0, set())


def overwritten(pid):
    """Another program writes a value: the daemon, if it acts, restores its own with its next rescan."""
    Path(f"/proc/{pid}/oom_score_adj").write_text("901")


def test_while_the_runtime_is_away_it_says_so_and_keeps_what_it_knows(release, victim, namespace):
    (pid,) = victim.processes()
    with namespace.cluster.without("node-1-containerd"):
        becomes((0.0, 0.0), lambda: (release.metric("holdfast_pods_runtime_connected"), nri(release)))
        overwritten(pid)
        becomes(VALUE, lambda: adj(pid))
        daemon = release.process()
        assert (serves(daemon, LIVENESS), serves(daemon, READINESS)) == (True, True)
    becomes((1.0, 1.0), lambda: (release.metric("holdfast_pods_runtime_connected"), nri(release)))
    acts_on_a_new_pod(release, namespace)


def nri(release):
    return release.metric("holdfast_nri_connected")


def test_while_the_kubelet_is_away_rules_stay_in_force(release, victim, namespace):
    (pid,) = victim.processes()
    with namespace.cluster.without("node-1-kubelet"):
        overwritten(pid)
        becomes(VALUE, lambda: adj(pid))
        assert release.metric("holdfast_pods_runtime_connected") == 1
        daemon = release.process()
        assert (serves(daemon, LIVENESS), serves(daemon, READINESS)) == (True, True)
    namespace.cluster.wait_ready()
    acts_on_a_new_pod(release, namespace)


def test_while_the_api_server_is_away_nothing_is_missing_on_the_node(release, victim, namespace):
    (pid,), daemon = victim.processes(), release.process()
    with namespace.cluster.without("kube-apiserver"):
        overwritten(pid)
        becomes(VALUE, lambda: adj(pid))
        assert (serves(daemon, LIVENESS), serves(daemon, READINESS)) == (True, True)
    namespace.cluster.wait_ready()
    assert release.process() == daemon
    acts_on_a_new_pod(release, namespace)
