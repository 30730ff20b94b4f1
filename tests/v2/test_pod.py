"""The chart's pod on a cgroup-v2 host with every capability, run by crun: `tests/pod` is the same by runc on v1.

The pod is the golden render, which `tests/chart` holds equal to what helm renders: helm takes long where the processor
is emulated.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import yaml
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub

from tests.chart.kit import config_text, objects, pod
from tests.needs import peer
from tests.pod.bundle import machine_root
from tests.pod.node import MARK, TARGET, Node, adj, group_of, rule, until

pytestmark = [peer("crun", "capsh", "grpc-health-probe"), pytest.mark.timeout(300)]
GOLDEN = Path(__file__).parents[1] / "chart" / "golden" / "default.yaml"
SLOW_S = 120.0  # Python takes 20 to 30 times as long where the processor is emulated


@pytest.fixture
def node(short_dir, start, tmp_path):
    found = objects(GOLDEN.read_text())
    settings = yaml.safe_load(config_text(found))
    made = Node("crun", machine_root(tmp_path / "root"), short_dir, pod(found), settings, start)
    yield made
    made.clear()


@pytest.fixture
def victim(start):
    found = start([sys.executable, "-S", "-c", "import signal; print('up', flush=True); signal.pause()", MARK])
    found.line("up", within_s=SLOW_S)
    return found.pid


def eventually(expected, look, container):
    until(expected, look, container, SLOW_S)


def test_it_lowers_moves_follows_its_configmap_and_another_runtime_s_version_gives_back(node, victim):
    before, home = adj(victim), group_of(victim)
    node.configure(rule(-900, cgroup={"path": TARGET, "settings": {"memory.min": "1Mi"}}))
    first = node.start()
    first.line("successfully booted", within_s=SLOW_S)
    eventually(True, lambda: node.probe("readinessProbe"), first)
    assert "missing:" not in first.said
    eventually((-900, TARGET), lambda: (adj(victim), group_of(victim)), first)
    assert Path("/sys/fs/cgroup", TARGET.lstrip("/"), "memory.min").read_text() == "1048576\n"

    node.configure(rule(-950, cgroup={"path": TARGET, "settings": {"memory.min": "1Mi"}}))
    eventually(-950, lambda: adj(victim), first)
    assert node.terminate(first) == 0
    assert (adj(victim), group_of(victim)) == (-950, TARGET)

    node.given = replace(node.given, private_cgroups=True)
    second = node.start()
    second.line("successfully booted", within_s=SLOW_S)
    eventually(True, lambda: node.probe("readinessProbe"), second)
    assert "missing:" not in second.said, "it enters the host's cgroup namespace"
    with grpc.insecure_channel(f"unix:{node.places['state']}/holdfast.sock") as channel:
        PlacementStub(channel).Restore(pb.RestoreRequest(), timeout=SLOW_S)
    assert (adj(victim), group_of(victim)) == (before, home)
    assert node.terminate(second) == 0
