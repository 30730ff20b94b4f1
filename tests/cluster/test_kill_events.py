"""OOM kills in pods, seen where the pods' team looks: `kubectl describe pod`."""

from __future__ import annotations

import re
from functools import partial

import pytest

from tests.cluster.conftest import QUICK
from tests.cluster.kit import becomes, greedy
from tests.install.pages import block


@pytest.fixture
def written(release, namespace):
    """The release writes Events; its rule takes all pods of the namespace."""
    rule = {
        "name": "by-namespace",
        "reason": "a scenario of tests/cluster",
        "match": {"pod": {"namespace": namespace.name}},
        "oom_score_adj": 990,
        "trust_claims": True,
    }
    release.upgrade({**QUICK, "dryRun": False, "rules": [rule], "pods": {"kubernetesEvents": {"enabled": True}}})
    return release


def killed(namespace, name):
    """A pod, once a process of it was killed, and the Event reports it."""
    (victim,) = namespace.start(greedy(name))
    becomes({990}, victim.values)
    victim.overfill()
    becomes(1, lambda: len(events(namespace, name)))
    return victim


def described(namespace, name):
    """What the command of docs/pods.md prints."""
    (command,) = block("docs/pods.md", "kubectl describe pod").commands
    words = command.replace("pg-0", name).replace("-n db", f"-n {namespace.name}")
    return namespace.cluster.run(["bash", "-euo", "pipefail", "-c", words]).stdout


def events(namespace, name):
    selector = f"--field-selector=reason=OOMKilled,involvedObject.name={name}"
    return namespace.items("events", selector)


def test_a_kill_in_a_pod_is_an_event_on_it_and_a_restarted_daemon_tells_it_no_more(written, namespace):
    victim = killed(namespace, "victim")
    (event,) = events(namespace, "victim")
    assert event["involvedObject"]["uid"] == victim.uid
    assert event["source"] == {"component": "holdfast", "host": "node-1"}
    said = re.sub(r"\s+", " ", described(namespace, "victim"))
    assert "Type Reason Age From Message" in said
    assert "Warning OOMKilled" in said
    found = re.search(
        r"Process dd \(pid \d+, not the container's first process\) in container main was OOM-killed", said
    )
    assert found, said
    assert re.search(r"the (container|pod)'s memory limit( of 64\.0 MiB)? \(cgroup \S+\) was full\.", said), said
    assert "Rule: by-namespace" in said
    (status,) = namespace.pod("victim").object["status"]["containerStatuses"]
    assert (status["restartCount"], status["lastState"]) == (0, {}), "Kubernetes itself says nothing of it"
    counted = partial(
        written.metric, "holdfast_placement_kubernetes_events_total", reason="OOMKilled", result="written"
    )
    becomes(True, lambda: counted() >= 1)  # after the API server has answered, when the Event is there
    written.replace()
    killed(namespace, "next")
    assert [one["count"] for one in events(namespace, "victim")] == [1]
    assert [one["count"] for one in events(namespace, "next")] == [1]
