"""A real OOM kill in a pod's cgroup is an Event on the pod. Runtime and API server are fakes, over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing

import pytest
from holdfast.node.oom.kmsg import KernelLog
from holdfast.plugins.node.placement.kill_series import UPDATE_S

from tests.fakes.api_server import FakeApiServer, listening
from tests.fakes.cri import FakeRuntime
from tests.integration.conftest import eater, group, hierarchy, until_asleep  # noqa: F401 (fixtures)
from tests.integration.node_kit import eat
from tests.needs import peer
from tests.peers.in_pod import account_at, environ, in_a_pod
from tests.running import PATIENCE_S, SLOW, adj_of, until

pytestmark = [pytest.mark.root, peer("openssl"), pytest.mark.timeout(300 * SLOW)]
UID, SANDBOX, CONTAINER = "1d5fb235-0000-4000-8000-00000000000a", "a" * 64, "c" * 64
LIMIT_MIB, ADJ = 48, 500
YAML = """
root: {0}/root
state: {0}/state
grpc: {{address: {0}/s.sock}}
metrics: {{address: ''}}
web: {{address: ''}}
plugins:
  io.holdfast.placement.v1.rules:
    kubernetes_events: true
    builtin_rules: none
    dry_run: false
    rules: [{{name: eaters, match: {{comm: hf-victim}}, oom_score_adj: {1}}}]
  io.holdfast.pods.v1.directory: {{cri: {{address: {0}/cri.sock}}}}
"""


@pytest.fixture
def memory(hierarchy, group):  # noqa: F811
    """A container's group below a pod's, with the container's limit; as `eater` wants it."""
    tree = hierarchy.tree(hierarchy.name_of("memory"))
    inner = f"{group}/kubepods/burstable/pod{UID}/{CONTAINER}"
    tree.create(inner, ["memory"])
    tree.write(inner, "memory.limit_in_bytes" if tree.name else "memory.max", str(LIMIT_MIB << 20))
    return tree, group, inner


@pytest.fixture
def first(memory):
    """The container's first process."""
    tree, _, inner = memory
    process = subprocess.Popen(["sleep", "600"])
    until_asleep(process.pid)
    tree.join(inner, process.pid)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def told(memory, first, short_dir):
    """A runtime that knows the pod and its container, on a loop of its own; waits until details are requested."""
    fake = FakeRuntime()
    fake.add_pod(SANDBOX, UID, "db", "pg-0")
    fake.add_container(CONTAINER, SANDBOX, "app")
    spec = {"process": {"oomScoreAdj": 0}, "linux": {"cgroupsPath": memory[2]}}
    fake.verbose[CONTAINER] = {"pid": first.pid, "runtimeSpec": spec}
    loop, served = asyncio.new_event_loop(), threading.Event()
    done = asyncio.Event()

    async def serve():
        async with fake.serving(short_dir / "cri.sock"):
            served.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert served.wait(PATIENCE_S)
    yield lambda times: asyncio.run_coroutine_threadsafe(fake.until("ContainerStatus", times), loop).result()
    loop.call_soon_threadsafe(done.set)
    thread.join()
    loop.close()


@pytest.fixture
def server(certificates):
    """The API server, and its port."""
    fake = FakeApiServer()
    with listening(certificates, fake) as port:
        yield fake, port


@pytest.fixture
def pod(short_dir, tmp_path, certificates, start, told, server):
    """Starts daemons in a pod, one after the other, each over the same folders."""
    account = account_at(tmp_path, certificates)
    config = short_dir / "c.yaml"
    config.write_text(YAML.format(short_dir, ADJ))
    started = []

    def run():
        daemon = start(in_a_pod(config, account), env=environ(server[1]))
        daemon.line("successfully booted")
        started.append(daemon)
        told(len(started))
        return daemon

    return run


def killed(eater, *, under_the_rule: bool = False) -> int:  # noqa: F811
    """Have one process of the container take more than there is; its pid."""
    victim = eater("hf-victim", 2 * LIMIT_MIB)
    if under_the_rule:
        until(lambda: adj_of(victim.pid) == ADJ, "the rule is applied")
    assert eat(victim) == ""
    victim.wait()
    return victim.pid


def is_about(pid, event) -> bool:
    return f"(pid {pid}," in event["message"]


def about(fake, pid):
    return [event for event in fake.about("OOMKilled") if is_about(pid, event)]


