"""Cost of 500 pods for a node's daemon, against a fake runtime at the gRPC seam: so many real ones cannot run here."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tracemalloc
from pathlib import Path

import pytest
from holdfast.api.runtime.v1 import runtime_pb2 as pb
from holdfast.pods.cri_message import Listing, detailed, parse_container, parse_pod
from holdfast.pods.directory import Directory

from tests.fakes.cri import FakeRuntime

PODS, MOST_KIB, MOST_LOOP_S = 500, 8 * 1024, 0.050
MOST_LIVE_KIB = 1700  # the table of shared names has a bound of its own, and its own entries
ROOT = Path(__file__).parents[2]
#: A process with what the daemon has anyway; says its size and what the lists cost its loop: without pods, with all of
#: them, and when nothing changed.
CODE = """
import asyncio, json, sys
import grpc
from holdfast.pods.cri import CriClient
from holdfast.pods.directory import Directory
from holdfast.pods.metrics import PodMetrics
from holdfast.pods.runtime import RuntimeSource

def resident_kib():
    text = open("/proc/self/status").read()
    return int(text[text.index("VmRSS:") + 6:].split()[0])

async def main():
    directory = Directory()
    metrics = PodMetrics(directory)
    client = CriClient(RuntimeSource(sys.argv[1], relist_s=0.2), directory, metrics)
    task = asyncio.ensure_future(client.run())
    lists = metrics.relist_seconds.labels()
    while sum(lists.counts) < 5:
        await asyncio.sleep(0.01)
    before = resident_kib()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    first, least = lists.total, None
    while directory.sizes != (500, 1000) or any(
        directory.container(one).oom_score_adj is None for one in list(directory._containers)
    ):
        await asyncio.sleep(0.01)
    taken_in = lists.total - first
    counted, total = sum(lists.counts), lists.total
    while sum(lists.counts) < counted + 5:
        await asyncio.sleep(0.01)
    again = (lists.total - total) / (sum(lists.counts) - counted)
    print(json.dumps({"kib": resident_kib() - before, "first_s": taken_in, "again_s": again}), flush=True)
    task.cancel()

asyncio.run(main())
"""


def fill(fake: FakeRuntime) -> None:
    for at in range(PODS):
        sandbox = f"{at:064x}"
        labels = {
            "app": f"app-{at % 40}",
            "pod-template-hash": f"{at:010x}",
            "io.kubernetes.pod.name": f"app-{at % 40}-{at:010x}-xyz",
            "io.kubernetes.pod.namespace": f"team-{at % 20}",
            "io.kubernetes.pod.uid": f"{at:08x}-0000-4000-8000-{at:012x}",
            "controller": "deployment",
        }
        annotations = {
            "kubectl.kubernetes.io/last-applied-configuration": "x" * 2500,
            "kubernetes.io/config.seen": f"2026-01-01T00:00:{at}Z",
            "kubernetes.io/config.source": "api",
            "prometheus.io/scrape": "true",
        }
        fake.add_pod(
            sandbox, labels["io.kubernetes.pod.uid"], f"team-{at % 20}", labels["io.kubernetes.pod.name"],
            labels=labels, annotations=annotations, created_at=at,
        )  # fmt: skip
        for number, name in enumerate(("main", "proxy")):
            container = f"{(at + 1) << 16 | number:064x}"
            fake.add_container(container, sandbox, name)
            fake.add_details(container, 1 << 22, 985, limit=1 << 30)


async def measured(folder: Path) -> dict[str, float]:
    folder.mkdir()
    fake = FakeRuntime()
    async with fake.serving(folder / "s"):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CODE, str(folder / "s"),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT / "service")},
        )  # fmt: skip
        try:
            assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
            fill(fake)
            process.stdin.write(b"go\n")
            return json.loads(await asyncio.wait_for(process.stdout.readline(), 90))
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.mark.timeout(300)
async def test_five_hundred_pods_cost_less_than_8_mib_and_their_list_less_than_50_ms_of_the_loop(short_dir):
    """The least of a few: what other load on the machine adds, to a page count or to a CPU clock, is not ours."""
    tries = []
    while len(tries) < 5 and not (tries and least(tries, "kib") <= MOST_KIB and loop_s(tries) <= MOST_LOOP_S):
        tries.append(await measured(short_dir / str(len(tries))))
    assert least(tries, "kib") <= MOST_KIB, tries
    assert loop_s(tries) <= MOST_LOOP_S, tries


def least(tries: list[dict[str, float]], key: str) -> float:
    return min(one[key] for one in tries)


def loop_s(tries: list[dict[str, float]]) -> float:
    return max(least(tries, "first_s"), least(tries, "again_s"))


def test_what_is_known_of_five_hundred_pods_is_less_than_1700_kib_of_objects():
    fake = FakeRuntime()
    fill(fake)
    pods = pb.ListPodSandboxResponse(items=fake.pods.values()).SerializeToString()
    containers = pb.ListContainersResponse(containers=fake.containers.values()).SerializeToString()
    details = {key: json.dumps(told) for key, told in fake.verbose.items()}
    directory = Directory()
    tracemalloc.start()
    try:
        lists = Listing(parse_pod, lambda one: one.sandbox_id), Listing(parse_container, lambda one: one.id)
        found = [list(one.read(answer, bool)) for one, answer in zip(lists, (pods, containers), strict=True)]
        directory.replace_all(*found, directory.mark())
        del found
        for key, told in details.items():
            answer = pb.ContainerStatusResponse(status=pb.ContainerStatus(id=key, started_at=5), info={"info": told})
            directory.put_container(detailed(directory.container(key), answer))
        live = tracemalloc.get_traced_memory()[0] // 1024
    finally:
        tracemalloc.stop()
    assert directory.sizes == (PODS, 2 * PODS)
    assert live <= MOST_LIVE_KIB
