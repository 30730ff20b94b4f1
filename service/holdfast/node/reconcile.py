"""The one loop: exec event | sweep | reload | somebody's call → process → plan → journal → host → report.

Theory
------
* One thread owns everything that is decided. It sleeps in poll until the kernel has an event, a call comes, or a
  sweep is due; on an idle node that is all it ever does.
* Events are for speed, sweeps are for truth. A sweep reads every process; it comes at the start, after new rules,
  when events were lost or the feed was dead, and every ``rescan_s``. It goes in slices, and between two slices the
  events that came meanwhile are served.
* Moves are somebody else's (`mover`): a move may wait 14 ms in the kernel, an ``oom_score_adj`` must not.
* Whoever serves the API calls from other threads. What changes anything is handed to the engine's thread and
  answered by a future; what only looks, looks with a reader of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from functools import partial
from math import inf
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from holdfast import log
from holdfast.cgroups import Hierarchy
from holdfast.errors import FailedPrecondition, HoldfastError, NotFound
from holdfast.node import adopt, by_hand
from holdfast.node.act import Hands
from holdfast.node.children import children_of
from holdfast.node.feed import Feed
from holdfast.node.host import Host
from holdfast.node.journal import HandRow, Journal, SettingRow
from holdfast.node.keeper import Keeper
from holdfast.node.kills import Kills
from holdfast.node.killwatch import KillWatch, Witness
from holdfast.node.machine import innermost_limit, members_below, read_domains, read_host
from holdfast.node.mover import Mover
from holdfast.node.pressure import Pressure, read_pressure
from holdfast.node.procconn import BATCH, Lost
from holdfast.node.procfs import EVERYTHING, Reader
from holdfast.node.record import Cause, Happening, Placement, Report, Restored, Status, Sweep
from holdfast.node.restore import give_back
from holdfast.node.rules import Rules
from holdfast.node.snapshot import HostFacts, Kill, Lineage, MemoryDomain, PodLookup, Process
from holdfast.node.sweep import Sweeps
from holdfast.node.tally import Tally
from holdfast.node.urgency import be_prompt
from holdfast.process import ProcRoot, oomscore

LOG = log.named(__name__)
T = TypeVar("T")
FETCH_MS = 25  # what the mover did is noted at the next event, or after this: longer than a move may wait
FLOOD = 64  # batches of events before calls and moves get their turn
HISTORY_S = 1.0  # after the start: the kernel log is up to 3,000 records of the past, and 10 ms of the interpreter
TROUBLE_S = 0.1  # before the next turn, when one failed
MOST_WAITING = 256  # moves in the queue, each with an open process, before a sweep waits


class Surroundings(Struct, frozen=True):
    """Where the machine is found, and how often all of it is looked at."""

    proc_root: str
    kmsg: str
    rescan_s: float


class Listeners(Struct, frozen=True):
    """Called on the engine's thread; they must not block."""

    report: Callable[[Report], None]
    kill: Callable[[Kill], None]


