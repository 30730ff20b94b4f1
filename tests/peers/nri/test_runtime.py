"""Our plugin and containerd/nri's own adaptation package, the runtime's side of NRI."""

from __future__ import annotations

import signal
import sys
import time
from statistics import median

import pytest
from holdfast.node.plan.creation import ContainerAdjustment
from holdfast.plugins.node.nri.message import ANNOTATION
from holdfast.plugins.node.nri.metrics import CreationOutcome
from holdfast.pods.created import Created
from holdfast.pods.record import ContainerState

from tests.needs import peer
from tests.peers.nri.conftest import POD

pytestmark = peer("nripeer")


async def test_it_registers_is_configured_and_synchronized(runtime, linked):
    await runtime.well("fill", Pods=2, Containers=3)
    await runtime.well("start", Version="v9")
    async with linked() as link:
        assert await link.state()
        await runtime.well("wait", Plugins=1)
        assert sorted(link.book.pods) == ["pod-0", "pod-1"]
        container = link.book.containers["container-2"]
        assert (container.sandbox_id, container.state, container.oom_score_adj) == (
            "pod-0",
            ContainerState.RUNNING,
            985,
        )
        assert (await runtime.well("calls"))["calls"] == {"10-holdfast Synchronize": 1}


async def test_a_thousand_fat_containers_come_in_parts_and_all_of_them_arrive(runtime, linked):
    await runtime.well("fill", Pods=200, Containers=1000, Bytes=9000)  # 9 MB, a message holds 4 MiB
    await runtime.well("start")
    async with linked() as link:
        assert await link.state()
        await runtime.well("wait", Plugins=1)
        assert (len(link.book.pods), len(link.book.containers)) == (200, 1000)
        assert link.book.synchronized == 1
        assert (await runtime.well("calls"))["calls"]["10-holdfast Synchronize"] > 2
        assert dict(link.metrics.synchronized.values()) == {("pods",): 200, ("containers",): 1000}


async def connected(runtime, link):
    await runtime.well("start")
    assert await link.state()
    await runtime.well("wait", Plugins=1)


@pytest.mark.parametrize("adj", [-500, 0, 1000, -1000])
async def test_the_runtime_gets_the_value_that_was_wished(runtime, linked, adj):
    async with linked() as link:
        await connected(runtime, link)
        link.values_source.values = ContainerAdjustment("pg", adj)
        said = await runtime.create()
        assert said["adj"] == adj
        assert said["annotations"] == {ANNOTATION: f"rule=pg oom_score_adj={adj} asked=985"}
        assert link.store.get("id-app") == Created("id-app", 985, adj, "pg")
        known = link.book.containers["id-app"]
        assert (known.oom_score_adj, known.oom_score_adj_asked) == (adj, 985)
        assert link.outcomes() == {CreationOutcome.ADJUSTED: 1}


async def test_the_runtime_gets_the_group_and_the_settings(runtime, linked):
    async with linked() as link:
        await connected(runtime, link)
        link.values_source.values = ContainerAdjustment(
            "pg", None, "/holdfast/db", {"memory.oom.group": "0", "memory.high": "1073741824"}
        )
        said = await runtime.create(Unified={"memory.oom.group": "1"})
        assert "adj" not in said
        assert said["path"] == "/holdfast/db/id-app"
        assert said["unified"] == {"memory.oom.group": "0", "memory.high": "1073741824"}
        assert link.store.get("id-app") is None
        assert [(row.file, row.before, row.written) for row in link.store.files("id-app")] == [
            ("memory.oom.group", "1", "0"),
            ("memory.high", "max", "1073741824"),
        ]


async def test_a_wish_longer_than_one_read_of_gos_arrives(runtime, linked):
    async with linked() as link:
        await connected(runtime, link)
        unified = {f"io.max.{at}": "x" * 100 for at in range(500)}
        link.values_source.values = ContainerAdjustment("long", 5, settings=unified)
        said = await runtime.create(Unified=dict.fromkeys(unified, "asked"))
        assert (said["adj"], said["unified"]) == (5, unified)


async def test_without_a_wish_nothing_is_adjusted(runtime, linked):
    async with linked() as link:
        await connected(runtime, link)
        assert set(await runtime.create()) == {"micros"}
        link.values_source.values = ContainerAdjustment("same", 985)
        assert set(await runtime.create()) == {"micros"}
        assert link.outcomes() == {CreationOutcome.NOTHING: 2}


async def test_a_dry_run_is_told_and_not_done(runtime, linked):
    async with linked() as link:
        await connected(runtime, link)
        link.values_source.values = ContainerAdjustment("pg", -500, dry_run=True)
        assert set(await runtime.create()) == {"micros"}
        (event,) = link.events
        assert (event.outcome, event.oom_score_adj, event.asked, event.pod) == ("dry_run", -500, 985, "pg-0")
        assert link.store.get("id-app") is None


