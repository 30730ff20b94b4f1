"""The engine's face (`model.placement` says what it answers with), for any thread.

What changes anything is handed to the thread of `loop.Loop` and answered by a future; what only looks, looks with
a reader of its own.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future

from msgspec.structs import replace

from holdfast import log
from holdfast.errors import FailedPrecondition, HoldfastError, NotFound, ProcessGone
from holdfast.node.engine.keeper import Keeper
from holdfast.node.engine.loop import Loop
from holdfast.node.journal.rows import FileRow
from holdfast.node.model.memory_domain import MemoryDomain
from holdfast.node.model.placement import Placement, Restored, Status, Sweep
from holdfast.node.model.process import HostFacts, Lineage, Process
from holdfast.node.plan.claims import Claims
from holdfast.node.proc.evidence import EVERY_KEY, EvidenceReader
from holdfast.node.proc.host import members_below, read_domains, read_host
from holdfast.node.proc.pressure import Pressure, read_pressure
from holdfast.node.proc.reader import EVERYTHING, PLACE, Reader
from holdfast.node.rule.ruleset import Rules
from holdfast.process import oomscore

LOG = log.named(__name__)
#: A turn takes milliseconds; the longest there are (restoring 10,000 processes) some seconds.
HANGS_S = 10.0
MOST_FRESH = 5000  # processes read for one list, some 40 µs each


class Engine:
    """The engine over its loop, which nobody else starts or ends."""

    def __init__(self, loop: Loop) -> None:
        self._loop, self.kills = loop, loop.kills
        self.tally = self._loop.tally
        self.tally.placements = self._living
        self.tally.waiting = lambda: self._loop.mover.waiting
        self.tally.pressure = self.pressure

    def start(self) -> None:
        """Start the threads; the first thing they do is a full sweep."""
        self._loop.start()
        self.tally.up = lambda: not self.trouble

    @property
    def ended(self) -> Future[None]:
        """Done when the engine's thread has ended; with what it could not get over, if it was not told to."""
        return self._loop.ended

    def stop(self, *, restore: bool = False) -> None:
        """Finish the moves that wait, give everything back if so wanted, end the threads. Blocks for milliseconds.

        The second call is nothing.
        """
        if self._loop.is_closed:
            return
        if not self._loop.end():
            LOG.error("the placement engine hangs; nothing more is given back by this run", at=self._loop.where())
            return
        if restore:
            restored = self._loop.keeper.restore()
            LOG.info("gave back what was held", values=restored.given_back, left=restored.left, failed=restored.failed)
        self._loop.proc.close()

    def set_rules(self, rules: Rules) -> Future[None]:
        """Decide by these from now on. Done when they are in force; the sweep that follows may still go.

        Raises (in the future):
            Unavailable: the engine has ended.
        """
        if not self._loop.is_started:
            self._keeper.set_rules(rules)
            done: Future[None] = Future()
            done.set_result(None)
            return done
        return self._loop.calls.ask(lambda: self._loop.set_rules(rules))

    def sweep(self) -> Future[Sweep]:
        """Look at every process now; done when that is."""
        done: Future[Sweep] = Future()
        self._loop.calls.tell(lambda: self._loop.sweeps.ask(done))
        return done

    def look_at(self, groups: Collection[str]) -> None:
        """Decide anew about whoever is in these cgroups or below: their pod is another than was known."""

        def look_at() -> None:
            for pid in members_below(self._loop.hierarchy, groups):
                self._keeper.on_event(pid, 0)
            if self._keeper.performer.followed_changed:
                self._loop.follow()

        self._loop.calls.tell(look_at)

    def look_at_container(self, pod: str, group: str, pid: int) -> None:
        """A container of a pod runs, in this cgroup, with this first process: look at its processes.

        Nothing while process events arrive; see `Loop.look_at_container`.
        """
        self._loop.calls.tell(lambda: self._loop.look_at_container(pod, group, pid))

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
            if pid in (1, self._loop.facts.own_pid):
                raise FailedPrecondition(
                    f"{pid} is not held by hand: it is {'init' if pid == 1 else 'holdfast itself'}"
                )
            return self._keeper.override(pid, start_ticks, adj, time.time_ns() + int(ttl_s * 1e9), why)

        return self._loop.calls.ask(hold)

    def adopt(self, pid: int, asked: int, written: int, rule: str) -> Future[None]:
        """Hold a process that a container runtime created with a rule's value, in place of what it was asked for."""
        return self._loop.calls.ask(lambda: self._keeper.adopt(pid, asked, written, rule))

    def adopt_files(self, rows: Sequence[FileRow]) -> Future[None]:
        """Files of a group that a container runtime wrote for a rule, as if we had written them."""
        return self._loop.calls.ask(lambda: self._keeper.adopt_files(rows))

    def release(self, pid: int) -> Future[Placement | None]:
        """End a hold by hand: back to what the rules say; None when they say nothing.

        Raises (in the future):
            NotFound: it is not held by hand.
        """

        def release() -> Placement | None:
            if not self._keeper.end_override(pid):
                raise NotFound(f"hold on process {pid}")
            placement = self._keeper.reconciler.placement(pid)
            return replace(placement) if placement is not None else None

        return self._loop.calls.ask(release)

    def restore(self, rule: str | None = None, pid: int | None = None) -> Future[Restored]:
        """Give back everything, or what one rule or one process was given; it stays so until rules are set again."""
        return self._loop.calls.ask(lambda: self._keeper.restore(rule, pid))

    def placements(self) -> tuple[Placement, ...]:
        """Copies of all, by pid, as they were seen last; some may have ended since."""
        known = [replace(placement) for placement in self._keeper.reconciler.placements()]
        return tuple(sorted(known, key=lambda placement: placement.pid))

    def _living(self) -> list[Placement]:
        """Those whose number is taken, as they are known: for who asks often."""
        numbers = set(Reader(self._loop.proc).pids())
        return [placement for placement in self._keeper.reconciler.placements() if placement.pid in numbers]

    @property
    def _keeper(self) -> Keeper:
        return self._loop.keeper

    def placements_now(self, rule: str = "") -> tuple[Placement, ...]:
        """The same, of one rule or all, with the value and the group that each has at this moment; for a thread.

        Who ended since is left out. Of more than `MOST_FRESH` the rest is as it was at the last event or rescan.
        """
        known = [placement for placement in self.placements() if rule in ("", placement.rule)]
        reader = Reader(self._loop.proc, self._loop.pods, self._loop.slow)
        fresh = [found for placement in known[:MOST_FRESH] if (found := _refreshed(placement, reader)) is not None]
        return (*fresh, *known[MOST_FRESH:])

    def process(self, pid: int) -> Process:
        """Everything about one process, ancestors included.

        Raises:
            ProcessGone: nobody has the number.
        """
        reader = Reader(self._loop.proc, self._loop.pods, self._loop.slow)
        with self._loop.proc.open(pid) as opened:
            facts = reader.facts(reader.glance_of(opened), EVERYTHING, None, opened)
            reconciler = self._keeper.reconciler
            facts = reader.with_ancestors(facts, Lineage.ALL, EVERYTHING, reconciler.held)
            return reconciler.known(self._evidence().attach(facts, EVERY_KEY, opened, line=True))

    def processes(self) -> tuple[Process, ...]:
        """Everything about every process: 0.1 ms each, so for a thread of its own."""
        reader, evidence = Reader(self._loop.proc, self._loop.pods, self._loop.slow), self._evidence()
        reconciler = self._keeper.reconciler
        found = reader.everybody(reconciler.held, lambda process: evidence.attach(process, EVERY_KEY))
        return tuple(map(reconciler.known, found))

    def _evidence(self) -> EvidenceReader:
        """A reader for another thread, which knows what the engine's own established."""
        return self._keeper.means.evidence.copy()

    def host_facts(self) -> HostFacts:
        """The machine now."""
        return read_host(self._loop.at.proc_root, self._loop.hierarchy)

    def claims(self) -> Claims:
        """Which rule decides which file of a group now; a copy."""
        return self._keeper.reconciler.claims.copy()

    def domains(self) -> tuple[MemoryDomain, ...]:
        """Where an OOM can happen: the node first."""
        return read_domains(self._loop.hierarchy, self._loop.facts)

    def pressure(self) -> tuple[Pressure, ...]:
        """The node's pressure now."""
        return read_pressure(f"{self._loop.at.proc_root}/pressure")

    @property
    def trouble(self) -> str:
        """Why nothing is decided now; empty while the thread ends its turns."""
        if not self._loop.is_running:
            return "the placement engine has ended; the log says why"
        busy_s = self._loop.busy_s
        return f"the placement engine has hung for {busy_s:.0f} s" if busy_s > HANGS_S else ""

    @property
    def is_running(self) -> bool:
        """Whether its threads are there."""
        return self._loop.is_running

    @property
    def busy_s(self) -> float:
        """Seconds that the thread has been at one turn."""
        return self._loop.busy_s

    def where(self) -> str:
        """The file and line at which the thread stands."""
        return self._loop.where()

    @property
    def rules(self) -> Rules:
        """Those in force."""
        return self._keeper.rules

    def status(self) -> Status:
        """The engine at a glance."""
        return Status(
            self._loop.is_running,
            self._loop.feed.why_not,
            self._loop.sweeps.last,
            self._loop.mover.waiting,
            frozenset(self._keeper.reconciler.suspended),
            self._keeper.means.evidence.kubelet_root,
        )


def _refreshed(placement: Placement, reader: Reader) -> Placement | None:
    """A placement with what its process has now; None when that ended, or has another's number."""
    try:
        glance = reader.glance(placement.pid)
        if glance.ended or glance.start_ticks != placement.start_ticks:
            return None
        facts = reader.facts(glance, PLACE)
    except ProcessGone:
        return None
    except HoldfastError:  # it cannot be read: as it was seen last
        return placement
    return replace(
        placement,
        comm=facts.comm,
        oom_score_adj=facts.oom_score_adj,
        group=facts.memory_group,
        pod=facts.pod,
    )
