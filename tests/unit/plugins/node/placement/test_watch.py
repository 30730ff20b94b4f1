"""Watch: reports from now on, after a snapshot, and after a token; nothing twice, nothing lost."""

import asyncio
from concurrent.futures import Future
from contextlib import aclosing, suppress
from itertools import product
from types import SimpleNamespace

import pytest
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.api.placement.v1.placement_pb2_grpc import PlacementStub
from holdfast.errors import InvalidArgument, OutOfRange, ResourceExhausted, Unavailable
from holdfast.events import Exchange
from holdfast.node.apply.metrics import PlacementMetrics
from holdfast.node.engine.engine import Engine
from holdfast.node.engine.mailbox import Calls
from holdfast.node.engine.reporter import EngineListeners, Reporter
from holdfast.node.model.decision import AdjChange
from holdfast.node.model.placement import Happening, Placement, Report
from holdfast.plugins.node.placement import report_log
from holdfast.plugins.node.placement.plugin import ReportForwarder
from holdfast.plugins.node.placement.report_log import ReportLog
from holdfast.plugins.node.placement.service import PlacementService
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.engine import RULES, InForce, StandIn, served


class Context:
    """Of a call: takes its headers."""

    async def send_initial_metadata(self, pairs):
        pass


def report_of(pid, rule="r1", **more):
    return Report(Happening.HELD, pid, pid * 10, f"p{pid}", rule, **more)


class Node:
    """A log with a service over it, and the reports of an engine."""

    def __init__(self, engine=None):
        self.log = ReportLog()
        self.engine = engine or StandIn()
        self.engine.snapshot = self._taken
        self.service = PlacementService(self.engine, InForce(*RULES), self.log)

    def _taken(self, mark):
        future = Future()
        future.set_result((self.engine.placed, mark()))
        return future

    def tell(self, *reports):
        for report in reports:
            self.log.append(report)
        self.log.wake()

    def watch(self, **request):
        return self.service.Watch(pb.WatchRequest(**request), Context())


@pytest.fixture
def node():
    return Node()


async def test_watch_streams_reports_of_one_rule_or_all(node, short_dir):
    async with served(node.service, short_dir) as client:
        calls = [PlacementStub(client._channel).Watch(pb.WatchRequest(rule=rule)) for rule in ("", "r2")]
        for call in calls:
            await call.initial_metadata()
        change = AdjChange(0, 5)
        node.tell(
            Report(Happening.HELD, 50, 500, "postgres", "r1", (change,), at_ns=10**18),
            Report(Happening.FAILED, 60, 600, "nginx", "r2", detail="no"),
        )
        first, second = await calls[0].read(), await calls[1].read()
    assert (first.happening, first.rule, first.changes[0].after, first.at.seconds) == ("held", "r1", "5", 10**9)
    assert (second.happening, second.rule, second.detail) == ("failed", "r2", "no")


async def test_a_snapshot_comes_first_and_ends_with_a_token(node):
    node.tell(report_of(1))
    async with aclosing(node.watch(snapshot=True)) as watch:
        present, synced = await anext(watch), await anext(watch)
        node.tell(report_of(2))
        live = await anext(watch)
    assert (present.happening, present.pid, present.rule) == ("present", 50, "r1")
    assert (present.placement.pid, present.placement.state, present.resume_token) == (50, "partly", "")
    assert (synced.happening, synced.pid, bool(synced.resume_token)) == ("synced", 0, True)
    assert (live.happening, live.pid) == ("held", 2)


async def test_a_snapshot_of_a_rule_without_processes_has_its_end_alone(node):
    async with aclosing(node.watch(snapshot=True, rule="r2")) as watch:
        assert (await anext(watch)).happening == "synced"


