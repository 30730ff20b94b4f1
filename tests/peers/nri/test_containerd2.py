"""Real containerd 2 with NRI: pods run through CRI, and what their processes were born with.

It is 2.1 for its NRI 0.8: the first with oom_score_adj, and without the methods of 0.12 (everything but creations and
stops comes as StateChange). The newest NRI is what `test_runtime` has.
"""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.needs import path_of, peer, root
from tests.peers import daemon
from tests.peers.daemon import Daemon
from tests.peers.nri import cri
from tests.peers.nri.node import containerd, import_image, placements, told
from tests.running import PATIENCE_S, until

pytestmark = [peer("containerd2/containerd", "firstlook", "ctr", "runc"), root]

HOLDFAST = """\
root: {dir}/h-root
state: {dir}/h-state
grpc: {{address: {dir}/h.sock}}
metrics: {{address: ""}}
web: {{address: ""}}
plugins:
  io.holdfast.nri.v1.plugin: {{enabled: true, socket_path: {dir}/nri.sock, budget: 2s}}
  io.holdfast.placement.v1.rules:
    dry_run: false
    builtin_rules: none
    rescan: 1h
    rules:
      - name: held
        match: {{pod: {{namespace: hf-nri, labels: app=first, container: held}}}}
        oom_score_adj: 321
"""


@contextmanager
def ours(directory: Path) -> Iterator[Daemon]:
    path = directory / "holdfast.yaml"
    path.write_text(HOLDFAST.format(dir=directory))
    with daemon.holdfast(directory, path) as running:
        yield running.ready()


@contextmanager
def kubelet(runtime: Daemon, directory: Path, parent: str) -> Iterator[tuple[cri.Cri, bytes]]:
    """The runtime's other side, once it has the image, and what a pod of the tests is."""
    import_image(runtime.address, directory)
    pods = cri.Cri(runtime.address, directory, parent)
    until(pods.has_image)
    yield pods, pods.pod_config("hf-nri", "first", {"app": "first"})
    pods.close()


def born(pods: cri.Cri, name: str) -> int:
    """The oom_score_adj a container's program had when it began."""
    return int(until(lambda: re.search(r"born oom_score_adj=(-?\d+)", pods.log(name)))[1])  # type: ignore[index]


def asked(directory: Path) -> list[tuple[str, int, int]]:
    """The records of containers: id, requested value, written value."""
    path = directory / "h-root/io.holdfast.nri.v1.plugin/created.db"
    with sqlite3.connect(path) as database:
        return list(database.execute("SELECT container_id, asked, written FROM created"))


def test_what_a_container_was_created_with_is_held_from_then_on_and_given_back(node, parent):
    with ours(node) as held, containerd(node) as runtime:
        held.line("nri: synchronized")
        with kubelet(runtime, node, parent) as (pods, config):
            pod = pods.run_pod(config)
            pods.start(pods.create(pod, config, "held", 500))
            assert born(pods, "held") == 321
            row = until(lambda: next((row for row in placements(node) if row["comm"] == "firstlook"), None))
            assert (row["rule"], row["oom_score_adj"], row["adj_before"]) == ("held", 321, 500)
            explained = told("explain", node, str(row["pid"]))
            assert all(word in explained for word in ("hf-nri", "first", "held"))
            told("restore", node, "--rule", "held")
            assert Path(f"/proc/{row['pid']}/oom_score_adj").read_text().strip() == "500"
            pods.remove_pod(pod)


def test_what_was_asked_for_is_not_forgotten_by_who_is_killed_between_creation_and_start(node, parent):
    with containerd(node) as runtime, kubelet(runtime, node, parent) as (pods, config):
        with ours(node) as held:
            held.line("nri: synchronized")
            pod = pods.run_pod(config)
            container = pods.create(pod, config, "held", 500)
            held.stop(signal.SIGKILL)
        pods.start(container)
        assert born(pods, "held") == 321
        with ours(node) as held:
            held.line("nri: synchronized.*containers=1.*pods=1")
            (row,) = all_held(node, 1)
            assert row["adj_before"] == 500
            told("restore", node, "--rule", "held")
            assert Path(f"/proc/{row['pid']}/oom_score_adj").read_text().strip() == "500"
            pods.remove_pod(pod)


