"""The chart on a node: a dry run at first, then its rules in force; `helm test`; what is left after uninstalling."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.cgroup_tree import groups, hierarchies
from tests.cluster.conftest import QUICK
from tests.cluster.kit import adj, becomes, pod
from tests.cluster.state import REPOSITORY


def rule(namespace, value, **more):
    return {
        "name": "scenario",
        "reason": "a scenario of tests/cluster",
        "match": {"pod": {"namespace": namespace.name}},
        "oom_score_adj": value,
        **more,
    }


def test_with_the_chart_s_defaults_nothing_is_written_until_dry_run_is_switched_off(uninstalled, namespace):
    release = uninstalled
    (victim,) = namespace.start(pod("victim"))
    assert victim.values() == {1000}  # BestEffort
    release.install({"rules": [rule(namespace, 700)]})
    assert "Nothing was written" in release.holdfast("preview")
    becomes(True, lambda: "oom_score_adj 1000 → 700" in release.holdfast("preview"))  # once the pods are known
    assert victim.values() == {1000}
    assert release.test().count("Phase:          Succeeded") == 1
    release.upgrade({"rules": [rule(namespace, 700)], "dryRun": False})
    becomes({700}, victim.values)
    assert release.daemons()[0]["status"]["containerStatuses"][0]["restartCount"] == 0


def test_uninstalling_leaves_processes_cgroups_and_host_paths_as_they_were(uninstalled, namespace):
    release, cluster = uninstalled, namespace.cluster
    (victim,) = namespace.start(pod("victim"))
    (pid,) = victim.processes()
    before = adj(pid), Path(f"/proc/{pid}/cgroup").read_text()
    groups_before, paths_before = foreign_groups(cluster), host_paths(cluster)
    target = {"path": f"/{cluster.state.cgroup}/target"}
    release.install(
        {
            **QUICK,
            "dryRun": False,
            "uninstall": {"restore": True},
            "rules": [rule(namespace, 600, cgroup=target, leave_kubepods=True)],
        }
    )
    becomes((600, True), lambda: (adj(pid), target["path"] in Path(f"/proc/{pid}/cgroup").read_text()))
    release.uninstall()
    assert (adj(pid), Path(f"/proc/{pid}/cgroup").read_text()) == before
    becomes(groups_before, lambda: foreign_groups(cluster))
    # docs: the journal's folder stays; the kubelet made the directories of the sockets
    kept = {"/var/lib/holdfast", "/run/holdfast", "/run/crio"}
    # The network namespace of the hook's pod goes with its sandbox, after the release.
    becomes(set(), lambda: {path for path in host_paths(cluster) - paths_before if not under(path, kept)})


@pytest.mark.timeout(900)  # a minute on an idle machine, three beside a load of thirty
def test_the_end_to_end_script_passes_on_the_node(uninstalled):
    cluster = uninstalled.namespace.cluster
    environment = {**cluster.environment(), "HELM": uninstalled.program, "HOME": os.environ.get("HOME", "/root")}
    command = [*cluster.inside(), "env", *(f"{key}={value}" for key, value in environment.items())]
    done = subprocess.run(
        [*command, REPOSITORY / "tests" / "e2e" / "run"], capture_output=True, text=True, timeout=880, check=False
    )
    sys.stdout.write(done.stdout[-8000:])
    assert done.returncode == 0, done.stderr[-4000:]
    assert "== all good" in done.stdout


def foreign_groups(cluster):
    """The cgroups below the cluster's that no pod has, by hierarchy."""
    tops = [hierarchy / cluster.state.cgroup for hierarchy in hierarchies()]
    return {group for top in tops for group in groups(top) if "kubepods" not in group.parts}


def host_paths(cluster):
    """Return the node's files where the chart has its hostPath volumes, and beside them."""
    (node,) = cluster.nodes
    look = [*cluster.inside(node), "find", "/run", "/var/lib/holdfast", "-maxdepth", "2", "-ignore_readdir_race"]
    return set(subprocess.run(look, capture_output=True, text=True, check=True).stdout.split())


def under(path, tops):
    return any(path == top or path.startswith(f"{top}/") for top in tops)
