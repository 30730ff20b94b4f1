"""The engine's loop: exec event | rescan | reload | call → process → plan → journal → host → report.

Theory
------
* One thread owns all decisions. It sleeps in poll until the kernel has an event, a call comes, or a rescan is due. On
  an idle node it does nothing else.
* Events are for speed, rescans are for truth. A rescan reads every process. It comes at the start, after new rules,
  when events were lost or the feed was dead, and every ``rescan_s``. It goes in slices, and between two slices the
  waiting events are served.
* `mover` makes the moves: a move may wait 14 ms in the kernel, an ``oom_score_adj`` must not.
* `reconciler` decides what follows for a process, without I/O; `examiner` reads for it and carries the decision out.
* The API is served on other threads (`engine`): a call that changes anything is handed over, and done here.
"""

from __future__ import annotations

import atexit
import contextlib
import select
import sys
import threading
import time
import traceback
from collections.abc import Collection
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from msgspec import Struct

from holdfast import log
from holdfast.cgroups import Hierarchy
from holdfast.errors import HoldfastError
from holdfast.node.apply.executor import Executor
from holdfast.node.apply.metrics import PlacementMetrics
from holdfast.node.apply.mover import Mover
from holdfast.node.engine.attribution import attribution
from holdfast.node.engine.cost_limit import MANY
from holdfast.node.engine.cpu_share import CpuShare
from holdfast.node.engine.event_limits import EventLimits
from holdfast.node.engine.examiner import Examiner
from holdfast.node.engine.feed import Feed
from holdfast.node.engine.mailbox import Calls
from holdfast.node.engine.performer import EngineContext
from holdfast.node.engine.reconciler import Reconciler
from holdfast.node.engine.reporter import EngineListeners, Reporter
from holdfast.node.engine.scheduling import be_prompt
from holdfast.node.engine.sweep import Sweeps
from holdfast.node.journal.journal import Journal
from holdfast.node.model.placement import Cause, Sweep
from holdfast.node.model.process import PodLookup
from holdfast.node.oom.store import Kills
from holdfast.node.oom.watch import KillContext, KillWatch
from holdfast.node.proc.children import children_of
from holdfast.node.proc.connector import BATCH, EventsLost
from holdfast.node.proc.deadline import DeadlineReads
from holdfast.node.proc.evidence import EvidenceReader
from holdfast.node.proc.host import innermost_limit, members_below, read_host
from holdfast.node.proc.pressure import Pressure, read_pressure
from holdfast.node.proc.reader import ProcReader
from holdfast.node.rule.ruleset import Rules
from holdfast.process import OpenProcess, ProcRoot, heap

LOG = log.named(__name__)
T = TypeVar("T")
FETCH_MS = 100  # the mover's results are taken at the next event, or after this: to wake for each costs as much again
FLOOD = 64  # batches of events before calls and moves are served
EVENTS_SHARE = 5  # events take one part in so many of a processor in the long run,
BURST_S = 0.25  # may take this much at once,
REST_S = 0.05  # and wait no longer than this; the kernel keeps thousands
TURN_S = 1.0  # of what events lead to, before others are served
TROUBLE_S = 0.1  # before the next turn, when one failed
MOST_FAILURES = 50  # turns in a row that fail by a mistake of ours, then the engine ends
ENDS_S = 5.0  # for the thread to end; a thread that hangs is left until the process ends
FORKS_S = 2.0  # between two reads of the forks, if nothing else happens
MOST_LOOKED = 256  # processes of a container that started; the rescan examines the others
MOST_WAITING = 256  # moves in the queue, each with an open process, before a rescan waits
CATCH_UP_MS = 5  # the time that it waits before it checks whether there are fewer


class EngineSettings(Struct, frozen=True):
    """The places where the facts of the machine are read, and the seconds between two rescans."""

    proc_root: str
    kmsg: str
    rescan_s: float


