"""The Placement service over a stand-in for the engine: values in, messages out; a real server for Watch."""

import asyncio
import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import yaml
from google.protobuf.duration_pb2 import Duration
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.cli.events import payload_to_json
from holdfast.errors import ConfigError, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from holdfast.events import Exchange
from holdfast.node.model.decision import AdjChange
from holdfast.node.model.placement import Happening, Report
from holdfast.node.rule.ruleset import Rules
from holdfast.node.rule.schema import PlacementConfig
from holdfast.plugins.node.placement import active_rules
from holdfast.plugins.node.placement import plugin as placement
from holdfast.plugins.node.placement.active_rules import ActiveRules
from holdfast.plugins.node.placement.plugin import ReportForwarder, outlast
from holdfast.plugins.node.placement.report_log import ReportLog
from holdfast.plugins.node.placement.service import PlacementService

from tests.fakes.engine import RULES, InForce, StandIn
from tests.fakes.placement import rules


class NoBundle:
    """`active_rules.Bundled` without a bundle."""

    is_unread = False

    def rules(self, reference):
        return ()

    def confirm(self):
        pass


@pytest.fixture
def engine():
    return StandIn()


@pytest.fixture
def service(engine):
    return PlacementService(engine, InForce(*RULES), ReportLog())


async def test_rules_are_told_with_their_text_and_their_processes(service):
    first, second = (await service.ListRules(pb.ListRulesRequest(), None)).rules
    assert (first.name, first.reason, first.dry_run, first.builtin, first.suspended) == (
        "r1",
        "a database",
        False,
        False,
        False,
    )
    assert (dict(first.processes), second.dry_run, second.builtin, second.suspended) == (
        {"partly": 1},
        True,
        True,
        True,
    )
    assert yaml.safe_load(first.yaml) == {"name": "r1", "trust_claims": True, **RULES[0]}
    assert yaml.safe_load(second.yaml) == {"name": "r2", "trust_claims": True, **RULES[1]}


async def test_placements_of_one_rule_or_all(service):
    (only,) = (await service.ListPlacements(pb.ListPlacementsRequest(), None)).placements
    assert (only.pid, only.state, only.adj_before, only.refusals[0].reason) == (50, "partly", 0, "frozen")
    assert only.since.seconds == 1_700_000_000
    assert not only.HasField("expires")
    assert not (await service.ListPlacements(pb.ListPlacementsRequest(rule="r2"), None)).placements
    assert not (await service.ListPlacements(pb.ListPlacementsRequest(rule="hold"), None)).placements
    with pytest.raises(NotFound, match='rule "x"'):
        await service.ListPlacements(pb.ListPlacementsRequest(rule="x"), None)


async def test_explain_tells_every_rule_and_what_is_known_of_the_process(service):
    answer = await service.Explain(pb.ExplainRequest(pid=50), None)
    assert (answer.decision.rule, answer.decision.changes[0].after) == ("r1", "-900")
    assert [(one.rule, one.holds, one.clause) for one in answer.considered] == [
        ("r1", True, ""),
        ("r2", False, "match.comm"),
    ]
    assert (answer.placement.rule, answer.process.pod.name) == ("r1", "pg-0")
    assert list(answer.process.cmdline) == ["postgres", "-D"]
    assert not (await service.Explain(pb.ExplainRequest(pid=1), None)).HasField("placement")


async def test_a_process_that_is_not_there_is_not_found(service):
    with pytest.raises(NotFound, match="process 4242"):
        await service.Explain(pb.ExplainRequest(pid=4242), None)
    with pytest.raises(InvalidArgument):
        await service.Explain(pb.ExplainRequest(), None)


async def test_preview_is_the_plan_of_everybody(service):
    answer = await service.Preview(pb.PreviewRequest(), None)
    assert [(one.process.pid, one.decision.rule, one.decision.dry_run) for one in answer.planned] == [
        (50, "r1", False),
        (60, "r2", True),
    ]
    assert answer.looked_at == 3
    assert not any(one.process.cmdline for one in answer.planned), "command lines may hold passwords"
    (only,) = (await service.Preview(pb.PreviewRequest(rule="r2"), None)).planned
    assert only.decision.changes[0].after == "1000"


