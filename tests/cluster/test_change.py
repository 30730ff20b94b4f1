"""A configuration that is changed and rolled back by helm, without a restart of the daemon."""

from __future__ import annotations

from tests.cluster.conftest import QUICK
from tests.cluster.kit import becomes, pod


def values_with(namespace, dry_run):
    rule = {
        "name": "changing",
        "reason": "a scenario of tests/cluster",
        "match": {"pod": {"namespace": namespace.name}},
        "oom_score_adj": 710,
    }
    return {**QUICK, "dryRun": dry_run, "rules": [rule]}


def test_dry_run_true_false_true_by_upgrade_and_rollback_is_followed_each_time(uninstalled, namespace):
    """A dry run leaves what was written before (docs/placement.md); pods that start under it are not written to."""
    release = uninstalled
    release.install(values_with(namespace, dry_run=True))
    (first,) = [one["metadata"]["uid"] for one in release.daemons()]
    (one,) = namespace.start(pod("one"))
    becomes({"planned"}, lambda: states(release, one))
    assert one.values() == {1000}
    release.upgrade(values_with(namespace, dry_run=False))
    becomes({710}, one.values)
    release.rollback(1)  # to what the daemon was started with
    (two,) = namespace.start(pod("two"))
    becomes({"planned"}, lambda: states(release, two))
    assert (one.values(), two.values()) == ({710}, {1000})
    release.rollback(2)
    becomes({710}, two.values)
    release.upgrade(values_with(namespace, dry_run=True))
    (three,) = namespace.start(pod("three"))
    becomes({"planned"}, lambda: states(release, three))
    assert three.values() == {1000}
    (daemon,) = release.daemons()
    assert daemon["metadata"]["uid"] == first
    assert daemon["status"]["containerStatuses"][0]["restartCount"] == 0
    assert release.metric("holdfast_config_last_reload_successful") == 1


def states(release, pod):
    """Return what the daemon says of the pod's processes."""
    return {row.split()[3] for row in release.rows(pod)}