async def test_a_snapshot_that_is_being_taken_serves_all_who_ask_for_one(node):
    futures = []
    node.engine.snapshot = lambda mark: futures.append((Future(), mark)) or futures[-1][0]
    watches = [node.watch(snapshot=True) for _ in range(3)]
    firsts = [asyncio.ensure_future(anext(watch)) for watch in watches]
    await settled()
    ((future, mark),) = futures
    firsts.pop().cancel()  # one that leaves does not end it for the others
    await settled()
    future.set_result((node.engine.placed, mark()))
    assert [(await first).pid for first in firsts] == [50, 50]
    for watch in watches:
        await watch.aclose()


async def test_without_an_engine_there_is_no_snapshot_but_reports(node):
    node.engine.trouble = "the placement engine has hung for 11 s"
    with pytest.raises(Unavailable, match="hung"):
        await anext(node.watch(snapshot=True))
    async with aclosing(node.watch(bookmarks=True)) as watch:
        assert (await anext(watch)).happening == "bookmark"


async def test_a_token_goes_on_where_it_was(node):
    async with aclosing(node.watch(bookmarks=True)) as watch:
        token = (await anext(watch)).resume_token
    node.tell(report_of(1), report_of(2), report_of(3))
    async with aclosing(node.watch(resume_token=token)) as watch:
        one, two = await anext(watch), await anext(watch)
    assert (one.pid, two.pid) == (1, 2)
    async with aclosing(node.watch(resume_token=two.resume_token, snapshot=True)) as watch:
        assert (await anext(watch)).pid == 3, "no snapshot: nothing is lost"


async def test_a_token_that_is_too_old_is_refused_or_answered_with_a_snapshot(node, monkeypatch):
    monkeypatch.setattr(report_log, "KEPT", 2)
    tokens = [node.log.token(number) for number in range(5)]
    node.tell(*map(report_of, range(1, 4)))
    for token in (tokens[0], tokens[4], Node().log.token(0)):
        with pytest.raises(OutOfRange, match="reports after it are lost") as caught:
            await anext(node.watch(resume_token=token))
        assert (caught.value.reason, caught.value.field) == ("RESUME_TOKEN_EXPIRED", "resume_token")
        async with aclosing(node.watch(resume_token=token, snapshot=True)) as watch:
            assert [(await anext(watch)).happening for _ in range(2)] == ["present", "synced"]
    async with aclosing(node.watch(resume_token=tokens[1])) as watch:
        assert [(await anext(watch)).pid for _ in range(2)] == [2, 3]


async def test_reports_of_other_rules_bring_a_bookmark_now_and_then(node):
    async with aclosing(node.watch(rule="r2", bookmarks=True)) as watch:
        first = await anext(watch)
        node.tell(*(report_of(pid) for pid in range(600)), report_of(7, "r2"))
        second, third = await anext(watch), await anext(watch)
    assert [one.happening for one in (first, second, third)] == ["bookmark", "bookmark", "held"]
    assert [node.log.number(one.resume_token) for one in (first, second, third)] == [0, 500, 601]
    async with aclosing(node.watch(rule="r2")) as watch:
        first = asyncio.ensure_future(anext(watch))
        await settled()
        node.tell(*(report_of(pid) for pid in range(600)), report_of(8, "r2"))
        assert (await first).pid == 8, "a client that does not know them gets none"


async def test_filters_let_through_reports_and_the_processes_of_a_snapshot(node):
    node.engine.placed += (Placement(60, 600, "nginx", "r2"),)
    async with aclosing(node.watch(snapshot=True, filters=["comm==nginx", "happening==held,pid==2"])) as watch:
        present, synced = await anext(watch), await anext(watch)
        node.tell(*(report_of(pid) for pid in range(60)))
        held = await anext(watch)
    assert [one.happening for one in (present, synced, held)] == ["present", "synced", "held"]
    assert (present.pid, held.pid) == (60, 2)


async def test_reports_that_filters_leave_out_bring_bookmarks_and_do_not_keep_the_loop(node):
    turns = 0

    async def others():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with aclosing(node.watch(filters=["pid==9999"], bookmarks=True)) as watch:
        await anext(watch)
        node.tell(*map(report_of, range(10_000)))
        serving = asyncio.ensure_future(others())
        reports = [await anext(watch) for _ in range(20)]
        serving.cancel()
    assert [one.happening for one in reports] == [*["bookmark"] * 19, "held"]
    assert [node.log.number(one.resume_token) for one in reports] == [*range(500, 10_000, 500), 10_000]
    assert turns > 300, "others are served at each 25 of them"


