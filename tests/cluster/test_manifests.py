"""The manifests of deploy/, applied by kubectl: the daemon runs, and applying them again changes nothing."""

from __future__ import annotations

import pytest

from tests.cluster.release import DAEMONS
from tests.cluster.state import REPOSITORY

OVERLAYS = REPOSITORY / "deploy" / "overlays"
KINDS = "daemonsets,configmaps,serviceaccounts,networkpolicies"
OURS = "--selector=app.kubernetes.io/name=holdfast"


@pytest.fixture
def nothing_left(uninstalled):
    """No release; what the test applies is deleted afterwards, but for the namespace."""
    yield uninstalled
    if uninstalled.installed():
        uninstalled.rolled_out()  # a pod whose container has not started runs no command
        uninstalled.holdfast("restore")  # `enforce` has the built-in rules act on this machine
    uninstalled.namespace.kubectl("delete", f"{KINDS},services", OURS)
    uninstalled.namespace.wait_gone(DAEMONS)


@pytest.mark.parametrize("overlay", ["default", "enforce", "v1-hosts"])
def test_an_overlay_runs_and_applying_it_again_changes_nothing(nothing_left, home, overlay):
    kubectl, path = home.cluster.kubectl, OVERLAYS / overlay
    kubectl("apply", "--kustomize", path)
    nothing_left.rolled_out()
    difference = kubectl("diff", "--kustomize", path, check=False)
    assert (difference.returncode, difference.stdout) == (0, "")
    (pod,) = home.items("pods", DAEMONS)
    assert "Nothing was written" in home.kubectl("exec", pod["metadata"]["name"], "--", "holdfast", "preview")


def test_what_is_applied_on_the_server_s_side_twice_changes_nothing(nothing_left, home):
    """As Argo CD and Flux apply, which compare again and again."""
    apply = ("apply", "--server-side", "--field-manager=tests", "--filename", REPOSITORY / "deploy" / "holdfast.yaml")
    home.cluster.kubectl(*apply, "--force-conflicts")  # the namespace is the tests' own
    before = versions(home)
    home.cluster.kubectl(*apply)
    assert versions(home) == before
    assert {kind for kind, _ in before} == {"DaemonSet", "ConfigMap", "ServiceAccount", "NetworkPolicy"}
    difference = home.cluster.kubectl("diff", *apply[1:], check=False)
    assert (difference.returncode, difference.stdout) == (0, "")


def versions(home):
    """The last write of a client: a DaemonSet's status changes by itself, and is of another manager."""
    found = home.items(KINDS, OURS, "--show-managed-fields")
    return {(one["kind"], one["metadata"]["name"]): written(one["metadata"]) for one in found}


def written(metadata):
    (ours,) = [one for one in metadata["managedFields"] if one["manager"] == "tests"]
    return metadata["uid"], metadata.get("generation"), ours["time"], ours["fieldsV1"]
