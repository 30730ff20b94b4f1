"""The engine's eyes and hands around its `Reconciler`: what is read of a process goes in, what comes out is done.

On the engine's thread. An exec event and a sweep end in the same `take`; a sweep reads by number, which is cheap, and a
process is opened, and known to be the one that was read, only if something is to be written.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Container, Iterable

from msgspec import Struct
from msgspec.structs import replace

from holdfast import log
from holdfast.cgroups import Hierarchy
from holdfast.errors import FailedPrecondition, HoldfastError, ProcessGone
from holdfast.node.apply.action import (
    Action,
    Carried,
    Commit,
    Follow,
    Forget,
    GiveBack,
    Heirs,
    How,
    Look,
    Order,
    Refused,
    Remove,
    Result,
    Return,
    Set,
    Stuck,
    Tell,
    Unset,
    Write,
    Wrote,
    given_back,
)
from holdfast.node.apply.executor import Executor
from holdfast.node.apply.metrics import Tally
from holdfast.node.apply.mover import Mover
from holdfast.node.engine.entry import Now
from holdfast.node.engine.match_cache import Indifference
from holdfast.node.engine.reconciler import Reconciler
from holdfast.node.engine.required_files import wants_of
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.rows import FileRow, OverrideRow, Row
from holdfast.node.model.decision import Field, SettingChange
from holdfast.node.model.evidence import EXECUTED
from holdfast.node.model.placement import Happening, Placement, Report, Restored, State
from holdfast.node.model.process import Lineage, Process
from holdfast.node.proc.evidence import EvidenceReader
from holdfast.node.proc.host import Groups, read_host
from holdfast.node.proc.parse import Glance, name_and_parent
from holdfast.node.proc.reader import Reader, Wants
from holdfast.node.rule.ruleset import Rules
from holdfast.process import OpenProcess, ProcRoot

LOG = log.named(__name__)
#: What runc runs in a container for milliseconds before the process that becomes the program (``runc:[2:INIT]``), which
#: would inherit from it a value of ours that nobody knows to be ours.
_RUNC_STAGES = frozenset({"runc:[0:PARENT]", "runc:[1:CHILD]"})
MOST_LOOKS = 8  # at one process for one event: another program may answer each write of ours with one of its own
_TICKS_S = 100  # USER_HZ, of start_ticks


def now() -> Now:
    """The present moment."""
    return Now(time.time_ns(), int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_S))


class Means(Struct, frozen=True):
    """What is worked with: eyes, the writer, the queue of orders, whom to tell, what is counted, and who forked whom
    since the last time it was asked for.
    """

    reader: Reader
    evidence: EvidenceReader
    executor: Executor
    mover: Mover
    report: Callable[[Report], None]
    tally: Tally
    forks: Callable[[], Iterable[tuple[int, int]]] = tuple
    now: Callable[[], Now] = now


class Keeper:
    """Looks at processes and has done what follows."""

    def __init__(self, means: Means, reconciler: Reconciler) -> None:
        self.means, self.reconciler = means, reconciler
        self.journal = means.executor.journal
        self.indifference = Indifference(means.reader)
        self.wants = self._sweep_wants = Wants()
        self.followed_changed = False
        self.found = 0  # by looks by number: no event had told of them
        self._said: set[object] = set()
        self._looks: deque[int] = deque()
        self._ended: set[int] = set()  # forgotten when all that follows was looked at: heirs are told by their rows
        self._looking = False
        self._at_once: list[Result] | None = None  # while everything is given back: orders are not queued
        self._adj_written = means.tally.writes.labels(Field.OOM_SCORE_ADJ, "done")
        self._adj_after = means.tally.held_after.labels(Field.OOM_SCORE_ADJ)
        self._group_after = means.tally.held_after.labels(Field.CGROUP)

    @property
    def rules(self) -> Rules:
        """Those in force."""
        return self.reconciler.rules

    def set_rules(self, rules: Rules) -> None:
        """Decide by these from now on; who is under an older rule is looked at by the next sweep."""
        self.perform(self.reconciler.set_rules(rules))
        self.wants = wants_of(rules)
        self._sweep_wants = replace(self.wants, groups=True)
        self.indifference.set_rules(rules)
        self._said.clear()
        self.look_anew()

    def ruled(self) -> set[int]:
        """Who is under a rule."""
        no_rule = (State.INHERITED, State.RETURNING)
        return {one.pid for one in self.reconciler.placements() if one.state not in no_rule}

    def look_anew(self) -> None:
        """Read groups again when they are next asked for; a pod may be known by now."""
        self.indifference.forget_groups()
        self.means.evidence.forget()
        if isinstance(self.reconciler.host.groups, Groups):
            self.reconciler.host.groups.forget()

    # -- looking -----------------------------------------------------------------------------------------------------

    def of_interest(self, glance: Glance) -> bool:
        """Whether anything can follow for a process, as far as one file tells.

        Raises:
            ProcessGone: it has ended, and nobody waited for it yet.
        """
        if glance.ended:
            raise ProcessGone(str(glance.pid))
        if glance.pid == self.reconciler.host.own_pid or glance.comm in _RUNC_STAGES:
            return False
        if glance.kernel_thread:
            if self.indifference.could_match(glance.comm):  # a process of its name is seldom one of interest, either
                self.indifference.note(glance.comm, self.means.reader.group_text(glance.pid), in_no_pod=True)
            return False
        if self.reconciler.is_known(glance.pid) or self.may_inherit(glance.ppid):
            return True
        return self.indifference.could_match(glance.comm)

    def may_inherit(self, ppid: int) -> bool:
        """Whether a child of it may have something of ours, or a rule for who it descends from."""
        return ppid in self.reconciler.table.processes or ppid in self.reconciler.followed

    @property
    def parents(self) -> Container[int]:
        """Those whose children are worth a look; empty, and cheap to ask, where there are none."""
        table, followed = self.reconciler.table.processes, self.reconciler.followed
        return table.keys() | followed if followed else table

    def is_dull(self, pid: int) -> bool:
        """Whether a name, or a name in its groups, was seen before and no rule can hold for it: a file or two.

        Raises:
            ProcessGone: nobody has the number.
        """
        if self.reconciler.is_known(pid):
            return False
        if not (self.reconciler.table.processes or self.reconciler.followed):
            return self.indifference.has(self.means.reader.name(pid), pid)
        name, ppid = name_and_parent(self.means.reader.stat(pid))
        return not self.may_inherit(ppid) and self.indifference.has(name, pid)

    def on_event(self, pid: int, at_ns: int) -> None:
        """A process executed a program, was renamed, or was forked by somebody followed; ``at_ns`` monotonic.

        0: something else about it is new (its pod), and what was known of names in groups may be wrong.
        """
        try:
            if not at_ns:
                self.indifference.forget_groups()
            elif self.is_dull(pid):
                return
        except ProcessGone:
            self._ended.add(pid)
            self._look_again()
        except Exception as error:
            self.cannot(pid, error)
        else:
            self.look_at(pid, at_ns)

    def recall(self) -> None:
        """At the start: who was forked since the last run by who holds something of ours is its heir."""
        for pid in list(self.reconciler.table.processes):
            self._look_at_heirs(pid)
        self._look_again()

    def look_at_all(self) -> None:
        """Everybody at once, so that who inherited something is known."""
        for pid in self.means.reader.numbers():
            self.look_at(int(pid))

    def take_forks(self, served: Collection[int] = ()) -> None:
        """Those that were told since the last time: children of who holds something of ours are looked at.

        ``served`` are looked at anyway, in a moment.
        """
        for parent, child in self.means.forks():
            looks = self.reconciler.forked(parent, child)
            if child not in served:
                self.perform(looks)
        self._look_again()

    def look_at(self, pid: int, at_ns: int = 0) -> None:
        """Look at one process through a descriptor of it, and do what follows; ``at_ns``: the event's, or 0."""
        try:
            with self.means.reader.proc.open(pid) as process:
                glance = self.means.reader.glance_of(process)
                if self.of_interest(glance):
                    facts = self.facts(glance, process)
                    self.take(facts, process, at_ns)
                    if facts.cgroups and not self.reconciler.is_known(pid):
                        self.indifference.note(facts.comm, process.read("cgroup"))
        except ProcessGone:
            self._ended.add(pid)
        except Exception as error:
            self.cannot(pid, error)
        self._look_again()

    def look_by_number(self, glance: Glance) -> None:
        """One process of a sweep.

        Raises:
            ProcessGone: it ended.
        """
        if self.of_interest(glance):
            known = self.reconciler.is_known(glance.pid)
            facts = self.facts(glance)
            self.take(facts)
            self.found += not known and glance.pid in self.reconciler.entries
            if not self.reconciler.is_known(facts.pid):
                self.indifference.note(facts.comm, self.means.reader.group_text(facts.pid))
        self._look_again()

    def _look_again(self) -> None:
        """At those that what was done calls for; what still moves after `MOST_LOOKS` is the next sweep's."""
        if self._looking:
            return
        if not (self._looks or self._ended):
            return
        self._looking = True
        times: dict[int, int] = {}
        try:
            while self._looks:
                pid = self._looks.popleft()
                times[pid] = times.get(pid, 0) + 1
                if times[pid] <= MOST_LOOKS:
                    self.look_at(pid)
        finally:
            self._looking = False
        ended, self._ended = self._ended, set()
        self.gone(ended)

    def facts(self, glance: Glance, opened: OpenProcess | None = None, *, again: bool = True) -> Process:
        """What the rules ask about a process: at an exec that alone, in a sweep its groups as well.

        Raises:
            ProcessGone: it ended.
        """
        reader, held = self.means.reader, self.reconciler.held
        wants = self._sweep_wants if opened is None or self._was_moved(glance) else self.wants
        facts = self.reconciler.known(reader.facts(glance, wants, None, opened))
        facts = reader.with_ancestors(facts, self._lineage_of(facts, sweep=opened is None), self.wants, held)
        keys, line = self.rules.evidence_for(facts)
        facts = self.means.evidence.attach(facts, keys, opened, line=line)
        if facts.evidence.exe == EXECUTED and again:  # between the two reads: what was read first is another program's
            fresh = reader.glance(glance.pid) if opened is None else reader.glance_of(opened)
            return self.facts(fresh, opened, again=False)
        return facts

    def _lineage_of(self, facts: Process, *, sweep: bool) -> Lineage:
        """How much of its ancestry can change anything."""
        if self.rules.any_lends and (self.may_inherit(facts.ppid) or facts.held is not None):
            return Lineage.ALL
        return self.rules.lineage if sweep or self._asks_ancestors_of(facts) else Lineage.NONE

    def _was_moved(self, glance: Glance) -> bool:
        """Whether where it is matters, whatever the rules ask about."""
        processes = self.reconciler.table.processes
        own, parent = processes.get(glance.pid), processes.get(glance.ppid)
        return (own is not None and bool(own.moves)) or (parent is not None and bool(parent.moves))

    def _asks_ancestors_of(self, facts: Process) -> bool:
        """Whether they can change anything: of ten execs nine are of nobody's child, and 0.5 ms cheaper to decide."""
        known = self.reconciler.is_known(facts.pid) or facts.ppid in self.reconciler.followed
        return self.rules.lineage is not Lineage.NONE and (known or self.rules.asks_ancestors_of(facts))

    def cannot(self, pid: int, error: Exception) -> None:
        """Leave one process out: it cannot be read (hidepid), or it meets a mistake.

        That is this process's trouble: the rest goes on, and nothing of it counts towards the engine's end.
        """
        self.means.tally.process_errors.labels().value += 1
        kind = type(error).__name__
        if isinstance(error, HoldfastError):
            if kind not in self._said:
                self._said.add(kind)
                LOG.warning("cannot look after a process; more of these are not told", pid=pid, error=error)
            return
        where = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{where.filename}:{where.lineno}"
        LOG.error("cannot look after a process", pid=pid, error=f"{kind}: {error}", at=at)

    def gone(self, pids: Iterable[int]) -> None:
        """Processes that are no more; all of them are forgotten with one write."""
        rows: list[Row] = []
        for pid in pids:
            self.means.evidence.gone(pid)
            for action in self.reconciler.gone(pid):
                if isinstance(action, Forget):
                    rows += action.rows
                else:
                    self.perform((action,))
        self.journal.forget(rows)

    # -- doing -------------------------------------------------------------------------------------------------------

    def take(self, facts: Process, process: OpenProcess | None = None, at_ns: int = 0) -> None:
        """What was read of a process: do what follows. ``process``: it is opened already.

        Raises:
            ProcessGone: it ended before something was written to it.
        """
        actions = self.reconciler.observe(facts, self.means.now(), at_ns)
        if not actions:
            return
        if process is not None or not any(isinstance(action, Write | GiveBack | Order) for action in actions):
            self.perform(actions, process)
            return
        with self.means.reader.proc.open(facts.pid) as opened:
            if opened.start_ticks() != facts.start_ticks:
                raise ProcessGone(str(facts.pid))
            self.perform(actions, opened)

    def perform(self, actions: Iterable[Action], process: OpenProcess | None = None) -> None:
        """Have actions done, in their order, each with what follows from its result.

        Raises:
            Unavailable: an override cannot be noted.
        """
        waiting = deque(actions)
        while waiting:
            action = waiting.popleft()
            if isinstance(action, Write | GiveBack):
                assert process is not None
                waiting.extendleft(reversed(self._settle(self.means.executor.write(process, action))))
            elif isinstance(action, Order):
                assert process is not None
                if self._at_once is None:
                    self.means.mover.submit(action, process.again())
                else:
                    result = self.means.executor.carry_out(action, process)
                    waiting.extendleft(reversed(self._settle(result)))
            elif isinstance(action, Unset | Remove):
                waiting.extendleft(reversed(self._settle(self.means.executor.clear(action))))
            else:
                self._note(action)

    def _note(self, action: Action) -> None:
        match action:
            case Tell():
                if action.report.happening is Happening.DRIFTED:
                    self.means.tally.drift.inc(action.report.rule)
                self.means.report(action.report)
            case Commit():
                self.journal.commit(action.rows, action.drops, needed=action.needed)
            case Forget():
                self.journal.forget(action.rows)
            case Look():
                self._looks.append(action.pid)
            case Heirs():
                self._look_at_heirs(action.pid)
            case Follow():
                self.followed_changed = True
            case Refused():
                self._refused(action)
            case Stuck():
                LOG.warning("cannot give back now; trying on", what=action.what, rule=action.rule, detail=action.detail)

    def _refused(self, action: Refused) -> None:
        for refusal in action.refusals:
            self.means.tally.refusals.inc(action.rule, refusal.reason)
            key = (action.rule, refusal.reason, refusal.field)
            if key not in self._said:
                self._said.add(key)
                LOG.warning(
                    "a rule cannot be applied",
                    rule=action.rule,
                    pid=action.pid,
                    comm=action.comm,
                    reason=refusal.reason,
                    detail=refusal.detail,
                )

    def _look_at_heirs(self, pid: int) -> None:
        """Find what descendants have from it while that is still known; then look at those that have something."""
        found = [
            child for parent, child in self.means.forks() if self.reconciler.forked(parent, child)
        ]  # those whose parent may have ended since
        waiting = deque((pid,))
        while found or waiting:
            children = found or list(self.means.reader.children_of(waiting.popleft()))
            found = []
            waiting.extend(filter(self._is_heir, children))

    def _is_heir(self, pid: int) -> bool:
        """Whether a process has something of ours that was not known yet."""
        reader = self.means.reader
        try:
            glance = reader.glance(pid)
            had = self.reconciler.table.held(pid, glance.start_ticks) is not None
            self.perform(self.reconciler.inherit(reader.facts(glance, self._sweep_wants)))
        except HoldfastError:
            return False
        if had or self.reconciler.table.held(pid, glance.start_ticks) is None:
            return False
        self._looks.append(pid)
        return True

    def _settle(self, result: Result) -> list[Action]:
        if self._at_once is not None:
            self._at_once.append(result)
        if isinstance(result, Wrote):
            self._count_write(result)
        elif isinstance(result, Carried):
            self._count_order(result)
            ago_ns = time.monotonic_ns() - result.at_ns
            moment = self.means.now()
            return self.reconciler.settle(result, Now(moment.unix_ns - ago_ns, moment.ticks))
        return self.reconciler.settle(result, self.means.now())

    def _count_write(self, result: Wrote) -> None:
        if result.how is How.REFUSED:
            self.means.tally.writes.inc(Field.OOM_SCORE_ADJ, "refused")
        elif result.how is How.DONE and isinstance(result.action, Write):
            self._adj_written.value += 1
            if result.action.at_ns:
                self._adj_after.observe((time.monotonic_ns() - result.action.at_ns) / 1e9)

    def _count_order(self, result: Carried) -> None:
        tally, groups = self.means.tally, self.reconciler.host.groups
        moved = False
        for came in result.came:
            field = Field.SETTING if isinstance(came.step, Set) else Field.CGROUP
            if came.how in (How.DONE, How.APART):
                tally.writes.inc(field, "done")
                moved = moved or field is Field.CGROUP
            elif came.how is How.REFUSED:
                tally.writes.inc(field, "refused")
            if isinstance(came.step, Return) or not isinstance(groups, Groups):
                continue
            change = came.step.change
            if isinstance(change, SettingChange):
                groups.forget(change.group)
            elif change.create or came.how is How.REFUSED:
                groups.forget(change.after)
        tally.strangers.labels().value += result.stranger
        if moved and result.order.at_ns:
            self._group_after.observe((result.at_ns - result.order.at_ns) / 1e9)

    def on_carried(self, result: Carried) -> None:
        """What the mover did."""
        self.perform(self._settle(result))
        self._look_again()

    def clear_up(self) -> None:
        """Give back files and remove groups that no rule speaks of any more."""
        self.perform(self.reconciler.clear_up())

    # -- told --------------------------------------------------------------------------------------------------------

    def override(self, pid: int, start_ticks: int | None, adj: int, expires_unix_ns: int, why: str) -> Placement:
        """Hold a process's ``oom_score_adj`` by hand.

        Raises:
            ProcessGone: it ended, or the number is another's now.
            FailedPrecondition: the kernel said no; nothing is held then.
            Unavailable: the journal cannot be written; nothing is held then.
        """
        self.take_forks()
        glance = self.means.reader.glance(pid)
        if start_ticks not in (None, glance.start_ticks) or glance.kernel_thread:
            raise ProcessGone(str(pid))
        earlier = self.reconciler.table.held(pid, glance.start_ticks)
        before = earlier.override if earlier is not None else None
        row = OverrideRow(pid, glance.start_ticks, adj, expires_unix_ns, why)
        self.perform(self.reconciler.override(row))
        self._look_again()
        placement = self.reconciler.placement(pid)
        if placement is None:
            raise ProcessGone(str(pid))
        if not placement.refusals:
            return replace(placement)
        detail = placement.refusals[0].detail
        self.perform(self.reconciler.override(before) if before is not None else self.reconciler.end_override(row))
        self._look_again()
        raise FailedPrecondition(detail)

    def end_override(self, pid: int) -> bool:
        """End a hold; the rules decide again. False when there was none.

        Raises:
            Unavailable: the journal cannot be written; the hold stands.
        """
        self.take_forks()
        row = self.reconciler.table.overridden.get(pid)
        if row is None:
            return False
        self.perform(self.reconciler.end_override(row))
        self._look_again()
        return True

    def adopt(self, pid: int, asked: int, written: int, rule: str) -> None:
        """A process was born with a value that ``rule`` gave it; nothing if it is gone."""
        reader = self.means.reader
        try:
            facts = reader.facts(reader.glance(pid), self._sweep_wants)
        except ProcessGone:
            return
        self.perform(self.reconciler.adopt(facts, asked, written, rule))
        self._look_again()

    def adopt_files(self, rows: Iterable[FileRow]) -> None:
        """Files of a group were written for a rule by who made the group; nothing for one that says something else."""
        self.perform(self.reconciler.adopt_files(row for row in rows if self.means.executor.says(row)))

    def expire(self, unix_ns: int) -> None:
        """End the overrides whose time is over."""
        for row in self.reconciler.expired(unix_ns):
            self.perform(self.reconciler.end_override(row, needed=False))
        self._look_again()

    # -- giving back -------------------------------------------------------------------------------------------------

    def restore(self, rule: str | None = None, pid: int | None = None) -> Restored:
        """Give back everything, or what one rule or one process was given; it stays so until rules are set again.

        One process at a time, so it needs three descriptors, whatever there is to give back.
        """
        self.take_forks()
        self.means.mover.drain()
        for carried in self.means.mover.results():
            self.on_carried(carried)
        results: list[Result] = []
        self._at_once = results
        gone = 0
        try:
            if pid is None:
                self.look_at_all()
            self.perform(self.reconciler.suspend(rule, pid))
            for one in list(dict.fromkeys(self._looks)):
                gone += self.reconciler.is_known(one) and not self._is_there(one)
            self._look_again()
            if pid is None:
                self.clear_up()
        finally:
            self._at_once = None
        return _counted(results, gone)

    def _is_there(self, pid: int) -> bool:
        try:
            glance = self.means.reader.glance(pid)
        except HoldfastError:
            return False
        ticks = 0 if glance.ended else glance.start_ticks
        placement, held = self.reconciler.placement(pid), self.reconciler.table.processes.get(pid)
        return ticks in (placement.start_ticks if placement else None, held.start_ticks if held else None)


def give_back(proc_root: str, hierarchy: Hierarchy, journal: Journal) -> Restored:
    """Give everything back from the journal alone: after a crash, without an engine."""
    with ProcRoot(proc_root) as proc:
        executor = Executor(proc, hierarchy, journal)
        evidence = EvidenceReader(proc, hierarchy)
        means = Means(Reader(proc), evidence, executor, Mover(executor), lambda report: None, Tally())
        return Keeper(means, Reconciler(journal.table, read_host(proc_root, hierarchy))).restore()


def _counted(results: Iterable[Result], gone: int) -> Restored:
    count = dict.fromkeys(How, 0)
    failed = []
    for how, detail in given_back(results):
        count[how] += 1
        if how is How.REFUSED:
            failed.append(detail)
    return Restored(
        count[How.DONE] + count[How.APART],
        count[How.LEFT],
        gone + count[How.GONE],
        tuple(failed),
        count[How.APART],
    )
