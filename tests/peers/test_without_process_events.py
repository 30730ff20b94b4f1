"""Without process events, a container that the runtime reports is examined when it starts.

The daemon is in a network namespace of its own, which it has no right to leave: no process event arrives there.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from holdfast.api.runtime.v1 import runtime_pb2 as pb

from tests.fakes.cri import FakeRuntime
from tests.integration.conftest import group, hierarchy, until_asleep  # noqa: F401 (fixtures)
from tests.integration.node_kit import adj_of
from tests.needs import peer
from tests.peers.daemon import ENVIRON
from tests.peers.in_pod import daemon

pytestmark = [pytest.mark.root, peer("setpriv")]
UID, SANDBOX = "1d5fb235-0000-4000-8000-00000000000b", "b" * 64
YAML = """
root: {0}/root
state: {0}/state
grpc: {{address: {0}/s.sock}}
metrics: {{address: ''}}
web: {{address: ''}}
plugins:
  io.holdfast.placement.v1.rules:
    builtin_rules: none
    dry_run: false
    rescan: 1h
    rules:
      - {{name: by-name, match: {{comm: hf-entry}}, oom_score_adj: 400}}
      - {{name: by-pod, match: {{pod: {{namespace: db}}}}, oom_score_adj: 500}}
  io.holdfast.pods.v1.directory: {{cri: {{address: {0}/cri.sock, relist: {1}, events: {2}}}}}
"""
#: Becomes another program a moment after it started, as the script of most images does.
ENTRY = """
import sys
sys.stdin.readline()
open('/proc/self/comm', 'w').write('hf-entry')
sys.stdin.readline()
"""


@pytest.fixture
def processes(hierarchy, group):  # noqa: F811
    """Starts a process in a container's group below the pod's; the group of a container."""
    tree, started = hierarchy.tree(hierarchy.name_of("memory")), []

    def start(container: str, *command: str) -> subprocess.Popen:
        path = group_of(container)
        tree.create(path, ["memory"])
        process = subprocess.Popen(command or ("sleep", "600"), stdin=subprocess.PIPE)
        started.append(process)
        until_asleep(process.pid)
        tree.join(path, process.pid)
        return process

    def group_of(container: str) -> str:
        return f"{group}/kubepods/burstable/pod{UID}/{container}"

    start.group_of = group_of
    yield start
    for process in started:
        process.kill()
        process.communicate()


def without_events(folder, relist: str, events: str) -> list[object]:
    config = folder / "c.yaml"
    config.write_text(YAML.format(folder, relist, events))
    dropped = "-net_admin,-sys_admin"
    return ["unshare", "--net", "setpriv", "--bounding-set", dropped, "--inh-caps", dropped, *daemon(config)]


def add(runtime: FakeRuntime, processes, container: str) -> None:
    runtime.add_container(container, SANDBOX, f"app-{container[0]}")
    spec = {"process": {"oomScoreAdj": 0}, "linux": {"cgroupsPath": processes.group_of(container)}}
    runtime.verbose[container] = {"runtimeSpec": spec}


async def has(pid: int, value: int) -> None:
    """Wait until a process has it; the rescan comes in an hour."""
    async with asyncio.timeout(30):
        while adj_of(pid) != value:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("relist", "events"), [("1s", "false"), ("1h", "true")])
async def test_a_container_is_looked_at_when_a_list_or_an_event_brings_it(processes, short_dir, start, relist, events):
    runtime = FakeRuntime(version="2.3.0")
    runtime.events = asyncio.Queue()
    runtime.add_pod(SANDBOX, UID, "db", "pg-0")
    async with runtime.serving(short_dir / "cri.sock"):
        running = start(without_events(short_dir, relist, events), env=ENVIRON)
        await asyncio.to_thread(running.line, "no process events: only rescans find processes")
        await asyncio.to_thread(running.line, "the runtime reports pods")
        for number in range(3):
            container = f"{number:x}" * 64
            both = [processes(container) for _ in range(2)]
            add(runtime, processes, container)
            if events == "true":
                told = pb.ContainerEventResponse(
                    container_id=container, container_event_type=pb.CONTAINER_STARTED_EVENT
                )
                await runtime.events.put(told)
            for process in both:
                await has(process.pid, 500)


async def test_what_its_first_process_executes_a_moment_later_is_looked_at_too(processes, short_dir, start):
    runtime = FakeRuntime(version="2.3.0")
    runtime.events = asyncio.Queue()
    runtime.add_pod(SANDBOX, UID, "db", "web-0")
    container = "d" * 64
    async with runtime.serving(short_dir / "cri.sock"):
        running = start(without_events(short_dir, "1h", "true"), env=ENVIRON)
        await asyncio.to_thread(running.line, "the runtime reports pods")
        process = processes(container, sys.executable, "-c", ENTRY)
        add(runtime, processes, container)
        told = pb.ContainerEventResponse(container_id=container, container_event_type=pb.CONTAINER_STARTED_EVENT)
        await runtime.events.put(told)
        await has(process.pid, 500)
        process.stdin.write(b"\n")
        process.stdin.flush()
        await has(process.pid, 400)
