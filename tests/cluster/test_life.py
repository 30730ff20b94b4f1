"""The daemon dies, hangs and starts again: the kubelet's probes see it, and processes keep their values."""

from __future__ import annotations

import os
import signal

import pytest

from tests.cluster.conftest import QUICK
from tests.cluster.kit import becomes, pod, stopped


@pytest.fixture
def victim(release, namespace):
    """A pod that has a rule's value."""
    rule = {
        "name": "living",
        "reason": "a scenario of tests/cluster",
        "match": {"pod": {"namespace": namespace.name}},
        "oom_score_adj": 720,
    }
    readiness = {"periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1}
    # So often that a look between the two probes' verdicts is sure to see it, and a slow answer is no hang.
    liveness = {"periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 15, "terminationGracePeriodSeconds": 1}
    probes = {**QUICK["probes"], "readiness": {"spec": readiness}, "liveness": {"spec": liveness}}
    release.upgrade({**QUICK, "probes": probes, "dryRun": False, "rules": [rule]})
    (started,) = namespace.start(pod("victim"))
    becomes({720}, started.values)
    return started


def ready(release):
    """Return the restarts of the daemon's container, once it is Ready: one late answer makes it not Ready."""
    becomes(True, lambda: release.status()[0])
    return release.status()[1]


def test_killed_the_daemon_is_back_and_ready_and_no_value_changed_meanwhile(release, victim):
    restarts = ready(release)
    os.kill(release.process(), signal.SIGKILL)
    seen = set()

    def look():
        seen.update(victim.values())
        return release.status()

    becomes((True, restarts + 1), look)
    assert seen == {720}
    becomes([True], lambda: ["living" in row for row in release.rows(victim)])


def test_a_daemon_that_hangs_is_not_ready_and_then_started_again(release, victim):
    restarts = ready(release)
    with stopped(release.process()):
        becomes((False, restarts), release.status)
        becomes(restarts + 1, lambda: release.status()[1])  # by the liveness probe
    becomes((True, restarts + 1), release.status)
    assert victim.values() == {720}
