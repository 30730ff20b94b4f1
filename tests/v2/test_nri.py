"""A container of real containerd 2 and real runc on cgroup v2: what NRI gives it is there before its first instruction.

On v1, and by a containerd that is killed in between, `tests/peers/nri` has the same.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import grpc
import pytest
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub
from holdfast.plugins.node.nri.message import ANNOTATION

from tests.needs import path_of, peer
from tests.peers import daemon
from tests.peers.nri import cri
from tests.peers.nri.node import containerd, import_image
from tests.running import until

pytestmark = [peer("containerd2/containerd", "firstlook", "ctr", "runc"), pytest.mark.timeout(400)]
SLOW_S = 120.0  # programs take 10 to 30 times as long where the processor is emulated
FILES = ("memory.oom.group", "memory.min")

HOLDFAST = """\
root: {dir}/h-root
state: {dir}/h-state
grpc: {{address: {dir}/h.sock}}
metrics: {{address: ""}}
web: {{address: ""}}
plugins:
  io.holdfast.nri.v1.plugin: {{enabled: true, socket_path: {dir}/nri.sock}}
  io.holdfast.placement.v1.rules:
    dry_run: false
    builtin_rules: none
    rescan: 1h
    rules:
      - name: held
        match: {{pod: {{namespace: hf-nri, container: held}}}}
        oom_score_adj: -900
        in_place: {{memory.oom.group: 1, memory.min: 1Mi}}
"""


def born(pods, name):
    """Return what a container's program found when it began: its oom_score_adj, and the files of its cgroup."""
    line = until(lambda: next((line for line in pods.log(name).splitlines() if "born " in line), None), SLOW_S)
    words = dict(word.split("=", 1) for word in line.partition("born ")[2].split())
    return tuple(words[name] for name in ("oom_score_adj", *FILES))


def now(pid, group):
    """Return the present values, read on the host."""
    return tuple(path.read_text().strip() for path in (Path(f"/proc/{pid}/oom_score_adj"), *(group / f for f in FILES)))


def spec_of(address, container):
    """The OCI specification that runc gets."""
    words = [path_of("ctr"), "--address", address, "--namespace", "k8s.io", "containers", "info", container]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=SLOW_S)
    return json.loads(done.stdout)["Spec"]


def test_a_negative_value_and_files_of_the_group_are_there_before_the_first_instruction_and_given_back(node, parent):
    path = node / "holdfast.yaml"
    path.write_text(HOLDFAST.format(dir=node))
    with (
        daemon.holdfast(node, path) as ours,
        containerd(node, SLOW_S) as runtime,
        grpc.insecure_channel(f"unix:{node}/h.sock") as channel,
    ):
        ours.line("nri: synchronized", within_s=SLOW_S)
        import_image(runtime.address, node)
        pods = cri.Cri(runtime.address, node, parent)
        until(pods.has_image, SLOW_S)
        config = pods.pod_config("hf-nri", "first", {})
        pod = pods.run_pod(config)
        args = [f"/sys/fs/cgroup/{name}" for name in FILES]
        ids = {name: pods.create(pod, config, name, 500, args=args) for name in ("held", "other")}
        spec = spec_of(runtime.address, ids["held"])
        assert spec["process"]["oomScoreAdj"] == -900
        assert spec["linux"]["resources"]["unified"] == {"memory.oom.group": "1", "memory.min": "1048576"}
        assert spec["annotations"][ANNOTATION] == (
            "rule=held oom_score_adj=-900 asked=500 memory.oom.group=1 memory.min=1048576"
        )
        for container in ids.values():
            pods.start(container)
        assert born(pods, "held") == ("-900", "1", "1048576")
        assert born(pods, "other") == ("500", "0", "0")

        group = Path("/sys/fs/cgroup", parent[1:], ids["held"])
        (pid,) = map(int, (group / "cgroup.procs").read_text().split())
        placement = PlacementStub(channel)

        def adj_before():
            found = placement.ListPlacements(pb.ListPlacementsRequest(), timeout=SLOW_S).placements
            return next((row.adj_before for row in found if row.pid == pid and row.HasField("adj_before")), None)

        until(lambda: adj_before() == 500, SLOW_S)
        placement.Restore(pb.RestoreRequest(rule="held"), timeout=SLOW_S)
        assert now(pid, group) == ("500", "0", "0")
        pods.remove_pod(pod)
        assert not group.exists()
        pods.close()
