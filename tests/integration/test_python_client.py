"""`holdfast.client` against a real daemon: what it lists, writes and reports."""

import asyncio
import json

import pytest
from holdfast.client import Client, SyncClient
from holdfast.errors import NotFound

from tests.needs import root
from tests.peers.daemon import holdfast
from tests.running import PATIENCE_S, adj_of, until

pytestmark = root


@pytest.fixture
def daemon(short_dir, program):
    rule = {"name": "tested", "match": {"exe": program}, "oom_score_adj": 321}
    section = {"dry_run": False, "builtin_rules": "none", "rules": [rule]}
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
