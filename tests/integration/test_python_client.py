"""`holdfast.client` against a real daemon: what it lists, writes and reports."""

import asyncio
import json
import signal

import pytest
from holdfast.client import Client, SyncClient
from holdfast.errors import NotFound

from tests.needs import root
from tests.peers.daemon import holdfast
from tests.running import PATIENCE_S, adj_of, until

pytestmark = root
WATCHES = 30


@pytest.fixture
def daemon(short_dir, program):
    rule = {"name": "tested", "match": {"exe": program}, "oom_score_adj": 321}
    section = {"dry_run": False, "builtin_rules": "none", "rescan": "1s", "rules": [rule]}
    config = {
        "root": f"{short_dir}/r",
        "state": f"{short_dir}/s",
        "grpc": {"address": f"{short_dir}/s.sock"},
        "metrics": {"address": ""},
        "web": {"address": ""},
        "plugins": {"io.holdfast.placement.v1.rules": section},
    }
    (short_dir / "c.yaml").write_text(json.dumps(config))
    with holdfast(short_dir, short_dir / "c.yaml") as running:
        yield running.ready()


async def test_watch_reports_a_process_that_gets_its_rule(daemon, program, sleeper):
    async with Client(daemon.address) as client, asyncio.timeout(PATIENCE_S):
        assert await client.serves()
        assert [rule.name for rule in await client.rules()] == ["tested"]
        reports = client.watch("tested")
        first = asyncio.ensure_future(anext(reports))
        started = {sleeper(program, "600").pid}
        while not first.done():  # a report from before the watch began is not repeated: more processes until one comes
            await asyncio.wait([first], timeout=0.5)
            started.add(sleeper(program, "600").pid)
        report = await first
        assert (report.pid in started, report.rule, report.happening) == (True, "tested", "held")
        await reports.aclose()
        assert {some.pid for some in await client.processes()} <= started


async def test_a_process_is_in_the_snapshot_or_in_a_report_after_it_and_never_in_both(daemon, program, sleeper):
    """Watches begin while processes start: the engine's thread and the daemon's loop are real here."""
    started = set()

    async def follow(client):
        present, held = [], []
        async for report in client.watch("tested", snapshot=True):
            if report.happening in ("present", "held"):
                (held if report.happening == "held" else present).append(report.pid)
            if len(started) == WATCHES and started <= {*present, *held}:
                break
        return present, held

    async with Client(daemon.address) as client, asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        followers = []
        for _ in range(WATCHES):
            followers.append(tasks.create_task(follow(client)))
            started.add((await asyncio.to_thread(sleeper, program, "600")).pid)
        await asyncio.to_thread(sleeper, program, "600")  # wakes those that had everything before the last was known
    for follower in followers:
        pids = [pid for each in follower.result() for pid in each]
        assert len(pids) == len(set(pids)), "a process twice"


async def test_a_watch_outlasts_a_daemon_that_is_killed(daemon, program, sleeper, short_dir):
    pid = sleeper(program, "600").pid
    until(lambda: adj_of(pid) == 321, "the rule's value")
    async with Client(daemon.address) as client, asyncio.timeout(PATIENCE_S):
        watch = client.watch("tested", snapshot=True)
        expected = [("present", pid), ("synced", 0)]
        assert [(one.happening, one.pid) for one in [await anext(watch), await anext(watch)]] == expected
        again = asyncio.ensure_future(anext(watch))
        await asyncio.to_thread(daemon.stop, signal.SIGKILL)
        with holdfast(short_dir, short_dir / "c.yaml") as restarted:
            await asyncio.to_thread(restarted.ready)
            reports = [await again]
            while reports[-1].happening != "synced":
                reports.append(await anext(watch))
            await watch.aclose()
    assert {one.pid for one in reports} <= {0, pid}


def test_the_twin_overrides_explains_and_restores(daemon, program, sleeper):
    pid = sleeper(program, "600").pid
    until(lambda: adj_of(pid) == 321, "the rule's value")
    with SyncClient(daemon.address) as client:
        assert client.hold(pid, 400, for_s=600, reason="a test").oom_score_adj == 400
        assert adj_of(pid) == 400
        assert client.explain(pid).placement.rule == "hold"
        placed = client.release(pid)
        assert placed is not None
        until(lambda: adj_of(pid) == 321, "the rule's value again")
        assert client.restore(pid=pid).given_back == 1
        with pytest.raises(NotFound):
            client.explain(2**22)