class Engine:
    """The engine; see `record` for its face. Owns the thread, the feed, the mover; is handed what outlives it."""

    def __init__(
        self,
        at: Surroundings,
        hierarchy: Hierarchy,
        journal: Journal,
        kills: Kills,
        listeners: Listeners,
        pods: PodLookup | None = None,
    ) -> None:
        self.kills, self.tally = kills, Tally()
        self._at, self._hierarchy, self._journal, self._pods, self._listeners = at, hierarchy, journal, pods, listeners
        self._proc = ProcRoot(at.proc_root)
        self._facts = read_host(at.proc_root, hierarchy)
        self._host = Host(self._proc, hierarchy, journal)
        self._mover = Mover(self._host)
        self._news: list[Report] = []
        hands = Hands(Reader(self._proc, pods), self._host, journal, self._mover.submit, self._news.append, self.tally)
        self._keeper = Keeper(hands, self._facts)
        self._feed = Feed(at.proc_root, at.rescan_s, self.tally)
        self._watch = KillWatch(at.kmsg, hierarchy, self._facts, kills)
        self._witness = Witness(
            self._keeper.placements.get,
            partial(innermost_limit, hierarchy),
            lambda: self._pressure,
            hands.reader,
            pods,
        )
        self._pressure: tuple[Pressure, ...] = ()
        self._calls: deque[Callable[[], None]] = deque()
        self._poll, self._polled = select.poll(), (-2, -2, -2)
        self._listens_from = 0.0  # monotonic: when the kernel log is waited for, too
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="holdfast-engine", daemon=True)
        self._followed: frozenset[int] = frozenset()
        self._stopping = self._finished = False
        self._trouble = ""  # the last told
        self._sweeps = Sweeps(at.rescan_s, self._keeper, hierarchy, self._before_sweep, self._after_sweep)
        self._started_ns = time.time_ns()
        self.tally.placements = lambda: list(self._keeper.placements.values())
        self.tally.waiting = lambda: self._mover.waiting
        self.tally.pressure = lambda: read_pressure(f"{at.proc_root}/pressure")

    # -- the face, for any thread ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads; the first thing they do is a full sweep."""
        atexit.register(self._feed.close)  # a listener that ends without IGNORE stays counted
        self._mover.start()
        self._thread.start()

    def stop(self, *, restore: bool = False) -> None:
        """Finish the moves that wait, give everything back if so wanted, end the threads. Blocks for milliseconds.

        The second call is nothing.
        """
        if self._event < 0:
            return

        def stop() -> None:
            self._stopping = True

        if self._thread.is_alive():
            self._hand_over(stop)
            self._thread.join()
        self._mover.stop()
        if restore:
            restored = give_back(self._proc, self._host, self._journal)
            LOG.info("gave back what was held", values=restored.given_back, left=restored.left, failed=restored.failed)
        atexit.unregister(self._feed.close)
        os.close(self._event)
        self._event = -1
        self._proc.close()

    def set_rules(self, rules: Rules) -> Future[None]:
        """Decide by these from now on. Done when they are in force; the sweep that follows may still go."""

        def set_rules() -> None:
            self._keeper.set_rules(rules)
            self._keeper.followed_changed = True  # other rules may ask for other events
            self._follow()
            self._sweeps.want(Cause.RELOAD)

        return self._call(set_rules)

    def sweep(self) -> Future[Sweep]:
        """Look at every process now; done when that is."""
        done: Future[Sweep] = Future()
        self._hand_over(lambda: self._sweeps.ask(done))
        return done

    def look_at(self, groups: Collection[str]) -> None:
        """Decide anew about whoever is in these cgroups or below: their pod is another than was known."""
        self._hand_over(lambda: self._look_at(groups))

    def hold(self, pid: int, start_ticks: int | None, adj: int, ttl_s: float, why: str) -> Future[Placement]:
        """Hold a process's ``oom_score_adj`` by hand, for a time; the rules' word on it does not count meanwhile.

        ``start_ticks`` None: whoever has the number now.

        Raises (in the future):
            InvalidArgument: out of range.
            FailedPrecondition: ourselves or pid 1; or the kernel said no.
            ProcessGone: it ended.
        """

        def hold() -> Placement:
            oomscore.check(adj)
            if pid in (1, self._facts.own_pid):
                raise FailedPrecondition(
                    f"{pid} is not held by hand: it is {'init' if pid == 1 else 'holdfast itself'}"
                )
            expires_ns = time.time_ns() + int(ttl_s * 1e9)
            ticks = self._keeper.hands.reader.glance(pid).start_ticks if start_ticks is None else start_ticks
            return by_hand.hold(self._keeper, HandRow(pid, ticks, adj, expires_ns, why))

        return self._call(hold)

    def adopt(self, pid: int, asked: int, written: int, rule: str) -> Future[None]:
        """Hold a process that a container runtime created with a rule's value, in place of what it was asked for."""
        return self._call(lambda: adopt.adopt(self._keeper, pid, asked, written, rule))

    def adopt_files(self, rows: Sequence[SettingRow]) -> Future[None]:
        """Files of a group that a container runtime wrote for a rule, as if we had written them."""
        return self._call(lambda: adopt.adopt_files(self._keeper, rows))

    def release(self, pid: int) -> Future[Placement | None]:
        """End a hold by hand: back to what the rules say; None when they say nothing.

        Raises (in the future):
            NotFound: it is not held by hand.
        """

        def release() -> Placement | None:
            if not by_hand.release(self._keeper, pid):
                raise NotFound(f"hold on process {pid}")
            placement = self._keeper.placements.get(pid)
            return replace(placement) if placement is not None else None

        return self._call(release)

    def restore(self, rule: str | None = None, pid: int | None = None) -> Future[Restored]:
        """Give back everything, or what one rule or one process was given; it stays so until rules are set again."""
        return self._call(lambda: self._restore(rule, pid))

    def placements(self) -> tuple[Placement, ...]:
        """Copies of all, by pid."""
        known = list(self._keeper.placements.values())
        return tuple(replace(placement) for placement in sorted(known, key=lambda placement: placement.pid))

    def process(self, pid: int) -> Process:
        """Everything about one process, ancestors included.

        Raises:
            ProcessGone: nobody has the number.
        """
        reader = Reader(self._proc, self._pods)
        with self._proc.open(pid) as opened:
            glance = reader.glance_of(opened)
            facts = reader.facts(glance, EVERYTHING, self._keeper.actor.held(pid, glance.start_ticks), opened)
        return reader.with_ancestors(facts, Lineage.ALL, EVERYTHING, self._keeper.actor.held)

    def processes(self) -> tuple[Process, ...]:
        """Everything about every process: 0.1 ms each, so for a thread of its own."""
        reader = Reader(self._proc, self._pods)
        return reader.everybody(self._keeper.actor.held)

    def host_facts(self) -> HostFacts:
        """The machine now."""
        return read_host(self._at.proc_root, self._hierarchy)

    def domains(self) -> tuple[MemoryDomain, ...]:
        """Where an OOM can happen: the node first."""
        return read_domains(self._hierarchy, self._facts)

    def pressure(self) -> tuple[Pressure, ...]:
        """The node's pressure now."""
        return read_pressure(f"{self._at.proc_root}/pressure")

    @property
    def rules(self) -> Rules:
        """Those in force."""
        return self._keeper.rules

    def status(self) -> Status:
        """The engine at a glance."""
        return Status(
            self._thread.is_alive() and not self._finished,
            self._feed.why_not,
            self._sweeps.last,
            self._mover.waiting,
            frozenset(self._keeper.suspended),
        )

    # -- the engine's thread ---------------------------------------------------------------------------------------

    def _call(self, act: Callable[[], T]) -> Future[T]:
        done: Future[T] = Future()

        def run() -> None:
            if done.set_running_or_notify_cancel():
                try:
                    answer = act()
                    self._tell()
                    done.set_result(answer)
                except BaseException as error:
                    done.set_exception(error)

        self._hand_over(run)
        return done

    def _hand_over(self, act: Callable[[], None]) -> None:
        self._calls.append(act)
        self._wake()

    def _wake(self) -> None:
        os.eventfd_write(self._event, 1)

    def _run(self) -> None:
        with contextlib.suppress(OSError), open(f"{self._at.proc_root}/thread-self/comm", "wb", buffering=0) as file:
            file.write(b"hf-engine")  # for top -H
        be_prompt()
        try:
            self._keeper.recall()
            self._feed.open()
            self._watch.open()
            self._listens_from = time.monotonic() + HISTORY_S
            while not self._stopping:
                self._take_turn()
        except Exception as error:
            LOG.error("the placement engine ended", error=f"{type(error).__name__}: {error}")
            raise
        finally:
            self._finished = True
            self._feed.close()
            self._watch.close()
            self._sweeps.give_up()

    def _take_turn(self) -> None:
        """A turn that fails, for a journal on a full disk most likely, is no end; what it left is the next sweep's."""
        try:
            self._turn()
        except HoldfastError as error:
            if str(error) != self._trouble:
                LOG.error("the placement engine could not do all it had to", error=error)
            self._trouble = str(error)
            time.sleep(TROUBLE_S)

    def _turn(self) -> None:
        """One turn: wait, then everything that waits, then a slice of the sweep if one is going."""
        if self._feed.fileno() != self._polled[0] or (self._unheard() and time.monotonic() >= self._listens_from):
            self._poll_again()
        for descriptor, _ in self._poll.poll(self._patience_ms()):  # in the order of `_poll_again`
            if descriptor == self._polled[0]:
                self._serve_events()
            elif descriptor == self._event:
                os.eventfd_read(self._event)
            else:
                self._tell_kills(self._watch.read(self._witness))
        while self._calls:
            self._calls.popleft()()
        if self._keeper.by_hand:
            by_hand.expire(self._keeper, time.time_ns())
        if self._mover.waiting <= MOST_WAITING:
            self._sweeps.step()
        self._mover.kick()
        for outcome in self._mover.outcomes():
            self._keeper.on_outcome(outcome)
        if self._news:
            self._tell()

    def _tell(self) -> None:
        """What happened, to whoever listens; never between an event and its write."""
        for report in self._news:
            self._listeners.report(report)
        self._news.clear()

    def _poll_again(self) -> None:
        """Wait for what there is to wait for now: the feed comes and goes."""
        self._poll = select.poll()
        listens = time.monotonic() >= self._listens_from
        self._polled = (self._feed.fileno(), self._watch.fileno() if listens else -1, self._event)
        for descriptor in self._polled:
            if descriptor >= 0:
                self._poll.register(descriptor, select.POLLIN)

    def _unheard(self) -> bool:
        """Whether the kernel log is open and not waited for yet."""
        return self._polled[1] < 0 <= self._watch.fileno()

    def _patience_ms(self) -> float:
        """How long nothing needs to be done unless something comes."""
        if self._sweeps.pending and self._mover.waiting <= MOST_WAITING:
            return 0
        if not self._mover.idle:
            return FETCH_MS
        due = min(self._sweeps.due, self._listens_from if self._unheard() else inf) - time.monotonic()
        for row in self._keeper.by_hand.values():
            due = min(due, (row.expires_ns - time.time_ns()) / 1e9)
        return max(0.0, due * 1000) + 1

    def _serve_events(self) -> None:
        """Everything that waits, each process written to at once; moves and reports come after."""
        on_event = self._keeper.on_event
        for _ in range(FLOOD):
            try:
                events = self._feed.read()
            except Lost:
                self._sweeps.want(Cause.LOST_EVENTS)
                continue
            for event in events:
                on_event(event.pid, event.at_ns)
            if self._keeper.followed_changed:
                self._follow()
            if len(events) < BATCH:
                return

    def _look_at(self, groups: Collection[str]) -> None:
        for pid in members_below(self._hierarchy, groups):
            self._keeper.on_event(pid, 0)
        if self._keeper.followed_changed:
            self._follow()

    def _follow(self) -> None:
        """Have forks of the followed told from now on, then look at whom the new among them started before."""
        uids = any(rule.spec.match.user != () for rule in self._keeper.rules.rules)
        while self._keeper.followed_changed:
            self._keeper.followed_changed = False
            new = self._keeper.followed - self._followed
            self._followed = frozenset(self._keeper.followed)
            self._feed.follow(self._followed, uids=uids)
            for pid in new:
                for child in children_of(self._at.proc_root, pid):
                    self._keeper.look_at(child)

    def _before_sweep(self, cause: Cause) -> Cause:
        """Is the feed alive, and how is the pressure; the cause under which the sweep is counted."""
        was_open = not self._feed.why_not
        alive = self._feed.alive()
        self._pressure = read_pressure(f"{self._at.proc_root}/pressure")
        return Cause.NO_HEARTBEAT if was_open and not alive else cause

    def _after_sweep(self, sweep: Sweep) -> None:
        if self._keeper.followed_changed:
            self._follow()
        self._tell_kills(self._watch.count(self._witness))
        self.tally.sweeps.inc(sweep.cause)
        self.tally.sweep_seconds.labels().observe(sweep.seconds)
        self._tell()

    def _tell_kills(self, kills: list[Kill]) -> None:
        for kill in kills:
            if kill.at_ns < self._started_ns:  # from before us: for the record, not news
                continue
            self.tally.kill(kill)
            LOG.warning(
                "OOM kill", pid=kill.pid, comm=kill.comm, domain=kill.domain, cgroup=kill.group, rule=kill.rule or ""
            )
            self._listeners.kill(kill)

    def _restore(self, rule: str | None, pid: int | None) -> Restored:
        keeper = self._keeper
        if pid is not None:
            keeper.let_go(pid)
        else:
            keeper.suspended.update((rule,) if rule is not None else keeper.rules.names)
        self._mover.drain()
        restored = give_back(self._proc, self._host, self._journal, rule=rule, pid=pid)
        for placement in list(keeper.placements.values()):
            if rule in (None, placement.rule) and pid in (None, placement.pid):
                keeper.forget(placement.pid)
                keeper.actor.report(Happening.RELEASED, placement, (), "restored")
        return restored
