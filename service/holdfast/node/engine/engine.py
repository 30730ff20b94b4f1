"""The engine as any thread sees it; `model.placement` defines its answers.

Calls that change anything are handed to the thread of `loop.Loop` and answered by a future. Calls that only read use a
reader of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import TypeVar

from msgspec.structs import replace

from holdfast import log
from holdfast.errors import FailedPrecondition, HoldfastError, NotFound, ProcessGone
from holdfast.node.engine.examiner import Examiner
from holdfast.node.engine.loop import Loop
from holdfast.node.journal.rows import FileRow
from holdfast.node.model.memory_domain import MemoryDomain
from holdfast.node.model.placement import Placement, Restored, Status, Sweep
from holdfast.node.model.process import HostFacts, Lineage, Process
from holdfast.node.plan.claims import Claims
from holdfast.node.proc.evidence import EVERY_KEY, EvidenceReader
from holdfast.node.proc.host import members_below, read_domains, read_host
from holdfast.node.proc.pressure import Pressure, read_pressure
from holdfast.node.proc.reader import EVERYTHING, PLACE, ProcReader
from holdfast.node.rule.ruleset import Rules
from holdfast.process import oomscore

LOG = log.named(__name__)
T = TypeVar("T")
#: A turn takes milliseconds; the longest (restoring 10,000 processes) takes some seconds.
HANGS_S = 10.0
MOST_FRESH = 5000  # processes read for one list, some 40 µs each


class Engine:
    """The engine over its loop. Only the engine starts and ends the loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop, self.kills = loop, loop.kills
        self.metrics = self._loop.metrics
        self.metrics.placements = self._living
        self.metrics.waiting = lambda: self._loop.mover.waiting
        self.metrics.pressure = self.pressure

    def start(self) -> None:
        """Start the threads; they begin with a full rescan."""
        self._loop.start()
        self.metrics.up = lambda: not self.trouble

    @property
    def ended(self) -> Future[None]:
        """Done when the engine's thread has ended; with the error that ended it, if its end was not requested."""
        return self._loop.ended

    def stop(self, *, restore: bool = False) -> None:
        """Finish the waiting moves, restore everything if ``restore``, and end the threads. Blocks for milliseconds.

        A second call does nothing.
        """
        if self._loop.is_closed:
            return
        if not self._loop.end():
            LOG.error("the placement engine hangs; this run restores nothing more", at=self._loop.where())
            return
        if restore:
            restored = self._loop.examiner.restore()
            LOG.info(
                "restored what the rules wrote", values=restored.given_back, left=restored.left, failed=restored.failed
            )
        self._loop.close()

    def set_rules(self, rules: Rules) -> Future[None]:
        """Decide by these rules from now on. Done when they are in force; the rescan that follows may take longer.

        Raises (in the future):
            Unavailable: the engine has ended.
        """
        if not self._loop.is_started:
            self._examiner.set_rules(rules)
            done: Future[None] = Future()
            done.set_result(None)
            return done
        return self._loop.calls.ask(lambda: self._loop.set_rules(rules))

    def sweep(self) -> Future[Sweep]:
        """Rescan every process now. Done when the rescan is."""
        done: Future[Sweep] = Future()
        self._loop.calls.tell(lambda: self._loop.sweeps.ask(done))
        return done

    def examine_groups(self, groups: Collection[str]) -> None:
        """Decide again about every process in these cgroups or below: their pod is another than was known."""

        def examine_members() -> None:
            for pid in members_below(self._loop.hierarchy, groups):
                self._examiner.on_event(pid, 0)
            if self._examiner.performer.followed_changed:
                self._loop.follow()

        self._loop.calls.tell(examine_members)

    def examine_container(self, pod: str, group: str, pid: int) -> None:
        """Examine the processes of a pod's container that runs in this cgroup, with this first process.

        Does nothing while process events arrive; see `Loop.examine_container`.
        """
        self._loop.calls.tell(lambda: self._loop.examine_container(pod, group, pid))

    def hold(self, pid: int, start_ticks: int | None, adj: int, ttl_s: float, why: str) -> Future[Placement]:
        """Override a process's ``oom_score_adj`` for a time; the rules do not set it meanwhile.

        ``start_ticks`` None: the process that has the pid now.

        Raises (in the future):
            InvalidArgument: out of range.
            FailedPrecondition: the process is holdfast itself or pid 1, or the kernel refused.
            ProcessGone: the process ended.
        """

        def hold() -> Placement:
            oomscore.check(adj)
            if pid in (1, self._loop.facts.own_pid):
                raise FailedPrecondition(
                    f"{pid} cannot be overridden: it is {'init' if pid == 1 else 'holdfast itself'}"
                )
            return self._examiner.override(pid, start_ticks, adj, int(ttl_s * 1e9), why)

        return self._loop.calls.ask(hold)

    def adopt(self, pid: int, requested: int, written: int, rule: str) -> Future[None]:
        """Take over a process that a container runtime created with a rule's value instead of ``requested``."""
        return self._loop.calls.ask(lambda: self._examiner.adopt(pid, requested, written, rule))

    def adopt_files(self, rows: Sequence[FileRow]) -> Future[None]:
        """Take over files of a group that a container runtime wrote for a rule, as if we had written them."""
        return self._loop.calls.ask(lambda: self._examiner.adopt_files(rows))

    def release(self, pid: int) -> Future[Placement | None]:
        """End an override: the rules decide again. The future gives the placement; None: no rule matches.

        Raises (in the future):
            NotFound: the process is not overridden.
        """

        def release() -> Placement | None:
            if not self._examiner.end_override(pid):
                raise NotFound(f"override of process {pid}")
            placement = self._examiner.reconciler.placement(pid)
            return replace(placement) if placement is not None else None

        return self._loop.calls.ask(release)

    def restore(self, rule: str | None = None, pid: int | None = None) -> Future[Restored]:
        """Restore everything, or the changes of one rule or to one process. This lasts until rules are set again."""
        return self._loop.calls.ask(lambda: self._examiner.restore(rule, pid))

    def placements(self) -> tuple[Placement, ...]:
        """Return copies of all placements, by pid, as they were seen last. Some processes may have ended since."""
        known = [replace(placement) for placement in self._examiner.reconciler.placements()]
        return tuple(sorted(known, key=lambda placement: placement.pid))

    def snapshot(self, mark: Callable[[], T]) -> Future[tuple[tuple[Placement, ...], T]]:
        """Return copies of all placements, by pid, and the result of ``mark``, called at the same moment on the thread.

        All reports about what the placements have were sent before it, and no later one.
        """

        def snapshot() -> tuple[tuple[Placement, ...], T]:
            self._loop.send_reports()
            return self.placements(), mark()

        return self._loop.calls.ask(snapshot)

    def _living(self) -> list[Placement]:
        """Return the placements whose pid is taken, as they were seen last: for frequent callers."""
        numbers = set(ProcReader(self._loop.proc).pids())
        return [placement for placement in self._examiner.reconciler.placements() if placement.pid in numbers]

    @property
    def _examiner(self) -> Examiner:
        return self._loop.examiner

    def placements_now(self, rule: str = "") -> tuple[Placement, ...]:
        """Return copies of the placements of a rule ("": all), each with its present value and group; for a thread.

        Processes that have ended are left out. Beyond `MOST_FRESH`, placements are as of the last event or rescan.
        """
        known = [placement for placement in self.placements() if rule in ("", placement.rule)]
        reader = ProcReader(self._loop.proc, self._loop.pods, self._loop.slow)
        fresh = [found for placement in known[:MOST_FRESH] if (found := _refreshed(placement, reader)) is not None]
        return (*fresh, *known[MOST_FRESH:])

    def process(self, pid: int) -> Process:
        """Return everything about one process, ancestors included.

        Raises:
            ProcessGone: no process has the pid.
        """
        reader = ProcReader(self._loop.proc, self._loop.pods, self._loop.slow)
        with self._loop.proc.open(pid) as opened:
            facts = reader.facts(reader.stat_line_of(opened), EVERYTHING, None, opened)
            reconciler = self._examiner.reconciler
            facts = reader.with_ancestors(facts, Lineage.ALL, EVERYTHING, reconciler.held)
            return reconciler.known(self._evidence().attach(facts, EVERY_KEY, opened, line=True))

    def processes(self) -> tuple[Process, ...]:
        """Return everything about every process. It takes 0.1 ms for each, so it is for a thread of its own."""
        reader, evidence = ProcReader(self._loop.proc, self._loop.pods, self._loop.slow), self._evidence()
        reconciler = self._examiner.reconciler
        found = reader.everybody(reconciler.held, lambda process: evidence.attach(process, EVERY_KEY))
        return tuple(map(reconciler.known, found))

    def _evidence(self) -> EvidenceReader:
        """Return a reader for another thread, which knows what the engine's own reader established."""
        return self._examiner.context.evidence.copy()

    def host_facts(self) -> HostFacts:
        """Read the facts of the machine now."""
        return read_host(self._loop.settings.proc_root, self._loop.hierarchy)

    def claims(self) -> Claims:
        """Return a copy of the claims: which rule decides which file of a group now."""
        return self._examiner.reconciler.claims.copy()

    def domains(self) -> tuple[MemoryDomain, ...]:
        """Return the memory domains, where an OOM can happen: the node first."""
        return read_domains(self._loop.hierarchy, self._loop.facts)

    def pressure(self) -> tuple[Pressure, ...]:
        """Read the node's pressure now."""
        return read_pressure(f"{self._loop.settings.proc_root}/pressure")

    @property
    def trouble(self) -> str:
        """Why nothing is decided now; empty while the thread completes its turns."""
        if not self._loop.is_running:
            return "the placement engine has ended; the log says why"
        busy_s = self._loop.busy_s
        return f"the placement engine has hung for {busy_s:.0f} s" if busy_s > HANGS_S else ""

    @property
    def is_running(self) -> bool:
        """Whether the threads are alive."""
        return self._loop.is_running

    @property
    def busy_s(self) -> float:
        """Seconds that the thread has spent in the present turn, or the mover on one order."""
        return self._loop.busy_s

    def where(self) -> str:
        """Return the file and line that the thread executes now."""
        return self._loop.where()

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self._examiner.rules

    def status(self) -> Status:
        """Return a summary of the engine's state."""
        return Status(
            self._loop.is_running,
            self._loop.feed.why_not,
            self._loop.sweeps.last,
            self._loop.mover.waiting,
            frozenset(self._examiner.reconciler.suspended),
            self._examiner.context.evidence.kubelet_root,
        )


def _refreshed(placement: Placement, reader: ProcReader) -> Placement | None:
    """Return a placement with the present facts of its process; None: it ended, or another process has its pid."""
    try:
        stat_line = reader.stat_line(placement.pid)
        if stat_line.ended or stat_line.start_ticks != placement.start_ticks:
            return None
        facts = reader.facts(stat_line, PLACE)
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