async def test_rules_that_are_not_in_force_can_be_tried(service):
    mine = "- {name: mine, match: {user: postgres}, oom_score_adj: 1}\n"
    sent = mine + "- {name: web, match: {comm: nginx}, oom_score_adj: 2}"
    (only,) = (await service.Try(pb.TryRequest(rules_yaml=sent), None)).planned
    assert (only.decision.rule, only.decision.dry_run) == ("web", True)
    with pytest.raises(ConfigError, match="the rules sent:1: "):
        await service.Try(pb.TryRequest(rules_yaml="- {name: x}"), None)


async def test_victims_of_the_node_first_and_then_of_the_fullest_cgroup(service):
    answer = await service.Victims(pb.VictimsRequest(), None)
    assert [one.domain for one in answer.rankings] == ["/", "/web", "/system.slice"]
    node = answer.rankings[0]
    assert [(one.pid, one.rule) for one in node.now.candidates] == [(50, "r1"), (60, "r2"), (1, "")]
    assert node.after_rules.candidates[0].pid == 60
    assert not node.now.candidates[-1].HasField("points")
    assert (answer.page_bytes, answer.uncertainty_pages) == (4096, 192)


async def test_victims_of_one_cgroup_and_so_many(service):
    (only,) = (await service.Victims(pb.VictimsRequest(cgroup="web", limit=1), None)).rankings
    assert (only.domain, len(only.now.candidates), only.processes) == ("/web", 1, 1)
    with pytest.raises(NotFound, match="/nowhere: memory cgroup with a limit"):
        await service.Victims(pb.VictimsRequest(cgroup="/nowhere"), None)


async def test_kills_are_told_with_who_stood_in_line(service):
    kills = (await service.Kills(pb.KillsRequest(limit=1), None)).kills
    assert [(one.pid, one.domain, one.predicted[0].points, one.pressure_pct) for one in kills] == [
        (9, "/web", 57, 12.5)
    ]
    assert len((await service.Kills(pb.KillsRequest(), None)).kills) == 2


async def test_status_says_how_the_engine_does(service):
    answer = await service.Status(pb.StatusRequest(), None)
    assert (answer.events, answer.last_sweep_cause, answer.last_sweep.nanos) == (
        "no CAP_NET_ADMIN",
        "reload",
        250_000_000,
    )
    assert dict(answer.pressure_pct) == {"memory_some": 1.5, "memory_full": 0.5}
    assert not answer.dry_run


async def test_a_hold_is_of_the_process_that_has_the_number_now(service, engine):
    request = pb.HoldRequest(pid=60, oom_score_adj=-5, ttl=Duration(seconds=90), reason="why")
    assert (await service.Hold(request, None)).expires.seconds == 1_800_000_000
    await service.Hold(pb.HoldRequest(pid=60, start_ticks=5), None)
    assert engine.held == [(60, None, -5, 90.0, "why"), (60, 5, 0, 3600.0, "")]


@pytest.mark.parametrize(
    "given",
    [{"ttl": Duration(seconds=-1)}, {"ttl": Duration()}, {"ttl": Duration(seconds=2**31)}, {"oom_score_adj": -1000}],
)
async def test_a_hold_without_end_or_beyond_bounds_is_refused(service, engine, given):
    with pytest.raises(InvalidArgument):
        await service.Hold(pb.HoldRequest(pid=60, **given), None)
    assert engine.held == []


async def test_release_and_restore_are_the_engines(service, engine):
    assert (await service.Release(pb.ReleaseRequest(pid=50), None)).placement.rule == "r1"
    assert not (await service.Release(pb.ReleaseRequest(pid=60), None)).HasField("placement")
    answer = await service.Restore(pb.RestoreRequest(rule="r1"), None)
    assert (answer.given_back, answer.left, answer.gone, list(answer.failed)) == (3, 1, 2, ["one line"])
    await service.Restore(pb.RestoreRequest(pid=7), None)
    assert engine.held == [("r1", None), (None, 7)]


async def test_what_the_engine_reports_becomes_an_event_any_client_can_filter_and_read():
    exchange = Exchange()
    forwarder = ReportForwarder(exchange, ReportLog())
    change = AdjChange(0, 5)
    with exchange.subscribe(['topic~="^/placement/",event.rule==r1', 'topic=="/oom/kill"']) as events:
        await asyncio.to_thread(forwarder.report, Report(Happening.HELD, 50, 500, "postgres", "r1", (change,)))
        await asyncio.to_thread(forwarder.report, Report(Happening.HELD, 60, 600, "nginx", "r2"))
        await asyncio.to_thread(forwarder.kill, StandIn().latest(1)[0])
        held, kill = await anext(events), await anext(events)
    assert (held.envelope.topic, held.envelope.namespace) == ("/placement/held", "holdfast")
    assert payload_to_json(held.envelope.event)["changes"][0]["after"] == "5"
    assert (kill.envelope.topic, payload_to_json(kill.envelope.event)["comm"]) == ("/oom/kill", "hog")


