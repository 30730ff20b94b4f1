"""A watch that continues by itself: over real servers that go and come back, with both clients."""

import asyncio
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager, closing

import pytest
from holdfast.api.placement.v1 import placement_pb2 as pb
from holdfast.client import Client, SyncClient, resumption
from holdfast.client.resumption import Resumption
from holdfast.errors import OutOfRange, Unreachable
from holdfast.node.model.placement import Happening, Report
from holdfast.plugins.node.placement.report_log import ReportLog
from holdfast.plugins.node.placement.service import PlacementService

from tests.fakes.engine import RULES, InForce, StandIn, serving
from tests.running import async_until

CLIENTS = pytest.mark.parametrize("kind", [Client, SyncClient])


class Run:
    """One run of a daemon: a service with a log of its own."""

    def __init__(self, address):
        self._address = address
        self.forget()

    def forget(self):
        """Be another run, without the reports of this one."""
        engine = StandIn()
        engine.snapshot = lambda mark: self._taken(engine, mark)
        self.log = ReportLog()
        self.service = PlacementService(engine, InForce(*RULES), self.log)

    def _taken(self, engine, mark):
        future = Future()
        future.set_result((engine.placed, mark()))
        return future

    def tell(self, pid):
        self.log.append(Report(Happening.HELD, pid, 1, "x", "r1"))
        self.log.wake()

    async def start(self):
        self._serving = serving(self.service, self._address)
        await self._serving.__aenter__()

    async def stop(self):
        await self._serving.__aexit__(None, None, None)

    async def watched(self):
        await async_until(lambda: self.log.is_watched, "the watch")


@asynccontextmanager
async def watching(kind, address, **options):
    """A function that begins to read the next report."""
    if kind is Client:
        async with Client(str(address)) as client, aclosing(client.watch(**options)) as reports:
            yield lambda: asyncio.ensure_future(anext(reports))
    else:
        with SyncClient(str(address)) as client, closing(client.watch(**options)) as reports:
            yield lambda: asyncio.ensure_future(asyncio.to_thread(next, reports))


@pytest.fixture
def address(short_dir):
    return short_dir / "s"


@pytest.fixture
async def run(address):
    run = Run(address)
    await run.start()
    yield run
    await run.stop()


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    monkeypatch.setattr(resumption, "PAUSE_S", 0.02)


@CLIENTS
async def test_a_lost_connection_loses_no_report_and_gives_none_twice(kind, address, run):
    async with watching(kind, address) as read:
        one = read()
        await run.watched()
        run.tell(1)
        assert (await one).pid == 1
        two = read()
        await run.stop()
        run.tell(2)
        run.tell(3)
        await run.start()
        assert [(await two).pid, (await read()).pid] == [2, 3]


@CLIENTS
async def test_a_connection_lost_before_the_first_report_is_made_again_where_the_watch_began(kind, address, run):
    async with watching(kind, address) as read:
        one = read()
        await run.watched()
        await asyncio.sleep(0.2)  # the bookmark arrives
        await run.stop()
        run.tell(1)
        await run.start()
        assert (await one).pid == 1


@CLIENTS
async def test_another_run_of_the_daemon_begins_with_a_snapshot_if_there_was_one(kind, address, run):
    async with watching(kind, address, snapshot=True) as read:
        assert [(await read()).happening for _ in range(2)] == ["present", "synced"]
        one = read()
        await run.stop()
        run.forget()
        await run.start()
        assert [(await one).happening, (await read()).happening] == ["present", "synced"]


@CLIENTS
async def test_another_run_of_the_daemon_ends_a_watch_without_a_snapshot(kind, address, run):
    async with watching(kind, address) as read:
        one = read()
        await run.watched()
        await asyncio.sleep(0.2)
        await run.stop()
        run.forget()
        await run.start()
        with pytest.raises(OutOfRange) as caught:
            await one
        assert caught.value.reason == "RESUME_TOKEN_EXPIRED"


@CLIENTS
async def test_a_program_continues_at_its_own_token(kind, address, run):
    token = run.log.token(0)
    run.tell(1)
    async with watching(kind, address, resume_token=token) as read:
        assert (await read()).pid == 1


@CLIENTS
async def test_a_daemon_that_stays_away_is_unreachable(kind, address, run, monkeypatch):
    monkeypatch.setattr(resumption, "RESUMES_S", 0.3)
    async with watching(kind, address) as read:
        one = read()
        await run.watched()
        await asyncio.sleep(0.2)
        await run.stop()
        with pytest.raises(Unreachable):
            await one
        await run.start()


def test_half_a_snapshot_is_not_for_the_caller():
    place, lost = Resumption("", snapshot=True, resume_token=""), Unreachable("gone")
    present, other = pb.Report(happening="present", pid=1), pb.Report(happening="present", pid=2)
    synced = pb.Report(happening="synced", resume_token="t.1")
    assert place.arrived(present) == []
    assert place.pause_s(lost, 0.0) == resumption.PAUSE_S
    assert (place.arrived(other), place.arrived(synced)) == ([], [other, synced])
    assert place.request.resume_token == "t.1"


def test_a_quiet_hour_between_two_lost_connections_does_not_end_a_watch():
    """What counts is the time without a connection, and a new one begins with a bookmark."""
    place, lost = Resumption("", snapshot=False, resume_token=""), Unreachable("x: cannot connect")
    for hour in range(3):
        assert place.arrived(pb.Report(happening="bookmark", resume_token="t.1")) == []
        for second in range(0, int(resumption.RESUMES_S), 10):
            assert place.pause_s(lost, 3600.0 * hour + second) == resumption.PAUSE_S


def test_a_watch_that_has_not_begun_or_has_no_token_is_not_made_again():
    lost = Unreachable("gone")
    with pytest.raises(Unreachable):
        Resumption("", snapshot=True, resume_token="t.1").pause_s(lost, 0.0)
    older = Resumption("", snapshot=False, resume_token="")
    assert older.arrived(pb.Report(happening="held")) == [pb.Report(happening="held")]
    with pytest.raises(Unreachable):
        older.pause_s(lost, 0.0)