@contextmanager
def executed(address: str, container: str, name: str) -> Iterator[None]:
    """The image's program once more, run in a container that runs, as ``kubectl exec`` or a probe does."""
    words = [path_of("ctr"), "--address", address, "--namespace", "k8s.io", "tasks", "exec", "--exec-id", name]
    with subprocess.Popen([*words, container, "/firstlook"], stdout=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout is not None
            assert "born" in client.stdout.readline()
            yield
        finally:
            client.kill()  # the pod's removal, or its group's, ends what it started


def test_what_is_executed_in_a_container_later_and_what_ran_before_us_is_held_by_the_same_rule(node, parent):
    with containerd(node) as runtime, kubelet(runtime, node, parent) as (pods, config):
        pod = pods.run_pod(config)
        early = pods.create(pod, config, "held", 500)
        pods.start(early)
        assert born(pods, "held") == 500
        with ours(node) as held:
            held.line("nri: synchronized.*containers=1.*pods=1")
            (first,) = all_held(node, 1)
            with executed(runtime.address, early, "e1"):
                all_held(node, 2)
                late = pods.create(pod, config, "held", 400, attempt=1)
                pods.start(late)
                all_held(node, 3)
                with executed(runtime.address, late, "e2"):  # born with the value: the spec has it
                    rows = all_held(node, 4)
                    assert sorted(row["adj_before"] for row in rows) == [400, 400, 500, 500]
                    assert {row["pod"]["container"] for row in rows} == {"held"}
                    told("restore", node, "--rule", "held")
                    found = {row["pid"]: Path(f"/proc/{row['pid']}/oom_score_adj").read_text() for row in rows}
                    assert {pid: int(adj) for pid, adj in found.items()} == {
                        row["pid"]: row["adj_before"] for row in rows
                    }
                    assert int(found[first["pid"]]) == 500
                    pods.remove_pod(pod)


def all_held(directory: Path, number: int) -> list[dict[str, object]]:
    """The processes with the rule's value and a value to restore; not a stage of runc's that ended."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        rows = [row for row in placements(directory) if Path(f"/proc/{row['pid']}").exists()]
        held = [row for row in rows if (row["rule"], row["oom_score_adj"]) == ("held", 321) and "adj_before" in row]
        if len(held) == len(rows) == number:
            return held
        assert time.monotonic() < deadline, rows


def test_a_containers_program_is_born_with_what_the_rule_gives_it_whoever_restarts(node, parent):
    with ours(node) as held:
        with containerd(node) as runtime:
            held.line("nri: registered.*runtime=.?containerd v?2")
            held.line("nri: synchronized")
            with kubelet(runtime, node, parent) as (pods, config):
                pod = pods.run_pod(config)
                ids = {name: pods.create(pod, config, name, 500) for name in ("held", "other")}
                for container in ids.values():
                    pods.start(container)
                assert (born(pods, "held"), born(pods, "other")) == (321, 500)
                held.line("a rule for a container about to be created.*asked=500.*oom_score_adj=321.*pod=hf-nri/first")
                assert asked(node) == [(ids["held"], 500, 321)]
            runtime.stop(signal.SIGKILL)  # its containers live on
            held.line("nri: the runtime is gone")
        with containerd(node) as runtime:
            held.line("nri: synchronized.*containers=2.*pods=1")
            assert asked(node) == [(ids["held"], 500, 321)]
            pods = cri.Cri(runtime.address, node, parent)
            late = pods.create(pod, config, "held", 1000, attempt=1)
            pods.start(late)
            until(lambda: pods.log("held").count("born oom_score_adj=321") == 2)
            pods.remove_pod(pod)
            pods.close()
            until(lambda: asked(node) == [])
