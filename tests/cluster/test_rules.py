"""Rules that match pods by what the runtime reports of them, and values at a container's creation by NRI."""

from __future__ import annotations

import pytest

from tests.cluster.conftest import QUICK
from tests.cluster.kit import adj, becomes, container, pod

#: what matches → the value that only this rule gives
VALUES = {"namespace": 610, "label": 620, "annotation": 630, "container": 640, "qos": 650}


def a_rule(name, match, value):
    return {
        "name": name,
        "reason": "a scenario of tests/cluster",
        "match": {"pod": match},
        "oom_score_adj": value,
        "trust_claims": True,  # labels and names are their author's; the values are below a BestEffort pod's 1000
    }


def rules_for(namespace):
    """One rule for each key; the last takes the rest of the namespace."""
    where = {"namespace": namespace.name}
    return [
        a_rule("by-label", {**where, "labels": "tier=batch"}, VALUES["label"]),
        a_rule("by-annotation", {**where, "annotations": "example.com/kind=report"}, VALUES["annotation"]),
        a_rule("by-container", {**where, "container": "sidecar"}, VALUES["container"]),
        a_rule("by-qos", {**where, "qos": "burstable"}, VALUES["qos"]),
        a_rule("by-namespace", where, VALUES["namespace"]),
    ]


@pytest.fixture
def victims(release, namespace):
    """A pod for each rule, started while the rules are in force; its two containers are Ready."""
    release.upgrade({**QUICK, "dryRun": False, "rules": rules_for(namespace)})
    two = [container("main"), container("sidecar")]
    started = namespace.start(
        pod("namespace"),
        pod("label", labels={"tier": "batch"}),
        pod("annotation", annotations={"example.com/kind": "report"}),
        pod("container", containers=two),
        pod("qos", requests={"memory": "16Mi", "cpu": "1m"}),
    )
    return {victim.name: victim for victim in started}


def test_each_rule_gives_its_value_to_its_pods_and_to_no_other(release, victims):
    for name in ("namespace", "label", "annotation", "qos"):
        becomes({VALUES[name]}, victims[name].values)
    becomes({VALUES["container"]}, lambda: victims["container"].values("sidecar"))
    becomes({VALUES["namespace"]}, lambda: victims["container"].values("main"))
    for victim in victims.values():
        (pause,) = victim.pause()
        assert adj(pause) not in VALUES.values()
    (pid,) = victims["label"].processes()
    explained = release.holdfast("explain", str(pid))
    assert "yes  by-label" in explained
    assert f"{victims['label'].namespace.name}/label/main" in explained


def test_a_pod_of_another_namespace_keeps_what_the_kubelet_gave_it(release, victims, home):
    (stranger,) = home.start(pod("stranger", labels={"tier": "batch"}))
    becomes({VALUES["label"]}, victims["label"].values)
    try:
        assert stranger.values() == {1000}
        (pid,) = stranger.processes()
        assert "yes" not in release.holdfast("explain", str(pid)).partition("decision")[0]
    finally:
        home.delete("pod/stranger")


def test_with_nri_the_value_is_there_at_the_first_instruction(release, namespace):
    values = {**QUICK, "dryRun": False, "pods": {"nri": {"enabled": True}}}
    release.upgrade({**values, "rules": [a_rule("first", {"namespace": namespace.name}, 660)]})
    becomes(1.0, lambda: release.metric("holdfast_nri_connected"))
    first = ["sh", "-c", "read value </proc/self/oom_score_adj; echo first=$value; exec sleep infinity"]
    started = namespace.start(*(pod(f"early-{number}", command=first) for number in range(5)))
    assert [early.printed() for early in started] == ["first=660\n"] * 5
    assert [early.values() for early in started] == [{660}] * 5