async def calls_of(forwarder, monkeypatch):
    """The calls of a forwarder to the loop."""
    calls, real = [], asyncio.get_running_loop().call_soon_threadsafe
    monkeypatch.setattr(
        forwarder, "_loop", SimpleNamespace(call_soon_threadsafe=lambda *g: (calls.append(g), real(*g)))
    )
    return calls


async def test_the_loop_is_not_woken_for_what_nobody_listens_to(monkeypatch):
    exchange, log = Exchange(), ReportLog()
    forwarder = ReportForwarder(exchange, log)
    calls = await calls_of(forwarder, monkeypatch)
    forwarder.report(Report(Happening.HELD, 50, 500, "postgres", "r1"))
    assert not calls
    with exchange.subscribe([]) as events:
        await asyncio.to_thread(forwarder.report, Report(Happening.HELD, 60, 600, "nginx", "r2"))
        assert payload_to_json((await anext(events)).envelope.event)["pid"] == 60
    assert [log.after(number).pid for number in range(2)] == [50, 60], "both are kept for a watcher that resumes"


async def test_a_burst_of_reports_keeps_its_order_and_is_one_call(monkeypatch):
    log = ReportLog()
    forwarder = ReportForwarder(Exchange(), log)
    calls = await calls_of(forwarder, monkeypatch)
    with log.watching() as wake:
        for pid in range(5):
            forwarder.report(Report(Happening.HELD, pid, 1, "x", "r1"))
        await wake.wait()
        assert [log.after(number).pid for number in range(5)] == list(range(5))
    assert len(calls) == 1


def test_new_rules_are_compiled_before_the_engine_hears_of_them(engine):
    active_rules = ActiveRules(engine, NoBundle())
    active_rules.apply(PlacementConfig(rules=(rules(RULES[0]).rules[0].spec,), builtin_rules=("batch",)))
    assert active_rules.rules.names == ("r1", "batch-first-to-die", "indexers")
    assert active_rules.builtin == {"batch-first-to-die", "indexers"}
    assert engine.in_force is active_rules.rules
    assert isinstance(active_rules.rules, Rules)
    assert active_rules.uid_of("root") == 0
    assert active_rules.uid_of("nobody-of-this-name") is None


def test_rules_that_the_engine_takes_at_the_last_moment_are_in_force(engine, monkeypatch):
    """They can no longer be withdrawn: to refuse them would be a lie."""
    monkeypatch.setattr(active_rules, "SET_S", 0.05)
    taking, slow = Future(), active_rules.ActiveRules(engine, NoBundle())
    taking.set_running_or_notify_cancel()
    monkeypatch.setattr(engine, "set_rules", lambda rules: taking)
    threading.Timer(0.07, taking.set_result, (None,)).start()
    slow.apply(PlacementConfig(rules=(rules(RULES[0]).rules[0].spec,)))
    assert "r1" in slow.rules.names


def test_rules_that_the_engine_does_not_take_are_withdrawn(engine, monkeypatch):
    monkeypatch.setattr(active_rules, "SET_S", 0.01)
    waiting, before = Future(), active_rules.ActiveRules(engine, NoBundle())
    monkeypatch.setattr(engine, "set_rules", lambda rules: waiting)
    with pytest.raises(Unavailable, match="has not taken the rules"):
        before.apply(PlacementConfig(rules=(rules(RULES[0]).rules[0].spec,)))
    assert (waiting.cancelled(), len(before.rules)) == (True, 0)


def engine_that(**given):
    usual = {"ended": Future(), "trouble": "", "busy_s": 0.0, "is_running": True, "where": lambda: "loop.py:1"}
    return SimpleNamespace(**{**usual, **given})


async def test_what_ends_the_engine_ends_the_job_that_is_vital():
    engine = engine_that()
    job = asyncio.ensure_future(outlast(engine, lambda why: None))
    await asyncio.sleep(0)
    engine.ended.set_exception(ZeroDivisionError("a mistake"))
    with pytest.raises(Unavailable, match="the placement engine ended: ZeroDivisionError: a mistake"):
        await job


