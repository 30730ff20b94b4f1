"""Two nodes: each daemon applies the rules to the pods of its own node, and goes on while the other one hangs."""

from __future__ import annotations

import pytest

from tests.cluster.cluster import running
from tests.cluster.conftest import FIRST_S, QUICK, TIMEOUT_S
from tests.cluster.kit import Namespace, becomes, pod, stopped
from tests.cluster.release import Release

NODES = ("node-1", "node-2")
pytestmark = pytest.mark.timeout(TIMEOUT_S + FIRST_S)


@pytest.fixture
def pods():
    """A namespace of a cluster with two nodes, which ends with the test."""
    with running("nodes", len(NODES)) as cluster:
        made = Namespace(cluster, "pods")
        made.create()
        yield made


@pytest.fixture
def release(pods):
    home = Namespace(pods.cluster, "holdfast")
    home.create({"pod-security.kubernetes.io/enforce": "privileged"})
    made = Release(home)
    made.install(values(740))
    return made


def values(adj):
    rule = {
        "name": "both",
        "reason": "a scenario of tests/cluster",
        "match": {"pod": {"namespace": "pods"}},
        "oom_score_adj": adj,
    }
    return {**QUICK, "dryRun": False, "rules": [rule]}


def hashes(release):
    """Return the hash of each node's configuration, as the daemon there reports it."""
    return [dict(labels)["hash"] for node in NODES for labels in release.metrics(node)["holdfast_config_info"]]


def known(release, node):
    """Return the names of the pods whose processes the daemon on a node lists."""
    rows = [row for row in release.holdfast("ps", node=node).splitlines() if " pods/" in row]
    return {row.partition(" pods/")[2].partition("/")[0] for row in rows}


def test_a_rule_is_in_force_on_both_nodes_and_on_one_while_the_daemon_of_the_other_hangs(release, pods):
    assert [one["spec"]["nodeName"] for one in release.daemons()] == list(NODES)
    first, second = pods.start(pod("first", nodeName=NODES[0]), pod("second", nodeName=NODES[1]))
    becomes([{740}, {740}], lambda: [first.values(), second.values()])
    becomes([{"first"}, {"second"}], lambda: [known(release, node) for node in NODES])
    before = hashes(release)
    assert before == [before[0]] * 2
    with stopped(release.process(NODES[1])):
        third, fourth = pods.start(pod("third", nodeName=NODES[0]), pod("fourth", nodeName=NODES[1]))
        becomes({740}, third.values)
        assert second.values() == {740}
    becomes({740}, fourth.values)
    release.upgrade(values(730))
    becomes([{730}] * 4, lambda: [one.values() for one in (first, second, third, fourth)])
    now = hashes(release)
    assert now == [now[0]] * 2 != before
