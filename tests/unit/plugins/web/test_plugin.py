"""The page's plugin: which pages there are, and that any number of readers costs one read."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.config import Settings
from holdfast.config.schema import Web
from holdfast.errors import SkipPlugin, Unavailable
from holdfast.plugin.services import PageRequest
from holdfast.plugins.web import reading
from holdfast.plugins.web.plugin import page
from holdfast.plugins.web.reading import Reading

from tests.fakes.placement_api import PlacementApi
from tests.running import async_until
from tests.unit.plugins.web.site import site_of


@contextlib.asynccontextmanager
async def running(api, **options):
    site, _ = site_of(api, **options)
    jobs = [asyncio.ensure_future(each.follow()) for each in (site.node, site.victims)]
    try:
        yield site
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


def asked(is_private=False, **query):
    return PageRequest(query, is_private)


async def test_each_page_is_the_document_with_its_content():
    api = PlacementApi(ListRules=pb.ListRulesResponse(rules=[pb.RuleInfo(name="mine")]), Explain=pb.ExplainResponse())
    async with running(api) as site:
        for show, query, words in (
            (site.overview, {}, "mine"),
            (site.processes, {"rule": "mine"}, "Processes under mine"),
            (site.process, {"pid": "7"}, "Rules, in their order"),
        ):
            shown = await show(asked(**query))
            assert shown.status == 200
            assert words in shown.body.decode()
            assert shown.body.startswith(b"<!doctype html>")
            assert b"{{" not in shown.body
            assert [one.split(" ")[0] for one in shown.policy] == ["style-src", "script-src", "connect-src", "img-src"]
            assert "unsafe" not in "".join(shown.policy)


@pytest.mark.parametrize("pid", ["", "0", "-1", "x", "٣", "4194305", "9" * 5000])
async def test_what_is_no_pid_is_not_asked_for(pid):
    api = PlacementApi()
    async with running(api) as site:
        assert (await site.process(asked(pid=pid))).status == 404
    assert api.calls == []


async def test_a_process_that_is_gone_is_not_found():
    async with running(PlacementApi()) as site:
        shown = await site.process(asked(pid="7"))
    assert shown.status == 404
    assert "process 7: not found" in shown.body.decode()


async def test_why_files_are_refused_is_only_for_users_of_the_socket():
    async with running(PlacementApi(), refused="c.yaml:1: token: hunter2 is too short") as site:
        for_all, for_some = [(await site.overview(asked(private))).body.decode() for private in (False, True)]
    assert "hunter2" not in for_all
    assert "holdfast status" in for_all
    assert "hunter2 is too short" in for_some
    async with running(PlacementApi()) as site:
        assert "Refused files" not in (await site.overview(asked())).body.decode()


async def test_any_number_of_readers_costs_one_read():
    api = PlacementApi()
    async with running(api) as site:
        await asyncio.gather(*(site.overview(asked()) for _ in range(50)))
        await asyncio.gather(*(site.processes(asked()) for _ in range(50)))
    assert sorted(api.calls) == ["Kills", "ListPlacements", "ListRules", "Status", "Victims"]


async def test_an_engine_that_does_not_answer_is_said_and_the_rest_is_there():
    async with running(PlacementApi(Status=Unavailable("the engine has ended"))) as site:
        shown = await site.overview(asked())
    assert shown.status == 200
    assert "the engine has ended: unavailable" in shown.body.decode()
    async with running(None) as site:
        assert "placement does not run" in (await site.overview(asked())).body.decode()
        assert (await site.processes(asked())).status == 503


async def test_an_old_answer_is_better_than_none(monkeypatch):
    monkeypatch.setattr(reading, "WAIT_S", 0.01)
    answers = [1]
    blocked = asyncio.Event()

    async def ask():
        if not answers:
            await blocked.wait()
            return 2
        return answers.pop()

    slow = Reading(ask, 0.0)
    job = asyncio.ensure_future(slow.follow())
    assert await slow.latest() == 1
    assert await slow.latest() == 1, "the new one takes too long"
    blocked.set()
    await async_until(lambda: slow.value == 2, "the new one is there")
    job.cancel()


async def test_without_an_address_the_plugin_has_nothing_to_do():
    with pytest.raises(SkipPlugin, match=r"web\.address is empty"):
        await anext(page.init(SimpleNamespace(settings=Settings(web=Web(address="")))))