@pytest.mark.parametrize("filters", [["stat==held"], ["pid"] * 33, ["=="], ["changes"]])
async def test_a_filter_that_is_none_is_refused_and_nobody_watches(node, filters):
    with pytest.raises(InvalidArgument) as caught:
        await anext(node.watch(filters=filters))
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", "filters")
    assert not node.log.is_watched


async def test_who_reads_too_slowly_is_ended_and_costs_no_more(node):
    async with aclosing(node.watch(bookmarks=True)) as watch:
        await anext(watch)
        node.tell(*map(report_of, range(10_050)))
        with pytest.raises(ResourceExhausted, match="more than 10000 reports were waiting to be read") as caught:
            await anext(watch)
        assert caught.value.reason == "WATCHER_TOO_SLOW"
    assert len(node.log._reports) == 10_000
    node.tell(report_of(1))
    assert len(node.log._reports) == 1000, "nobody watches"


async def test_ten_thousand_reports_at_once_reach_a_watcher(node):
    async with aclosing(node.watch(bookmarks=True)) as watch:
        await anext(watch)
        node.tell(*map(report_of, range(10_000)))
        assert [(await anext(watch)).pid for _ in range(10_000)] == list(range(10_000))


def test_no_more_clients_watch_than_the_bound(monkeypatch):
    monkeypatch.setattr(report_log, "WATCHERS_AT_MOST", 1)
    log = ReportLog()
    with log.watching(), pytest.raises(ResourceExhausted, match="1 clients watch already"), log.watching():
        raise AssertionError("watched")
    with log.watching():
        pass


@given(st.text(max_size=40))
def test_any_token_is_refused(text):
    with pytest.raises((InvalidArgument, OutOfRange)) as caught:
        ReportLog().number(text)
    assert caught.value.field == "resume_token"


# -- nothing twice, nothing lost: any order of changes, turns of the engine, reads and lost connections ----------------


async def settled():
    """Let the loop carry out everything that it can."""
    for _ in range(8):
        await asyncio.sleep(0)


class Turns:
    """The engine's reporter, mailbox and `Engine.snapshot`, with its thread's turns one by one; and what is true.

    The change number n sets the value of a process to n, and is report number n.
    """

    def __init__(self):
        self.log = ReportLog()
        forwarder = ReportForwarder(Exchange(), self.log)
        self.reporter = Reporter(EngineListeners(forwarder.report, lambda kill: None), PlacementMetrics())
        self.calls = Calls(self.reporter.send)
        self.state: dict[int, int] = {}
        self.states = [{}]
        loop = SimpleNamespace(send_reports=self.reporter.send, calls=self.calls)
        engine = SimpleNamespace(_loop=loop, placements=self.placements, trouble="")
        engine.snapshot = lambda mark: Engine.snapshot(engine, mark)
        self.service = PlacementService(engine, InForce(*RULES), self.log)

    def placements(self):
        return tuple(Placement(pid, 1, "x", "r1", oom_score_adj=value) for pid, value in sorted(self.state.items()))

    def change(self, pid):
        number = len(self.states)
        self.state[pid] = number
        self.states.append(dict(self.state))
        self.reporter.add(report_of(pid, changes=(AdjChange(0, number),)))

    def turn(self, calls_first):
        """Carry out the calls, and send the reports; a call may also come between two events of a turn."""
        if calls_first:
            self.calls.carry_out()
        self.reporter.send()
        self.calls.carry_out()


