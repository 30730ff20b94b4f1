"""Pods whose author writes what he likes: thousands of annotations, digits of other scripts, control characters."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import time
import uuid
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.cri import FakeRuntime
from tests.hostile import kit, life_kit
from tests.hostile.life_kit import PODS, Daemon
from tests.integration.conftest import remove_tree
from tests.integration.node_kit import adj_of
from tests.running import PATIENCE_S, SLOW, Running

pytestmark = [pytest.mark.root, pytest.mark.timeout(180 * SLOW)]
UID = "11111111-2222-3333-4444-555555555555"
SANDBOX, CONTAINER = "a" * 64, "b" * 64
ANNOTATIONS = {
    **{f"holdfast.dev/oom-score-adj.c{number:05d}": "-5\n\x1b[31mlevel=error" for number in range(5000)},
    "holdfast.dev/oom-score-adj": "٥٠٠",
    "holdfast.dev/protect": "leader",
    "holdfast.dev/\x1b[31m": "x" * 1000,
}
ADMITTED = {"annotations": [{"namespaces": ["team-x"], "oom_score_adj": {"min": 100, "max": 1000}, "protect": True}]}


@asynccontextmanager
async def daemon_beside(fake: FakeRuntime, folder: Path, *rules: dict, **placement):
    """A daemon that a fake runtime reports pods to."""
    async with fake.serving(folder / "cri.sock"):
        cri = {"cri": {"enabled": True, "address": f"{folder}/cri.sock", "relist": "1s"}}
        config = life_kit.configuration(folder, list(rules), placement=placement, **{PODS: cri})
        with Running([sys.executable, "-m", "holdfast", "run", "-c", config], env=life_kit.ENVIRON) as running:
            await asyncio.to_thread(running.line, "the runtime reports pods")
            yield Daemon(folder, running)


@pytest.fixture
def pods_group():
    """A group that the kubelet would have made for the pod's container, in the hierarchy that names it."""
    from holdfast.cgroups import detect

    found = detect("/proc", "/sys/fs/cgroup")
    tree = found.trees[""] if "" in found.trees else next(iter(found.trees.values()))
    top = f"/holdfast-test-{uuid.uuid4().hex[:8]}"
    path = f"{top}/kubepods/pod{UID}/{CONTAINER}"
    tree.create(path)
    yield tree, path
    remove_tree(tree, top)
    found.close()


