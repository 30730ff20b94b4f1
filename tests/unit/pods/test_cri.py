"""The CRI client against a fake runtime at the gRPC seam; the real containerd is in tests/peers/test_cri.py."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import weakref
from contextlib import asynccontextmanager

import pytest
from holdfast.api.runtime.v1 import runtime_pb2 as pb
from holdfast.pods import cri
from holdfast.pods.cri import CriClient, with_start
from holdfast.pods.directory import Directory
from holdfast.pods.metrics import PodMetrics
from holdfast.pods.record import ContainerRecord
from holdfast.pods.runtime import RuntimeSource
from msgspec.structs import replace

from tests.fakes.cri import FakeRuntime
from tests.running import PATIENCE_S, async_until

UID = "3f2c1a90-0b7e-4c52-9d5e-8a1f6b7c2d3e"
SANDBOX, APP, LATER = "5" * 64, "a" * 64, "b" * 64


def at(leaf: str) -> dict[str, str]:
    return {"": f"/kubepods/burstable/pod{UID}/{leaf}"}


class Side:
    """A directory, a fake runtime, and a client between them that runs."""

    def __init__(self, directory: Directory, metrics: PodMetrics, client: CriClient) -> None:
        self.directory, self.metrics, self.client = directory, metrics, client
        self.changed = asyncio.Event()
        directory.on_change(lambda _: self.changed.set())

    async def until(self, holds) -> None:
        """Wait until something is so; the loop turns meanwhile."""
        try:
            await async_until(holds)
        except AssertionError:
            raise AssertionError(f"never: {self.client.why_not!r}, {self.directory.sizes}") from None


@pytest.fixture(autouse=True)
def lists_are_not_put_off(monkeypatch):
    """On a crowded machine a list takes seconds, and the next one would come 20 times as long after it."""
    monkeypatch.setattr("holdfast.pods.cri.SHARE", 0)


@pytest.fixture
def fake():
    runtime = FakeRuntime()
    runtime.add_pod(SANDBOX, UID, "db", "pg-0", labels={"app": "pg"})
    runtime.add_container(APP, SANDBOX, "postgres")
    return runtime


@asynccontextmanager
async def asking(path, **given):
    directory = Directory()
    metrics = PodMetrics(directory)
    client = CriClient(RuntimeSource(str(path), **{"relist_s": 3600, **given}), directory, metrics)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.run())
        yield Side(directory, metrics, client)
        task.cancel()


async def test_the_runtimes_lists_fill_the_directory(fake, short_dir):
    async with fake.serving(short_dir / "s"), asking(short_dir / "s") as side:
        await side.until(lambda: side.directory.pod_of(at(APP)).name)
        found = side.directory.pod_of(at(APP))
        assert (found.namespace, found.name, found.container, dict(found.labels)) == (
            "db", "pg-0", "postgres", {"app": "pg"},
        )  # fmt: skip


async def test_a_container_that_is_asked_for_is_fetched_at_once(fake, short_dir):
    async with fake.serving(short_dir / "s"), asking(short_dir / "s") as side:
        await side.until(lambda: not side.client.why_not)
        fake.add_container(LATER, SANDBOX, "side")
        assert side.directory.pod_of(at(LATER)).container == ""
        await asyncio.wait_for(side.changed.wait(), PATIENCE_S)
        assert side.directory.pod_of(at(LATER)).container == "side"
        assert fake.calls["ListContainers"] == 1


async def test_a_container_that_the_runtime_does_not_list_yet_is_asked_for_again(fake, short_dir):
    async with fake.serving(short_dir / "s"), asking(short_dir / "s") as side:
        await side.until(lambda: not side.client.why_not)
        side.directory.pod_of(at(LATER))
        await fake.until("ListContainers:one", 1)
        fake.add_container(LATER, SANDBOX, "side")
        await asyncio.wait_for(side.changed.wait(), PATIENCE_S)


async def test_details_are_asked_for_once(fake, short_dir):
    fake.add_details(APP, os.getpid(), 990, asked=985, limit=77)
    async with fake.serving(short_dir / "s"), asking(short_dir / "s", relist_s=0.01) as side:
        await side.until(lambda: side.directory.container(APP) and side.directory.container(APP).detailed)
        listed = fake.calls["ListContainers"]
        await side.until(lambda: fake.calls["ListContainers"] >= listed + 3)
        known = side.directory.container(APP)
        assert (known.oom_score_adj, known.oom_score_adj_asked, known.memory_limit, known.pid) == (990, 985, 77, 0)
        asked = fake.calls["ContainerStatus"]
        assert asked <= 1 + len(cri.RETRIES_S)  # its pid is not in that container, so it is looked for a few times


async def test_details_whose_request_was_lost_with_the_connection_are_asked_for_again(fake, short_dir):
    """The list of the next connection says nothing new of the container."""
    fake.add_details(APP, os.getpid(), 990)

    async def unanswered(request, context):
        await fake._count("ContainerStatus")
        await asyncio.Event().wait()

    fake.ContainerStatus = unanswered
    async with asking(short_dir / "s", relist_s=0.01) as side:
        async with fake.serving(short_dir / "s"):
            await fake.until("ContainerStatus", 1)
        del fake.ContainerStatus
        async with fake.serving(short_dir / "s"):
            await side.until(lambda: side.directory.container(APP).detailed)


async def test_a_client_that_has_ended_is_asked_for_nothing_and_kept_by_nobody(fake, short_dir):
    async with fake.serving(short_dir / "s"), asking(short_dir / "s") as side:
        await side.until(lambda: not side.client.why_not)
    gone = weakref.ref(side.client)
    directory, side.client = side.directory, None
    directory.pod_of(at(LATER))
    # The thread of gRPC's core that ends its channel may have it for a moment.
    await async_until(lambda: gc.collect() >= 0 and gone() is None)


async def test_what_is_no_longer_listed_is_forgotten(fake, short_dir):
    async with fake.serving(short_dir / "s"), asking(short_dir / "s", relist_s=0.01) as side:
        await side.until(lambda: side.directory.container(APP) is not None)
        del fake.containers[APP]
        await side.until(lambda: side.directory.container(APP) is None)
        assert side.directory.sizes == (1, 0)


async def test_a_runtime_that_does_not_know_a_container_any_more_does_not_keep_it_known(fake, short_dir):
    """Its list, which was requested before the details, says that it is gone."""
    async with fake.serving(short_dir / "s"), asking(short_dir / "s") as side:
        await side.until(lambda: side.directory.pod_of(at(APP)).container == "postgres")
        del fake.containers[APP]

        async def asked_in_vain() -> None:
            for _ in range(2):  # one after the other: the first was taken in when the second is asked
                asked = fake.calls["ContainerStatus"]
                side.client._want_details(APP)
                await fake.until("ContainerStatus", asked + 1)

        await asked_in_vain()
        mark = side.directory.mark()
        await asked_in_vain()
        side.directory.replace_all([], [], mark, [SANDBOX])
        assert side.directory.container(APP) is None


async def test_a_runtime_that_goes_and_comes_back_is_asked_again_and_what_was_known_stays(fake, short_dir):
    async with asking(short_dir / "s", relist_s=0.01) as side:
        async with fake.serving(short_dir / "s"):
            await side.until(lambda: side.directory.pod_of(at(APP)).name)
        await side.until(lambda: bool(side.client.why_not))
        assert side.directory.pod_of(at(APP)).name == "pg-0"
        fake.add_container(LATER, SANDBOX, "side")
        async with fake.serving(short_dir / "s"):
            await side.until(lambda: side.directory.container(LATER) is not None)


async def test_a_socket_that_comes_later_is_found(fake, short_dir):
    async with asking(short_dir / "s") as side:
        await side.until(lambda: "no container runtime's socket at" in side.client.why_not)
        async with fake.serving(short_dir / "s"):
            await side.until(lambda: not side.client.why_not)


async def test_a_socket_that_another_user_could_exchange_is_not_connected_to(fake, short_dir):
    (short_dir / "open").mkdir()
    (short_dir / "open").chmod(0o777)
    async with fake.serving(short_dir / "open/s"), asking(short_dir / "open/s", relist_s=0.01) as side:
        await side.until(lambda: f"every user may write to {short_dir}/open; chmod o-w it" in side.client.why_not)
        (short_dir / "open").chmod(0o755)
        await side.until(lambda: not side.client.why_not)


async def test_a_socket_without_cri_behind_it_is_said(short_dir):
    import grpc

    server = grpc.aio.server()
    server.add_insecure_port(f"unix://{short_dir}/s")
    await server.start()
    async with asking(short_dir / "s") as side:
        await side.until(lambda: "there is no CRI behind it" in side.client.why_not)
    await server.stop(0)


async def test_events_are_hints_and_a_stream_that_ends_is_followed_by_a_relist(fake, short_dir):
    fake.version, fake.events = "v2.0.1", asyncio.Queue()
    async with fake.serving(short_dir / "s"), asking(short_dir / "s") as side:
        await fake.until("GetContainerEvents", 1)
        fake.add_container(LATER, SANDBOX, "side")
        fake.events.put_nowait(
            pb.ContainerEventResponse(container_id=LATER, container_event_type=pb.CONTAINER_STARTED_EVENT)
        )
        await side.until(lambda: side.directory.container(LATER) is not None)
        del fake.containers[LATER]
        fake.events.put_nowait(
            pb.ContainerEventResponse(container_id=LATER, container_event_type=pb.CONTAINER_DELETED_EVENT)
        )
        await side.until(lambda: side.directory.container(LATER) is None)
        lists = fake.calls["ListContainers"]
        fake.events.put_nowait(None)
        await fake.until("ListContainers", lists + 1)


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("containerd", "1.7.20", False),
        ("containerd", "v2.1.0", True),
        ("containerd", "?", False),
        ("cri-o", "1.32.0", True),
    ],
)
async def test_events_are_left_to_the_kubelet_where_there_is_one_queue_for_all(name, version, expected):
    directory = Directory()
    client = CriClient(RuntimeSource("/nowhere"), directory, PodMetrics(directory))
    told = pb.VersionResponse(runtime_name=name, runtime_version=version)
    assert client._may_listen(told) is expected
    asked = CriClient(RuntimeSource("/nowhere", events=True), directory, PodMetrics(directory))
    assert asked._may_listen(told) is True


def test_a_pid_of_another_process_is_not_taken():
    other = subprocess.Popen(["sleep", "60"])
    try:
        assert with_start(ContainerRecord(APP, SANDBOX, "x", pid=other.pid), "/proc").pid == 0
    finally:
        other.kill()
        other.wait()
    assert with_start(ContainerRecord(APP, SANDBOX, "x", pid=other.pid), "/proc").pid == 0


def test_a_pid_in_the_container_gets_its_start(tmp_path):
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "cgroup").write_text(f"0::/kubepods/podx/{APP}\n")
    (tmp_path / "42" / "stat").write_text("42 (pg) S " + " ".join(map(str, range(1, 40))))
    record = with_start(ContainerRecord(APP, SANDBOX, "x", pid=42), str(tmp_path))
    assert (record.pid, record.start_ticks) == (42, 19)


def test_a_pid_in_the_container_says_where_a_group_with_all_of_a_systemd_name_is(tmp_path):
    name = f"kubepods-podx.slice:cri-containerd:{APP}"
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "cgroup").write_text(f"4:cpu:/\n3:memory:/system.slice/containerd.service/{name}/init.scope\n")
    (tmp_path / "42" / "stat").write_text("42 (pg) S " + " ".join(map(str, range(1, 40))))
    record = with_start(ContainerRecord(APP, SANDBOX, "x", pid=42, cgroups_path=name), str(tmp_path))
    assert record.unsplit_group == f"/system.slice/containerd.service/{name}"
    assert with_start(replace(record, cgroups_path=f"/{APP}"), str(tmp_path)).unsplit_group == ""


async def test_names_of_containers_made_faster_than_the_runtime_answers_wait_up_to_a_bound():
    directory = Directory()
    metrics = PodMetrics(directory)
    client = CriClient(RuntimeSource(), directory, metrics)
    for number in range(cri.MOST_MISSES + 10):
        client._ask_for(f"{number:064x}", 0.0)
    assert client._missing.qsize() == cri.MOST_MISSES
    assert metrics.unasked.values() == [((), 10)]
