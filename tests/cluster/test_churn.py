"""Pods that come and go by the dozen, and sandboxes that are removed under the kubelet: no job of the daemon ends."""

from __future__ import annotations

import pytest

from tests.cluster.churn import VALUE, Churn, Daemon, failures, values
from tests.cluster.conftest import QUICK
from tests.cluster.kit import becomes, pod
from tests.cluster.runtime import Runtime

BATCH, BATCHES, SETTLED = 10, 10, 4
RELISTS = "holdfast_pods_relists_total"
#: As often as may be set: what goes wrong between two lists of the runtime shows with the next.
LISTED_OFTEN = {**QUICK["config"]["plugins"], "io.holdfast.pods.v1.directory": {"cri": {"relist": "1s"}}}


@pytest.fixture
def churning(release, namespace):
    """The chart with CRI and NRI, and one rule by label for the namespace."""
    release.upgrade({**QUICK, **values(namespace), "config": {"plugins": LISTED_OFTEN}})
    becomes(1.0, lambda: release.metric("holdfast_nri_connected"))
    return Churn(release, namespace)


def listed_again(release, times=2):
    """Wait until the daemon has asked the runtime for its whole lists so often again."""
    before = release.metric(RELISTS, result="done")
    becomes(True, lambda: release.metric(RELISTS, result="done") >= before + times)


def test_of_a_hundred_pods_none_is_missed_and_the_daemon_does_not_grow(release, churning):
    for number in range(BATCHES):
        churning.grow(BATCH)
        if number:
            churning.shrink()
        if number == SETTLED:
            settled = Daemon.of(release)
    assert churning.started == BATCH * BATCHES
    assert churning.missed == []
    assert failures(release) == {}
    now = Daemon.of(release)
    assert now.rss_kib < settled.rss_kib + 4 * 1024  # 500 pods known at once take 4 to 6 MiB
    # A scrape, a probe, and the file of OOM kills, which is opened with the first one on the machine.
    becomes(True, lambda: Daemon.of(release).descriptors <= settled.descriptors + 5)
    churning.shrink()
    running = len(release.daemons())
    becomes(running, lambda: release.metric("holdfast_pods_known", kind="pods"))
    becomes(running, lambda: release.metric("holdfast_pods_known", kind="containers"))


def test_sandboxes_stopped_and_removed_at_once_end_no_job_and_rules_by_label_go_on(release, churning, namespace):
    churning.grow(BATCH)
    (node,) = namespace.cluster.nodes
    runtime = Runtime(node)
    for one in namespace.items("pods"):
        runtime.stop_and_remove(runtime.sandbox_of(one["metadata"]["uid"]))
    listed_again(release)
    assert failures(release) == {}
    (new,) = namespace.start(pod("new", labels={"churn": "yes"}))
    becomes({VALUE}, new.values)
    (pid,) = new.processes()
    becomes(True, lambda: "yes  churn" in release.holdfast("explain", str(pid)))
