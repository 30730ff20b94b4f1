"""Real containerd 1.6 with its CRI, real pods, a real daemon: enforced processes, by label and by annotation."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from holdfast.node.proc.host import capabilities

from tests.install.pages import block, form
from tests.needs import peer
from tests.peers import cri_side
from tests.peers.daemon import ENVIRON, HOLDFAST, Daemon, holdfast
from tests.running import PATIENCE_S, adj_of

pytestmark = [peer("containerd", "ctr", "containerd-shim-runc-v2", "runc", "busybox"), pytest.mark.root]

CONFIG = """\
root: {dir}/root
state: {dir}/state
grpc: {{address: {dir}/s.sock}}
metrics: {{address: ""}}
web: {{address: ""}}
plugins:
  io.holdfast.pods.v1.directory:
    cri: {{enabled: true, address: {cri}, relist: 1s}}
  io.holdfast.placement.v1.rules:
    dry_run: false
    builtin_rules: {builtin_rules}
    builtin_namespaces: {{cloudnative-pg: [db], sidecars: [db]}}
    rescan: 1h
    annotations:
      - {{namespaces: [db], oom_score_adj: {{min: 100, max: 1000}}, protect: true}}
    rules:
      - name: by-label
        match: {{pod: {{namespace: db, labels: "app=labelled", container: main}}}}
        oom_score_adj: 777
"""


RULES = ("by-label", "annotation")


@pytest.fixture
def cri(short_dir):
    directory = short_dir / "c"
    directory.mkdir()
    with cri_side.running(directory) as some:
        yield some


@pytest.fixture
def ours(short_dir, cri):
    directory = short_dir / "h"
    directory.mkdir()
    path = directory / "config.yaml"
    path.write_text(
        CONFIG.format(dir=directory, cri=cri.address, builtin_rules="[cloudnative-pg, sidecars, batch-pods]")
    )
    with holdfast(directory, path) as daemon:
        yield daemon.ready()


def text(daemon: Daemon, *words: str) -> str:
    done = subprocess.run(
        [*HOLDFAST, *words, "-a", daemon.address],
        env={**os.environ, **ENVIRON},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def ask(daemon: Daemon, *words: str):
    return json.loads(text(daemon, *words, "-o", "json"))


def placements(daemon: Daemon) -> dict[int, dict]:
    """Return what ``ps`` lists, by pid."""
    return {some["pid"]: some for some in ask(daemon, "ps").get("placements", [])}


def becomes(expected, value, daemon: Daemon):
    """Wait until a value of the kernel's is so: there is no event of it that a test could wait for."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := value()) != expected:
        assert time.monotonic() < deadline, f"{found} is not {expected}:\n{daemon.said}"
        time.sleep(0.01)


def new_uid() -> str:
    return str(uuid.uuid4())