async def test_an_engine_that_hangs_is_a_fault_until_it_goes_on_and_is_given_up_after_a_while(monkeypatch):
    monkeypatch.setattr(placement, "BEAT_S", 0)
    engine, told = engine_that(trouble="hangs", busy_s=11.0), asyncio.Queue()
    job = asyncio.ensure_future(outlast(engine, told.put_nowait))
    assert await told.get() == "hangs"
    engine.trouble, engine.busy_s = "", 0.0
    assert await told.get() == ""
    engine.trouble, engine.busy_s = "hangs again", placement.GIVEN_UP_S + 1
    with pytest.raises(Unavailable, match=r"hangs again at loop\.py:1"):
        await job


async def test_an_engine_is_not_given_up_for_the_time_in_which_the_whole_daemon_was_stopped(monkeypatch):
    monkeypatch.setattr(placement, "BEAT_S", 0.01)
    monkeypatch.setattr(placement, "GIVEN_UP_S", 0.2)
    engine, told = engine_that(), asyncio.Queue()
    job = asyncio.ensure_future(outlast(engine, told.put_nowait))
    await asyncio.sleep(0)
    time.sleep(0.5)  # as under SIGSTOP, or without a processor: no thread of the daemon runs
    engine.trouble, engine.busy_s = "hangs", 0.5
    assert await told.get() == "hangs"
    engine.trouble, engine.busy_s = "", 0.0  # its turn ends a moment later
    assert await told.get() == ""
    assert not job.done()
    engine.trouble, engine.busy_s = "hangs for good", 3600.0
    with pytest.raises(Unavailable, match="hangs for good"):
        await job


async def test_an_engine_that_lost_a_thread_is_given_up(monkeypatch):
    monkeypatch.setattr(placement, "BEAT_S", 0)
    with pytest.raises(Unavailable, match="a thread of the placement engine is gone"):
        await outlast(engine_that(is_running=False), lambda why: None)


async def test_a_job_that_is_cancelled_leaves_the_engine_to_end_as_it_does():
    engine = engine_that()
    job = asyncio.ensure_future(outlast(engine, lambda why: None))
    await asyncio.sleep(0)
    job.cancel()
    await asyncio.wait([job])
    engine.ended.set_result(None)
    assert job.cancelled()


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ListRules", pb.ListRulesRequest()),
        ("ListPlacements", pb.ListPlacementsRequest()),
        ("Status", pb.StatusRequest()),
        ("Hold", pb.HoldRequest(pid=50)),
        ("Release", pb.ReleaseRequest(pid=50)),
        ("Restore", pb.RestoreRequest()),
    ],
)
async def test_what_an_engine_that_does_not_work_knows_is_not_told(engine, method, request_):
    engine.trouble = "the placement engine has hung for 11 s"
    service = PlacementService(engine, ActiveRules(engine, NoBundle()), ReportLog())
    with pytest.raises(Unavailable, match="hung for 11 s"):
        await getattr(service, method)(request_, None)


class TestWhatAPeerMayAskFor:
    async def test_of_all_groups_together_no_more_candidates_are_told_than_said(self, service, monkeypatch):
        monkeypatch.setattr("holdfast.plugins.node.placement.service.CANDIDATES", 1)
        monkeypatch.setattr("holdfast.plugins.node.placement.service.MOST_CANDIDATES", 2)
        answer = await service.Victims(pb.VictimsRequest(limit=4_000_000_000), None)
        assert max(len(some.now.candidates) for some in answer.rankings) <= 2

    async def test_rules_to_be_tried_have_a_bound_in_bytes(self, service):
        with pytest.raises(InvalidArgument, match="bytes are more than 262144"):
            await service.Try(pb.TryRequest(rules_yaml="#" * (256 * 1024 + 1)), None)

    async def test_and_one_in_time(self, service, monkeypatch):
        monkeypatch.setattr("holdfast.plugins.node.placement.service.TRIES_S", -1.0)
        with pytest.raises(ResourceExhausted, match="take more than"):
            await service.Try(pb.TryRequest(rules_yaml="[]"), None)

    async def test_and_one_call_at_a_time(self, service, monkeypatch):
        together = threading.Barrier(2)
        monkeypatch.setattr(service, "_try", lambda text: together.wait(0.2))
        calls = (service.Try(pb.TryRequest(rules_yaml="[]"), None) for _ in range(2))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(answer) for answer in answers] == [threading.BrokenBarrierError] * 2, "they met"