def told_kill(eater, fake) -> int:  # noqa: F811
    """Have a process under the rule killed until an Event reports one; its pid.

    The kernel prints ten tables in five seconds, for all processes: of a kill without one the group may not be known.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        pid = killed(eater, under_the_rule=True)
        if fake.comes(lambda: about(fake, pid), PATIENCE_S if is_printed(pid) else 2 * UPDATE_S):  # noqa: B023
            return pid
    raise AssertionError(fake.seen)


def printed_kill(eater) -> int:  # noqa: F811
    """Have a process killed until the kernel printed the table of one; its pid."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if is_printed(pid := killed(eater)):
            return pid
    raise AssertionError("the kernel prints no table")


def is_printed(pid: int) -> bool:
    """Whether the kernel printed the table from which it chose this process."""
    with closing(KernelLog("/dev/kmsg")) as kernel_log:
        batches = iter(lambda: [line.text for line in kernel_log.read()], [])
        return any(text.startswith("oom-kill:") and f",pid={pid}," in text for batch in batches for text in batch)


def noted(folder) -> set[int]:
    """The processes whose kills a daemon recorded as reported."""
    (path,) = folder.glob("root/*/kills.db")
    with closing(sqlite3.connect(path, timeout=PATIENCE_S)) as database:
        rows = database.execute("SELECT kill FROM kills JOIN told USING (boot_id, number)").fetchall()
    return {json.loads(kill)["pid"] for (kill,) in rows}


def test_each_kill_is_told_on_the_pod_with_what_the_kernel_and_the_rules_say(
    pod,
    eater,  # noqa: F811
    memory,
    first,
    server,
):
    fake, _ = server
    pod()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        pid = told_kill(eater, fake)
        (event,) = fake.about("OOMKilled")
        if "Next in line" in event["message"] or time.monotonic() > deadline:
            break
    assert event["involvedObject"] == {
        "apiVersion": "v1", "kind": "Pod", "namespace": "db", "name": "pg-0", "uid": UID,
    }  # fmt: skip
    assert event["metadata"]["name"].startswith("pg-0.")
    assert (event["type"], event["reason"], event["source"]["host"]) == ("Warning", "OOMKilled", "node-7")
    message, count = event["message"], event["count"]
    assert message.startswith(f"Process hf-victim (pid {pid}, not the container's first process) in container app ")
    assert f"and the container's memory limit of {LIMIT_MIB}.0 MiB (cgroup {memory[2]}) was full." in message
    assert f"Next in line: sleep (pid {first.pid})." in message
    assert message.endswith(f" Rule: eaters; oom_score_adj {ADJ}.")
    used_mib = float(message.partition("was OOM-killed: it used ")[2].partition(" MiB of memory (RSS)")[0])
    assert LIMIT_MIB / 2 < used_mib <= LIMIT_MIB + 16
    told_kill(eater, fake)
    (event,) = fake.about("OOMKilled")
    assert event["count"] > count, "one Event counts both"


def test_no_restart_tells_a_kill_twice_and_none_loses_one(pod, eater, server, short_dir):  # noqa: F811
    fake, _ = server
    ended = []

    def killed_before_the_answer(status):
        """The API server has the Event, and the daemon never learns it."""
        if not ended:
            ended.append(daemon.pid)
            os.kill(daemon.pid, signal.SIGKILL)
        return status

    daemon = pod()
    fake.before_answer = killed_before_the_answer
    one = told_kill(eater, fake)
    daemon.end()
    two = printed_kill(eater)  # and no daemon runs
    daemon = pod()
    fake.until(lambda: about(fake, two) and len([path for path, _, body in fake.seen if is_about(one, body)]) >= 2)
    (first_event,), (second_event,) = about(fake, one), about(fake, two)
    assert first_event["count"] == second_event["count"] == 1
    names = [body["metadata"]["name"] for _, _, body in fake.seen if is_about(one, body)]
    assert names == [first_event["metadata"]["name"]] * 2, "it was told again, by the same name"
    until(lambda: {one, two} <= noted(short_dir), "the daemon has the answers")
    os.kill(daemon.pid, signal.SIGTERM)
    assert daemon.end() == 0
    number = len(fake.seen)
    pod()
    told_kill(eater, fake)
    assert not [body for _, _, body in fake.seen[number:] if is_about(one, body) or is_about(two, body)]