def test_pods_are_held_by_label_and_by_annotation_over_a_restart_of_the_runtime(cri, ours):
    labelled = cri.run_pod("web-0", new_uid(), {"app": "labelled"})
    main = labelled.run("main", ["sleep", "100000"], 985)
    side = labelled.run("side", ["sleep", "100000"], 985)
    (main_pid,), (side_pid,) = labelled.pids(main), labelled.pids(side)
    becomes(777, lambda: adj_of(main_pid), ours)
    assert adj_of(side_pid) == 985

    asks = {
        "holdfast.dev/oom-score-adj": "300",
        "holdfast.dev/oom-score-adj.greedy": "-500",
        "holdfast.dev/protect": "leader",
    }
    asking = cri.run_pod("pg-0", new_uid(), {"app": "pg"}, asks)
    shell = "sleep 100001 & sleep 100002 & wait"
    own = asking.run("pg", ["sh", "-c", f"sh -c '{shell}' & wait"], 990)

    def sleeping() -> list[int]:
        return [pid for pid in asking.pids(own) if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep")]

    becomes(2, lambda: len(sleeping()), ours)  # not when there are four: a fork is not yet what it will exec
    pids, grandchildren = asking.pids(own), sleeping()
    leader = pids[0]
    becomes(300, lambda: adj_of(leader), ours)
    becomes([990, 990], lambda: [adj_of(pid) for pid in grandchildren], ours)
    greedy = asking.run("greedy", ["sleep", "100000"], 985)
    (greedy_pid,) = asking.pids(greedy)
    ours.line("an annotation is refused.*-500 is not within 100 and 1000")
    becomes(300, lambda: adj_of(greedy_pid), ours)  # its own is refused; the pod's for all is not

    table = placements(ours)
    assert (table[main_pid]["pod"]["name"], table[main_pid]["pod"]["container"]) == ("web-0", "main")
    assert (table[main_pid]["adj_before"], table[leader]["adj_before"]) == (985, 990)
    assert not [some["comm"] for some in table.values() if some["comm"].startswith("runc:[")]
    assert table[leader]["rule"] == "annotation"
    told = ask(ours, "explain", str(leader))
    notes = "\n".join(told["notes"])
    assert "the kubelet gave it 990 = 1000 - 1000 x memory request" in notes
    assert "it has 300 now, by rule annotation" in notes
    assert "holdfast.dev/oom-score-adj.greedy: -500, which is refused" in notes

    session = block("docs/pods.md", "holdfast ps")
    for command, shown in zip(session.commands, session.shown, strict=True):
        words = command.replace("7763", str(leader)).split()[1:]
        printed = text(ours, *words)
        assert form("\n".join(shown), RULES, ()).without(form(printed, RULES, ())) == [], printed
        assert " db/pg-0/pg" in printed

    cri.stop()
    ours.line("pods are known by their cgroups' names alone, or as last reported")
    assert adj_of(main_pid) == 777
    cri.start()
    ours.line("the runtime reports pods", after=1)
    late = labelled.run("main", ["sleep", "100000"], 985)
    (late_pid,) = labelled.pids(late)
    becomes(777, lambda: adj_of(late_pid), ours)
    assert (adj_of(main_pid), adj_of(leader)) == (777, 300)


#: What an instance manager does: it starts a postmaster, which is another program and forks a worker.
POSTGRES = """
busybox cp /bin/busybox /sh
echo '#!/sh' > /postgres
echo '(while :; do sleep 100003; done) & wait' >> /postgres
busybox chmod +x /postgres
/postgres & wait
"""


def test_the_shipped_rules_for_pods_hold_real_ones(cri, ours):
    labels = {"cnpg.io/cluster": "pg", "cnpg.io/podRole": "instance"}
    database = cri.run_pod("pg-1", new_uid(), labels)
    instance = database.run("postgres", ["sh", "-c", POSTGRES], 985)
    becomes(4, lambda: len(database.pids(instance)), ours)
    manager, postmaster, worker, below = database.pids(instance)
    low = -900 if "CAP_SYS_RESOURCE" in capabilities("/proc") else 985
    becomes([985, low, 0, 0], lambda: [adj_of(pid) for pid in (manager, postmaster, worker, below)], ours)
    becomes(
        ["cloudnative-pg"] * 3,
        lambda: [placements(ours).get(pid, {}).get("rule") for pid in (postmaster, worker, below)],
        ours,
    )
    table = placements(ours)
    wanting = set() if low < 0 else {"capability"}
    wanting |= set() if Path("/sys/fs/cgroup/cgroup.controllers").exists() else {"no_equivalent"}  # memory.oom.group
    assert {some["reason"] for some in table[postmaster]["refusals"]} == wanting

    job = cri.run_pod("nightly-x", new_uid(), {"batch.kubernetes.io/job-name": "nightly"})
    (main,) = job.pids(job.run("main", ["sleep", "100000"], 500))
    (proxy,) = job.pids(job.run("istio-proxy", ["sleep", "100000"], 999))
    becomes([1000, 1000], lambda: [adj_of(main), adj_of(proxy)], ours)  # a proxy of what may die first may, too
    service = cri.run_pod("web-1", new_uid(), {"app": "web"})
    (proxy,) = service.pids(service.run("istio-proxy", ["sleep", "100000"], 999))
    becomes(2, lambda: adj_of(proxy), ours)


def test_what_was_held_stays_when_we_restart_while_the_runtime_is_away(cri, short_dir):
    pod = cri.run_pod("web-0", new_uid(), {"app": "labelled"})
    (pid,) = pod.pids(pod.run("main", ["sleep", "100000"], 985))
    directory = short_dir / "h"
    directory.mkdir()
    path = directory / "config.yaml"
    path.write_text(CONFIG.format(dir=directory, cri=cri.address, builtin_rules="none"))
    with holdfast(directory, path) as first:
        becomes(777, lambda: adj_of(pid), first.ready())
    cri.stop()
    with holdfast(directory, path) as second:
        second.ready()
        becomes("held", lambda: placements(second).get(pid, {}).get("state"), second)
        assert adj_of(pid) == 777
        cri.start()
        second.line("the runtime reports pods")
        assert adj_of(pid) == 777
