"""A value below 0, and settings of a container's cgroup: they need a node with cgroup v2 and CAP_SYS_RESOURCE.

`make cluster-v2` runs it where HOLDFAST_V2_HOST says. The name does not begin with ``test_``: no other run collects it,
because Kubernetes takes many minutes where the processor is emulated.
"""

from __future__ import annotations

import pytest

from tests.cluster import images
from tests.cluster.kit import becomes, pod
from tests.needs import v2

VALUE = -500
SETTINGS = {"memory.oom.group": "0", "memory.min": "16777216"}
#: The kubelet's own settings: since 1.28 the kernel kills all processes of a container together.
KUBELET = {"memory.oom.group": "1", "memory.min": "0"}
SLOW_PROBE = {"timeoutSeconds": 120, "failureThreshold": 100}


def before_guest(config: pytest.Config) -> None:
    """Make the images here."""
    images.archives()


def values_with(namespace):
    rule = {
        "name": "protected",
        "reason": "a scenario of tests/cluster",
        "match": {"pod": {"namespace": namespace.name}},
        "oom_score_adj": VALUE,
        "in_place": SETTINGS,
    }
    probes = {kind: {"spec": SLOW_PROBE} for kind in ("startup", "liveness", "readiness")}
    return {
        "dryRun": False,
        "rules": [rule],
        "probes": probes,
        "uninstall": {"restore": True, "timeoutSeconds": 3600},
    }


def state(victim):
    """The values of a pod's processes, and the settings of its container's cgroup."""
    group = victim.group()
    return victim.values(), {name: (group / name).read_text().strip() for name in SETTINGS}


@v2
def test_a_pod_gets_a_value_below_0_and_settings_of_its_group_and_uninstalling_restores_both(uninstalled, namespace):
    release = uninstalled
    (victim,) = namespace.start(pod("victim"))
    assert state(victim) == ({1000}, KUBELET)
    release.install(values_with(namespace))
    becomes(({VALUE}, SETTINGS), lambda: state(victim))
    (pid,) = victim.processes()
    assert "yes  protected" in release.holdfast("explain", str(pid))
    release.uninstall()
    assert state(victim) == ({1000}, KUBELET)