class Follower:
    """A client that keeps the state by snapshot and reports, and checks both."""

    def __init__(self, node, wants_snapshot):
        self.node, self.wants_snapshot = node, wants_snapshot
        self.token, self.number, self.present = "", None, {}
        self.state = None
        self.watch = self.waiting = None

    def connect(self):
        request = pb.WatchRequest(snapshot=self.wants_snapshot, resume_token=self.token, bookmarks=True)
        self.watch, self.present = self.node.service.Watch(request, Context()), {}

    async def drop(self):
        if self.waiting is not None:
            self.waiting.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await self.waiting
        await self.watch.aclose()
        self.watch = self.waiting = None

    async def read(self):
        """Read one message if there is one."""
        if self.waiting is None:
            self.waiting = asyncio.ensure_future(anext(self.watch))
        await settled()
        if not self.waiting.done():
            return
        done, self.waiting = self.waiting, None
        last = self.node.log.last
        try:
            self.take(done.result())
        except OutOfRange:
            assert not self.wants_snapshot
            assert self.number < last - report_log.KEPT, "a token that is young enough was refused"
            await self.restart()
        except ResourceExhausted:
            assert self.number < last - report_log.WATCHED_AT_MOST, "too slow, though not so many waited"
            await self.restart()

    async def restart(self):
        await self.drop()
        self.token, self.number, self.state = "", None, None

    def take(self, message):
        if message.happening == "present":
            self.present[message.pid] = message.placement.oom_score_adj
            return
        number = int(message.resume_token.partition(".")[2])
        if message.happening == "synced":
            assert self.present == self.node.states[number], "the snapshot is the state at its token"
            self.state = self.present
        elif message.happening == "bookmark":
            assert self.number in (None, number), "a bookmark after a token is that token"
        else:
            assert number == self.number + 1, "a report twice, or one lost"
            assert int(message.changes[0].after) == number
            if self.state is not None:
                self.state[message.pid] = number
                assert self.state == self.node.states[number]
        self.token, self.number = message.resume_token, number


ACTIONS = st.one_of(
    st.tuples(st.just("change"), st.integers(1, 3)),
    st.tuples(st.just("turn"), st.booleans()),
    st.tuples(st.sampled_from(["connect", "read", "read", "read", "drop"]), st.integers(0, 2)),
)


async def act(node, followers, what, value):
    """Carry out one action, if it is possible now."""
    if what == "change":
        return node.change(value)
    if what == "turn":
        return node.turn(value)
    follower = followers[value]
    if what == "connect":
        return follower.watch is None and follower.connect()
    return follower.watch is not None and await getattr(follower, what)()


async def follow(actions):
    """Carry out the actions on a node with three followers, of which two want snapshots, and check them at the end."""
    node = Turns()
    followers = [Follower(node, wants_snapshot=at < 2) for at in range(3)]
    for what, value in actions:
        await act(node, followers, what, value)
    for at, follower in enumerate(followers):  # in the end each one knows everything
        for _ in range(12):
            await act(node, followers, "connect", at)
            node.turn(calls_first=True)
            await follower.read()
        assert follower.number == node.log.last == len(node.states) - 1
        assert follower.state in (None, node.state)
    for follower in followers:
        await follower.drop()
    node.calls.close()


@pytest.fixture
def short_log(monkeypatch):
    monkeypatch.setattr(report_log, "KEPT", 3)
    monkeypatch.setattr(report_log, "WATCHED_AT_MOST", 6)


@pytest.mark.usefixtures("short_log")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTIONS, max_size=60))
def test_what_a_follower_knows_is_the_state_at_its_token(actions):
    asyncio.run(follow(actions))


BEGUN = (("connect", 0), ("read", 0))
STEPS = (("change", 1), ("turn", True), ("turn", False), ("read", 0))


@pytest.mark.usefixtures("short_log")
async def test_no_order_of_four_steps_around_a_snapshot_loses_a_report_or_gives_it_twice():
    for steps in product(STEPS, repeat=4):
        await follow((*BEGUN, *steps))


@pytest.mark.usefixtures("short_log")
async def test_no_order_of_four_steps_around_a_lost_connection_does_either():
    for before, after in product(product(STEPS, repeat=2), repeat=2):
        await follow((*BEGUN, ("turn", True), ("read", 0), *before, ("drop", 0), *after, *BEGUN))