class Loop:
    """The thread and all it owns: the feed, the rescans, the mover, the examiner. The arguments outlive it."""

    def __init__(
        self,
        settings: EngineSettings,
        hierarchy: Hierarchy,
        journal: Journal,
        kills: Kills,
        listeners: EngineListeners,
        pods: PodLookup | None = None,
    ) -> None:
        self.settings, self.hierarchy, self.journal = settings, hierarchy, journal
        self.kills, self.pods = kills, pods
        self.metrics, self.proc = PlacementMetrics(), ProcRoot(settings.proc_root)
        self.facts = read_host(settings.proc_root, hierarchy)
        self.executor = Executor(self.proc, hierarchy, journal)
        self.mover = Mover(self.executor)
        self._reporter = Reporter(listeners, self.metrics)
        self.slow = DeadlineReads(settings.proc_root, self._readable_again)
        reader, evidence = ProcReader(self.proc, pods, self.slow), EvidenceReader(self.proc, hierarchy)
        self._limits = EventLimits(reader, hierarchy)
        self.examiner = self._make_examiner(reader, evidence)
        self.feed = Feed(settings.proc_root, settings.rescan_s, self.metrics)
        self._watch = KillWatch(settings.kmsg, hierarchy, self.facts, kills)
        self._kill_context = self._make_kill_context(reader, evidence)
        self._pressure: tuple[Pressure, ...] = ()
        self.calls = Calls(self._reporter.send)
        self._poll, self._polled = select.poll(), (-2, -2)
        self._thread = threading.Thread(target=self._run, name="holdfast-engine", daemon=True)
        self._followed: frozenset[int] = frozenset()
        self._serving = CpuShare(EVENTS_SHARE, BURST_S, REST_S)
        self._stopping = self._is_missing_forks = False
        self._trouble, self._failures = "", 0  # the last one logged, and how many in a row
        self._busy_since = 0.0  # monotonic; 0 while it waits for something to do
        self.ended: Future[None] = Future()
        self.sweeps = Sweeps(settings.rescan_s, self.examiner, self._before_sweep, self._after_sweep)
        self._ruled: set[int] | None = None  # the pids under a rule when rules were set, until the rescan that follows
        self._show_in_metrics()

    def _make_examiner(self, reader: ProcReader, evidence: EvidenceReader) -> Examiner:
        context = EngineContext(
            reader,
            evidence,
            self.executor,
            self.mover,
            self._reporter.add,
            self.metrics,
            self._forks,
            allows=self._allows,
        )
        return Examiner(context, Reconciler(self.journal.table, self.facts, self.pods))

    def _make_kill_context(self, reader: ProcReader, evidence: EvidenceReader) -> KillContext:
        return KillContext(
            partial(attribution, self.examiner),
            self.examiner.reconciler.placement,
            partial(innermost_limit, self.hierarchy),
            lambda: evidence.kubelet_root,
            lambda: self._pressure,
            reader,
            self.pods,
        )

    def _show_in_metrics(self) -> None:
        """Let the metrics read the counts that others keep."""
        self.metrics.walks_cut = lambda: self.hierarchy.walks_cut
        self.metrics.unreadable_now = lambda: self.slow.unreadable
        self.metrics.unreadable_ever = lambda: self.slow.hung
        self._limits.show_in(self.metrics)

    # -- for any thread ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads; they begin with a full rescan."""
        atexit.register(self.feed.close)  # a listener that ends without IGNORE stays counted
        self._busy_since = time.monotonic()
        self.mover.start()
        self._thread.start()

    @property
    def is_started(self) -> bool:
        """Whether the thread was started; until then its creator may change what it owns."""
        return self._thread.ident is not None

    @property
    def is_running(self) -> bool:
        """Whether the threads work. ``ended`` says how the engine's thread ended."""
        return self._thread.is_alive() and not self.ended.done() and self.mover.is_running

    @property
    def busy_s(self) -> float:
        """Seconds that the thread has spent in one turn, or the mover on one order; 0 while they wait or have ended."""
        since = self._busy_since
        if not self.is_running:
            return 0.0
        return max(time.monotonic() - since if since else 0.0, self.mover.busy_s)

    def where(self) -> str:
        """Return the file and line that the thread executes now; empty when it has ended."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""

    @property
    def is_closed(self) -> bool:
        """Whether the loop was ended."""
        return self.calls.fileno() < 0

    def end(self) -> bool:
        """Finish the waiting moves and end the threads. Blocks for milliseconds; False: a thread hangs, and is left.

        Process events are still subscribed to; see `close`.
        """

        def stop() -> None:
            self._stopping = True

        if self._thread.is_alive():
            self.calls.tell(stop)
            self._thread.join(ENDS_S)
        self.calls.end()
        if self._thread.is_alive() or not self.mover.stop(ENDS_S):
            return False
        self.calls.close()
        self.slow.close()
        return True

    def close(self) -> None:
        """Unsubscribe from process events, after everything is restored: until then processes fork."""
        atexit.unregister(self.feed.close)
        self.feed.close()
        self.journal.tidy()  # what found no room until now
        self.proc.close()

    def _readable_again(self, pid: int) -> None:
        """Examine a process on the engine's thread; called on a reading thread.

        The rule of the process may have depended on its command line, which could not be read before.
        """
        self.calls.tell(lambda: self.examiner.examine(pid))

    # -- on the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with (
            contextlib.suppress(OSError),
            open(f"{self.settings.proc_root}/thread-self/comm", "wb", buffering=0) as file,
        ):
            file.write(b"hf-engine")  # for top -H
        be_prompt()
        error: Exception | None = None
        try:
            self.feed.open()
            self.examiner.find_all_heirs()
            self._watch.open()
            while not self._stopping:
                self._take_turn()
        except Exception as raised:
            LOG.error("the placement engine ended", error=f"{type(raised).__name__}: {raised}")
            error = raised
        self._watch.close()
        self.sweeps.give_up()
        if error is None:
            self.ended.set_result(None)
        else:
            self.feed.close()
            self.ended.set_exception(error)
            self.calls.end()

    def _take_turn(self) -> None:
        """Take a turn. A turn that fails does not end the loop: most likely the journal's disk is full.

        A rescan does what the failed turn left undone.
        """
        try:
            self._turn()
            self._failures = 0
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
            if trouble != self._trouble:
                where = traceback.extract_tb(error.__traceback__)[-1]
                at = f"{where.filename}:{where.lineno}"
                LOG.error("placement: some changes failed", error=trouble, at=at)
            self._trouble = trouble
            self._failures += 1
            if self._failures >= MOST_FAILURES and not isinstance(error, HoldfastError):
                raise
            self.sweeps.want(Cause.LOST_EVENTS)  # for the events that it had read
            time.sleep(TROUBLE_S)

    def _turn(self) -> None:
        """Take one turn: wait, then serve everything that waits, then do a slice of the rescan under way."""
        if (self.feed.fileno(), self._watch.fileno()) != self._polled:
            self._poll_again()
        patience_ms = self._patience_ms()
        self._busy_since = 0.0
        ready = self._poll.poll(patience_ms)  # in the order of `_poll_again`
        self._busy_since = time.monotonic()
        self.examiner.limit_turn(TURN_S)
        served = False
        for descriptor, _ in ready:
            if descriptor == self._polled[0]:
                with self._serving:
                    self._serve_events()  # which takes the forks before them
                served = True
            elif descriptor == self._polled[1]:
                self._take_forks()  # the killed process may have been forked a moment ago
                self._reporter.send_kills(self._watch.read(self._kill_context), self._watch.is_past)
            else:
                self.calls.heard()
        if not served or self.sweeps.pending:
            self._take_forks()
        if self.calls.waiting:
            self.examiner.limit_turn(0)  # a request is answered when all that it asks for is done
            self.calls.carry_out()
            self.examiner.limit_turn(TURN_S)
        if self.examiner.journal.table.overridden:
            self.examiner.expire(self.examiner.context.now())
        if self.mover.waiting <= MOST_WAITING:
            self.sweeps.step()
        self.mover.kick()
        for carried in self.mover.results():
            try:
                self.examiner.on_carried(carried)
            except Exception as error:  # the error of one process must not lose the others' results
                self.examiner.log_unreadable(carried.order.pid, error)
        self._reporter.send()
        self.mover.wake()

    def _poll_again(self) -> None:
        """Register the present descriptors with poll: the feed comes and goes, the kernel log comes."""
        self._poll = select.poll()
        self._polled = (self.feed.fileno(), self._watch.fileno())
        for descriptor in (*self._polled, self.calls.fileno()):
            if descriptor >= 0:
                self._poll.register(descriptor, select.POLLIN)

    def _patience_ms(self) -> float:
        """Return the milliseconds for which nothing needs to be done unless something comes."""
        if self.examiner.is_behind:
            return 0
        if self.sweeps.pending:
            return 0 if self.mover.waiting <= MOST_WAITING else CATCH_UP_MS
        if not self.mover.idle:
            return FETCH_MS
        due = min(self.sweeps.due, self._watch.due) - time.monotonic()
        if self.feed.tells_forks:  # no thread is woken for them, and the kernel keeps some thousands
            due = min(due, FORKS_S)
        overridden = list(self.examiner.journal.table.overridden.values())
        if overridden:
            now = self.examiner.context.now()
            due = min(due, min(row.left_ns(now.unix_ns, now.ticks) for row in overridden) / 1e9)
        return max(0.0, due * 1000) + 1

    def _forks(self) -> list[tuple[int, int]]:
        """Return the forks since the last call; they matter only while a process has something of ours."""
        if not self.examiner.reconciler.descent:
            return []
        try:
            return self.feed.forks()
        except EventsLost:
            self._is_missing_forks = True
            return []

    def _take_forks(self, served: Collection[int] = ()) -> None:
        self.examiner.take_forks(served)
        if self._is_missing_forks:
            self._is_missing_forks = False
            self.examiner.find_all_heirs()

    def _serve_events(self) -> None:
        """Serve waiting events, each process written to at once; moves and reports come after.

        It ends after `FLOOD` batches, or when the share of the processor is used up.
        """
        on_event, allows, performer = self.examiner.on_event, self._limits.of_event.allows, self.examiner.performer
        for _ in range(FLOOD):
            try:
                events = self.feed.read()
            except EventsLost:
                self.sweeps.want(Cause.LOST_EVENTS)
                continue
            self._take_forks({event.pid for event in events})
            now = time.monotonic()
            for event in events:
                if allows(event.parent or event.pid, now):  # a fork is made by the parent
                    before, began_s = performer.examined, time.thread_time()
                    on_event(event.pid, event.at_ns)
                    looks = performer.examined - before
                    if looks >= MANY:
                        took_s = time.thread_time() - began_s  # its own: others of this turn may cost more
                        self._limits.cost.note(event.pid, looks, took_s, time.monotonic())
            if performer.followed_changed:
                self.follow()
            self._mute()
            if len(events) < BATCH or self._serving.is_over:
                return

    def _allows(self, process: OpenProcess) -> bool:
        """Whether an event of a process is served at once; otherwise a rescan examines the process."""
        if self._limits.allows_examination(process, time.monotonic()):
            return True
        self.sweeps.want(Cause.LOST_EVENTS)
        return False

    def _mute(self) -> None:
        """Let the kernel report no more events of the processes that `rate_limit` slows."""
        noisy = self._limits.newly_noisy()
        if noisy is not None:
            self.feed.mute(noisy)

    def follow(self) -> None:
        """Receive the forks of the followed processes from now on, then examine the children that new ones have."""
        uids = any(rule.spec.match.user != () for rule in self.examiner.rules.rules)
        while self.examiner.performer.followed_changed:
            self.examiner.performer.followed_changed = False
            followed = self.examiner.reconciler.followed
            new = followed - self._followed
            self._followed = frozenset(followed)
            self.feed.follow(self._followed, uids=uids)
            for pid in new:
                for child in children_of(self.settings.proc_root, pid):
                    self.examiner.examine(child)

    def examine_container(self, pod: str, group: str, pid: int) -> None:
        """Examine the processes of a container that runs, in ``group`` and below, if no process events report them.

        ``pid`` is the container's first process (0: not known), for a container whose group differs from the one that
        the runtime names.
        """
        if not self.feed.why_not or not self._limits.of_start.allows(pod, time.monotonic()):
            return
        found = members_below(self.hierarchy, (group,)) if group else set()
        self.metrics.containers_looked_at.labels().value += 1
        for one in sorted(found or {pid} - {0})[:MOST_LOOKED]:
            self.examiner.on_event(one, 0)
        if self.examiner.performer.followed_changed:
            self.follow()

    def send_reports(self) -> None:
        """Send the reports that wait for the end of the turn."""
        self._reporter.send()

    def set_rules(self, rules: Rules) -> None:
        """Decide by these rules from now on."""
        self._ruled = self._ruled if self._ruled is not None else self.examiner.ruled()
        self.examiner.set_rules(rules)
        self.follow()
        self.sweeps.want(Cause.RELOAD)

    def _before_sweep(self, cause: Cause) -> Cause:
        """Check whether the feed is alive, and read the pressure; return the cause by which the rescan is counted."""
        was_open = not self.feed.why_not
        alive = self.feed.alive()
        self._pressure = read_pressure(f"{self.settings.proc_root}/pressure")
        return Cause.NO_HEARTBEAT if was_open and not alive else cause

    def _after_sweep(self, sweep: Sweep) -> None:
        if sweep.cause is not Cause.LOST_EVENTS:  # a noisy program may cause any number of those
            self._limits.begin_anew()
            self._mute()
        if self.examiner.performer.followed_changed:
            self.follow()
        if sweep.cause is Cause.PERIOD and not self.feed.why_not:
            self.metrics.missed.labels().value += self.examiner.found
        self.examiner.found = 0
        if self._ruled is not None:
            before, now, self._ruled = self._ruled, self.examiner.ruled(), None
            LOG.info(
                "all processes were rescanned under these rules", newly=len(now - before), no_more=len(before - now)
            )
        self._reporter.send_kills(self._watch.count(self._kill_context), self._watch.is_past)
        if sweep.cause is not Cause.PERIOD:  # these are rare, and may have examined thousands
            heap.give_back()
        self.metrics.sweeps.inc(sweep.cause)
        self.metrics.sweep_seconds.labels().observe(sweep.seconds)
        self._reporter.send()
