"""A configuration that cannot be used: while the daemon runs, and when its pod is started with it."""

from __future__ import annotations

import json

import pytest

from tests.cluster.conftest import QUICK
from tests.cluster.kit import becomes, pod

CONFIG_MAP = "by-hand"
SUCCESSFUL = "holdfast_config_last_reload_successful"


def configuration(namespace, value):
    rule = {
        "name": "by-hand",
        "reason": "a scenario of tests/cluster",
        "match": {"pod": {"namespace": namespace.name}},
        "oom_score_adj": value,
    }
    return {
        "version": 2,
        "grpc": {"health_address": ":7421"},
        "metrics": {"address": ":9420"},
        "plugins": {"io.holdfast.placement.v1.rules": {"dry_run": False, "rescan": "1s", "rules": [rule]}},
    }


@pytest.fixture
def by_hand(release, namespace, home):
    """A daemon that follows a ConfigMap of the test's own; a function that writes it."""

    def write(text):
        data = {"config.yaml": text if isinstance(text, str) else json.dumps(text)}
        home.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP}, "data": data})
        release.touch()

    write(configuration(namespace, 730))
    given = {key: value for key, value in QUICK.items() if key != "config"}
    readiness = {"spec": {"periodSeconds": 1, "failureThreshold": 1}}
    probes = {**QUICK["probes"], "readiness": readiness}
    release.upgrade({**given, "probes": probes, "dryRun": True, "existingConfigMap": CONFIG_MAP})
    yield write
    release.uninstall()  # also where the daemon does not run
    home.delete(f"configmap/{CONFIG_MAP}")


BROKEN = {"not YAML": "plugins: {", "an unknown key": '{"version": 2, "grpcc": {}}'}


@pytest.fixture(params=BROKEN)
def broken(request):
    return BROKEN[request.param]


def test_a_broken_configuration_changes_nothing_in_a_running_daemon(release, by_hand, namespace, broken):
    (first,) = namespace.start(pod("first"))
    becomes({730}, first.values)
    _, restarts = release.status()
    by_hand(broken)
    becomes(0.0, lambda: release.metric(SUCCESSFUL))
    (second,) = namespace.start(pod("second"))
    becomes({730}, second.values)  # the rules before are in force
    by_hand(configuration(namespace, 740))
    becomes(1.0, lambda: release.metric(SUCCESSFUL))
    becomes([{740}] * 2, lambda: [first.values(), second.values()])
    becomes((True, restarts), release.status)  # one late answer makes it not ready, here


def test_a_pod_started_with_a_broken_configuration_runs_on_the_last_good_one(release, by_hand, namespace):
    """It is not ready until the ConfigMap is mended; nothing is restarted for that."""
    (first,) = namespace.start(pod("first"))
    becomes({730}, first.values)
    by_hand(BROKEN["an unknown key"])
    becomes(0.0, lambda: release.metric(SUCCESSFUL))
    (before,) = release.daemons()
    # Not by force: the next one would meet this one's sockets, end, and be started again.
    release.namespace.kubectl("delete", f"pod/{before['metadata']['name']}")
    becomes(True, lambda: is_running(release, before["metadata"]["uid"]))
    assert release.status() == (False, 0)
    becomes(0.0, lambda: release.metric(SUCCESSFUL))
    (second,) = namespace.start(pod("second"))
    becomes([{730}] * 2, lambda: [first.values(), second.values()])
    by_hand(configuration(namespace, 740))
    becomes((True, 0), release.status)
    becomes([{740}] * 2, lambda: [first.values(), second.values()])
    assert release.metric(SUCCESSFUL) == 1


def is_running(release, uid_before):
    """Whether another pod is there whose container has passed its startup probe."""
    found = [one["status"] for one in release.daemons() if one["metadata"]["uid"] != uid_before]
    return [one["containerStatuses"][0]["started"] for one in found if "containerStatuses" in one] == [True]


def test_rules_changed_by_upgrade_are_taken_back_by_rollback_to_those_of_the_start(uninstalled, namespace):
    def values_with(value, builtin):
        rules = configuration(namespace, value)["plugins"]["io.holdfast.placement.v1.rules"]["rules"]
        return {**QUICK, "dryRun": False, "builtinRules": builtin, "rules": rules}

    release = uninstalled
    release.install(values_with(750, "none"))
    (victim,) = namespace.start(pod("victim"))
    becomes({750}, victim.values)
    hash_of_a = config_hash(release)
    for value, builtin in ((760, ["batch-pods"]), (770, "none")):
        release.upgrade(values_with(value, builtin))
        becomes({value}, victim.values)
    release.rollback(1)
    becomes({750}, victim.values)
    assert config_hash(release) == hash_of_a
    assert "batch-pods" not in release.holdfast("rules")
    release.rollback(2)
    becomes({760}, victim.values)
    assert "batch-pods" in release.holdfast("rules")
    assert release.status() == (True, 0)


def config_hash(release):
    (labels,) = release.metrics()["holdfast_config_info"]
    return dict(labels)["hash"]