async def explained(daemon: Daemon, pid: int) -> str:
    """Return what ``explain`` says once the runtime named the container's group: until then its pod is not known."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        status, words = await asyncio.to_thread(daemon.ask, "explain", str(pid))
        assert status == 0
        if "team-x" in words:
            return words
        assert asyncio.get_running_loop().time() < deadline, words


@pytest.fixture
def fake(pods_group):
    runtime = FakeRuntime(version="2.1.0")
    runtime.events = asyncio.Queue()
    runtime.add_pod(SANDBOX, UID, "team-x", "web\n0", annotations=ANNOTATIONS)
    runtime.add_container(CONTAINER, SANDBOX, "main/../../x")
    runtime.add_details(CONTAINER, 4242, 900)
    runtime.verbose[CONTAINER]["runtimeSpec"]["linux"]["cgroupsPath"] = pods_group[1]
    return runtime


async def test_a_pod_with_thousands_of_annotations_is_a_few_lines(fake, short_dir, pods_group):
    tree, path = pods_group
    async with daemon_beside(fake, short_dir, **ADMITTED) as daemon:
        process = subprocess.Popen(["sleep", "600"])
        try:
            tree.join(path, process.pid)
            words = await explained(daemon, process.pid)
        finally:
            process.kill()
            process.wait()
        assert len(words.splitlines()) < 40
        assert "\x1b" not in words
        await asyncio.to_thread(daemon.running.line, "an annotation is refused")
        refused = [line for line in daemon.running.err if "an annotation is refused" in line]
        assert len(refused) <= 9
        assert sum(map(len, refused)) < 8192
        assert await asyncio.to_thread(daemon.metric, "holdfast_pods_values_cut") == 1
        assert await asyncio.to_thread(daemon.metric, "holdfast_placement_annotations_refused_total") <= 128


async def test_digits_of_another_script_are_no_number(fake, short_dir, pods_group):
    tree, path = pods_group
    fake.add_pod(SANDBOX, UID, "team-x", "web-0", annotations={"holdfast.dev/oom-score-adj": "٥٠٠"})
    async with daemon_beside(fake, short_dir, **ADMITTED) as daemon:
        process = subprocess.Popen(["sleep", "600"])
        try:
            tree.join(path, process.pid)
            words = await explained(daemon, process.pid)
            assert "is not a whole number" in words
            assert adj_of(process.pid) == adj_of(os.getpid())
        finally:
            process.kill()
            process.wait()


async def test_events_of_a_runtime_about_whatever_it_likes_do_not_end_the_job(fake, short_dir):
    from holdfast.api.runtime.v1 import runtime_pb2 as pb

    kinds = (
        pb.CONTAINER_CREATED_EVENT,
        pb.CONTAINER_STARTED_EVENT,
        pb.CONTAINER_STOPPED_EVENT,
        pb.CONTAINER_DELETED_EVENT,
    )
    async with daemon_beside(fake, short_dir) as daemon:
        for _ in range(3):
            for kind in kinds:
                for key in (SANDBOX, CONTAINER, "c" * 64, "", "x"):
                    fake.events.put_nowait(pb.ContainerEventResponse(container_id=key, container_event_type=kind))
            relists = fake.calls["ListContainers"]
            await fake.until("ListContainers", relists + 2)
        assert await asyncio.to_thread(daemon.metric, "holdfast_background_job_up") >= 2
        assert await asyncio.to_thread(daemon.metric, "holdfast_background_job_restarts_total") == 0
        assert (await asyncio.to_thread(daemon.ask, "health", life_kit.SERVICE))[0] == 0


@asynccontextmanager
async def on_a_thread(context: AbstractContextManager):
    """Enter and leave a context that blocks, while the loop goes on."""
    await asyncio.to_thread(context.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


PREY = {"name": "prey", "match": {"comm": kit.PREY}, "oom_score_adj": {"at_least": kit.PREY_ADJ}}


async def test_a_pod_that_is_another_one_at_every_look_costs_a_bounded_share_and_few_lines(fake, short_dir, pods_group):
    """Annotations that change at each list, events of its containers all the time, and other pods without a change."""
    from holdfast.api.runtime.v1 import runtime_pb2 as pb

    async def be_noisy() -> None:
        for turn in itertools.count():
            asked = {f"holdfast.dev/oom-score-adj.c{turn % 97}": f"x{turn}", "holdfast.dev/oom-score-adj": str(turn)}
            fake.add_pod(SANDBOX, UID, "team-x", "web-0", annotations=asked)
            for kind in (pb.CONTAINER_CREATED_EVENT, pb.CONTAINER_STARTED_EVENT, pb.CONTAINER_STOPPED_EVENT):
                for key in (SANDBOX, CONTAINER, f"{turn:064x}"):
                    fake.events.put_nowait(pb.ContainerEventResponse(container_id=key, container_event_type=kind))
            while fake.events.qsize() > 200:
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)

    async with daemon_beside(fake, short_dir, PREY, **ADMITTED) as daemon:
        target = kit.Target(short_dir, daemon.running, {"metrics": daemon.port})
        noise = asyncio.create_task(be_noisy())
        beside, times = kit.Figures(), []
        async with on_a_thread(target.controlled(beside)):
            before_s, lines, began = target.processor_s(), len(daemon.running.err), time.monotonic()
            while time.monotonic() - began < kit.SECONDS:
                times.append((await asyncio.to_thread(target.enforce)).taken_s)
                assert await asyncio.to_thread(target.metric, "holdfast_placement_engine_up") == 1
        noise.cancel()
        lasted = time.monotonic() - began
        engine, whole = ((now - then) / lasted for then, now in zip(before_s, target.processor_s(), strict=True))
        lines = len(daemon.running.err) - lines
        name = os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].partition(" ")[0]
        placement = f"worst {max(times) * 1000:.0f} ms median {statistics.median(times) * 1000:.0f} ms of {len(times)}"
        shares = f"engine {engine:.0%}, daemon {whole:.0%}"
        print(f"\n{name}: {lasted:.0f} s: placement {placement}; processor: {shares}; {lines} log lines", flush=True)
        assert statistics.median(times) < kit.USUAL_S + beside.usual_s
        assert engine < kit.ENGINE_SHARE
        assert lines < kit.LINES + kit.LINES_PER_S * lasted, "\n".join(daemon.running.err[-40:])
        assert target.rss() < kit.memory_bound()
        refused = await asyncio.to_thread(daemon.metric, "holdfast_placement_annotations_refused_total")
        assert refused > 0
        assert await asyncio.to_thread(daemon.metric, "holdfast_background_job_restarts_total") == 0
