"""Values given at a container's creation, and what its processes started since inherit of them, are restored."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.conftest import QUICK
from tests.cluster.kit import adj, becomes, of_living, pod

FIRST = "read value </proc/self/oom_score_adj; echo first=$value; "
#: A shell with a child that runs another program, and a shell with a child of its own.
TREE = ["sh", "-c", FIRST + "sleep 1000000 & sh -c 'sleep 2000000; :' & wait"]
GIVEN = {"sh": {650, 750}, "sleep": {750}}
KUBELET = {"sh": {1000}, "sleep": {1000}}  # BestEffort


@pytest.fixture
def tree(release, namespace):
    """A pod of several processes, created under a rule with `children`."""
    rule = {
        "name": "tree",
        "reason": "a scenario of tests/cluster",
        "match": {"pod": {"namespace": namespace.name}},
        "oom_score_adj": {"value": 650, "children": 750},
        "trust_claims": True,
    }
    release.upgrade({**QUICK, "dryRun": False, "pods": {"nri": {"enabled": True}}, "rules": [rule]})
    becomes(1.0, lambda: release.metric("holdfast_nri_connected"))
    (started,) = namespace.start(pod("tree", command=TREE))
    assert started.printed() == "first=650\n"
    becomes(GIVEN, lambda: values(started))
    return started


def values(pod):
    """Values of a container's processes by their names."""
    found = {}
    for name, value in of_living(
        pod.processes(), lambda pid: (Path(f"/proc/{pid}/comm").read_text().strip(), adj(pid))
    ):
        found.setdefault(name, set()).add(value)
    return found


def test_restore_gives_every_process_what_the_kubelet_gave_the_container(release, tree):
    assert "0 left" in release.holdfast("restore").splitlines()[-1]
    becomes(KUBELET, lambda: values(tree))
    assert release.metric("holdfast_placement_processes", rule="tree") == 0


def test_a_rule_that_goes_takes_its_values_with_it_after_the_daemon_was_started_anew(release, tree):
    before = release.process()
    release.replace()
    assert release.process() != before
    assert values(tree) == GIVEN
    release.upgrade({**QUICK, "dryRun": False, "pods": {"nri": {"enabled": True}}, "rules": []})
    becomes(KUBELET, lambda: values(tree))