async def test_an_error_of_ours_is_an_empty_answer_and_the_container_is_created(runtime, linked):
    async with linked() as link:
        await connected(runtime, link)
        link.values_source.error = ZeroDivisionError("a bug of ours")
        assert set(await runtime.create()) == {"micros"}
        assert link.metrics.failures.labels("CreateContainer").value == 1
        link.values_source.error, link.values_source.values = None, ContainerAdjustment("pg", 7)
        assert (await runtime.create())["adj"] == 7


async def test_an_answer_that_takes_too_long_is_an_empty_one_well_before_the_runtime_gives_up(runtime, linked):
    async with linked() as link:
        await runtime.well("timeout", Millis=4000)
        await connected(runtime, link)
        link.values_source.never = True
        said = await runtime.create()
        assert set(said) == {"micros"}
        assert said["micros"][0] < 4_000_000
        link.values_source.never, link.values_source.values = False, ContainerAdjustment("pg", 7)
        assert (await runtime.create())["adj"] == 7  # the runtime kept us


async def test_a_container_is_known_from_its_creation_to_its_end(runtime, linked):
    async with linked() as link:
        await connected(runtime, link)
        link.values_source.values = ContainerAdjustment("pg", -1)
        await runtime.well("run_pod", **POD, Labels={"app": "pg"})
        assert link.book.pods["sandbox-u1"].labels == {"app": "pg"}
        await runtime.create()
        words = {**POD, "ID": "id-app", "Container": "app", "Pid": 4321, "Adj": -1}
        await runtime.well("started", **words)
        known = link.book.containers["id-app"]
        assert (known.pid, known.oom_score_adj, known.oom_score_adj_asked) == (4321, -1, 985)
        await runtime.well("stop_container", **words)
        await runtime.well("remove", **words)
        assert link.book.containers == {}
        assert link.store.get("id-app") is None
        await runtime.well("remove_pod", **POD)
        assert link.book.pods == {}


async def test_a_runtime_that_restarts_has_us_again_with_all_it_has(runtime, boot, linked):
    async with linked() as link:
        await connected(runtime, link)
        link.values_source.values = ContainerAdjustment("pg", -500)
        await runtime.create()
        runtime.running.stop(signal.SIGKILL)  # no Shutdown is sent: the end of the connection is all there is
        assert not await link.state()
        runtime = await boot()
        await runtime.well("fill", Pods=1, Containers=2)
        await connected(runtime, link)
        assert sorted(link.book.containers) == ["container-0", "container-1"]
        assert link.store.get("id-app") is None  # that container is not there any more
        assert (await runtime.create())["adj"] == -500


async def test_another_plugin_that_wants_the_same_field_fails_one_creation_and_then_has_its_way(runtime, linked):
    async with linked() as link:
        await connected(runtime, link)
        link.values_source.values = ContainerAdjustment("pg", -500)
        await runtime.well("rival", Index="50", Adj=100)
        await runtime.well("wait", Plugins=2)
        conflict = await runtime.create()
        assert 'plugins "50-rival" and "10-holdfast" both tried to set OomScoreAdj' in conflict["error"]
        second = await runtime.create(ID="id-2")
        assert second["adj"] == 100  # created with what the other one wants, not ours
        await runtime.well("started", **POD, ID="id-2", Container="app", Pid=1)
        assert (await runtime.create(ID="id-3"))["adj"] == 100
        assert link.outcomes() == {CreationOutcome.ADJUSTED: 1, CreationOutcome.LEFT_ALONE: 2}
        await runtime.well("remove_pod", **POD)
        assert "both tried" in (await runtime.create(ID="id-4"))["error"]


async def test_an_answer_takes_a_few_milliseconds_at_most(runtime, linked, capsys):
    async with linked() as link:
        await connected(runtime, link)
        wished = {"memory.oom.group": "0"}
        took, created_s, told_s, times = [], [], [], 500
        for at in range(times):
            link.values_source.values = ContainerAdjustment("pg", -500, settings=wished)
            began = time.perf_counter()
            said = await runtime.create(f"c{at}")
            created_s.append(time.perf_counter() - began)
            took += said["micros"]
            began = time.perf_counter()
            await runtime.well("run_pod", **POD)  # the same way, and next to nothing to do
            told_s.append(time.perf_counter() - began)
        took.sort()
        ours_s = link.metrics.handler.labels("CreateContainer")
        assert sum(ours_s.counts) == times
        with capsys.disabled():
            p50, p99, own = took[times // 2] / 1e3, took[times * 99 // 100] / 1e3, ours_s.total / times * 1e3
            sys.stdout.write(
                f"\nCreateContainer, {times} times, ms: at the runtime p50 {p50:.2f} p99 {p99:.2f}; ours {own:.3f}\n"
            )
        assert median(created_s) - median(told_s) <= 0.005
