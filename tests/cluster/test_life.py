"""The daemon dies, hangs and starts again: the kubelet's probes see it, and processes keep their values."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress

import pytest

from tests.cluster.conftest import QUICK
from tests.cluster.kit import becomes, pod


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
    liveness = {"periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 6, "terminationGracePeriodSeconds": 1}
    probes = {**QUICK["probes"], "readiness": {"spec": readiness}, "liveness": {"spec": liveness}}
    release.upgrade({**QUICK, "probes": probes, "dryRun": False, "rules": [rule]})
    (started,) = namespace.start(pod("victim"))
    becomes({720}, started.values)
    return started


def status(release):
    """Whether the daemon's container is ready, and how often it was started again."""
    (one,) = release.daemons()[0]["status"]["containerStatuses"]
    return one["ready"], one["restartCount"]


def daemon_pid(release):
    (pid,) = release.namespace.pod(release.daemon()).processes("holdfast")
    return pid


def test_killed_the_daemon_is_back_and_ready_and_no_value_changed_meanwhile(release, victim):
    ready, restarts = status(release)
    assert ready
    os.kill(daemon_pid(release), signal.SIGKILL)
    seen = set()

    def look():
        seen.update(victim.values())
        return status(release)

    becomes((True, restarts + 1), look)
    assert seen == {720}
    (held,) = [row for row in release.holdfast("ps").splitlines() if f"{victim.namespace.name}/victim" in row]
    assert "living" in held


def test_a_daemon_that_hangs_is_not_ready_and_then_started_again(release, victim):
    ready, restarts = status(release)
    assert ready
    with stopped(daemon_pid(release)):
        becomes((False, restarts), lambda: status(release))
        becomes(restarts + 1, lambda: status(release)[1])  # by the liveness probe
    becomes((True, restarts + 1), lambda: status(release))
    assert victim.values() == {720}


@contextmanager
def stopped(pid):
    """The process does not run within the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
