"""Examines processes, at an event or in a rescan, and carries out what their `Reconciler` decides.

It runs on the engine's thread. An exec event and a rescan end in the same `take`. A rescan reads by pid, which is
cheap. A process is opened, and known to be the one that was read, only if something is to be written.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Collection, Iterable

from msgspec.structs import replace

from holdfast import log
from holdfast.cgroups import Hierarchy
from holdfast.errors import FailedPrecondition, HoldfastError, ProcessGone
from holdfast.node.apply.action import Action, Carried, Forget, GiveBack, Order, Result, Unset, Write, restored
from holdfast.node.apply.executor import Executor
from holdfast.node.apply.metrics import PlacementMetrics
from holdfast.node.apply.mover import Mover
from holdfast.node.engine.entry import Now
from holdfast.node.engine.fact_reader import FactReader
from holdfast.node.engine.performer import EngineContext, Performer
from holdfast.node.engine.reconciler import Reconciler
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.rows import TICK_NS, FileRow, OverrideRow, Row
from holdfast.node.model.decision import Field
from holdfast.node.model.placement import Placement, Restored, State
from holdfast.node.model.process import Process
from holdfast.node.proc.evidence import EvidenceReader
from holdfast.node.proc.host import read_host
from holdfast.node.proc.parse import StatLine
from holdfast.node.proc.reader import ProcReader
from holdfast.node.rule.ruleset import Rules
from holdfast.process import OpenProcess, ProcRoot

LOG = log.named(__name__)
MOST_LEFT = 4096  # processes to examine, or ended ones whose rows are kept, that may wait for the next turn
MOST_EXAMINATIONS = 8  # of one process for one event: another program may answer each write of ours with one of its own


class Examiner:
    """``found`` counts the processes under a rule that were found by pid: no event had reported them."""

    def __init__(self, context: EngineContext, reconciler: Reconciler) -> None:
        self.context, self.reconciler = context, reconciler
        self.journal = context.executor.journal
        self.fact_reader = FactReader(context.reader, context.evidence, reconciler)
        self.performer = Performer(context, reconciler, self.fact_reader)
        self.found = 0
        self.all_seen_before = 0  # clock ticks since boot: a process that started before was examined under these rules
        self._logged: set[str] = set()
        self._unexamined: dict[int, str] = {}  # processes that could not be examined during the last restore, and why
        self._ended: set[int] = set()  # forgotten when all that follows was examined: their rows reveal heirs
        self._examining = False
        self._until = 0.0

    def limit_turn(self, seconds: float) -> None:
        """Leave what is not examined within ``seconds`` from now to the next turn; 0: examine everything.

        Heirs that fork faster than they are examined would keep the engine in one turn for as long as they go on.
        """
        self._until = time.monotonic() + seconds if seconds else 0.0

    @property
    def is_behind(self) -> bool:
        """Whether processes were left to the next turn."""
        return bool(self.performer.pending or self._ended)

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self.reconciler.rules

    def set_rules(self, rules: Rules) -> None:
        """Decide by these rules from now on; the next rescan examines the processes under an older rule."""
        self.performer.perform(self.reconciler.set_rules(rules))
        self.performer.reset_logged_refusals()
        self.fact_reader.set_rules(rules)
        self.all_seen_before = 0
        self._logged.clear()

    def ruled(self) -> set[int]:
        """Return the pids of the processes under a rule."""
        no_rule = (State.INHERITED, State.RETURNING)
        return {one.pid for one in self.reconciler.placements() if one.state not in no_rule}

    # -- examining processes -----------------------------------------------------------------------------------------

    def on_event(self, pid: int, at_ns: int) -> None:
        """Serve an event: a process executed a program, was renamed, or was forked by a followed one.

        ``at_ns``: when, monotonic. 0: something else about the process is new (its pod), and what was known of names in
        groups may be wrong.
        """
        if not at_ns:
            self.fact_reader.match_cache.forget_groups()
        self.examine(pid, at_ns)

    def find_all_heirs(self) -> None:
        """Find the heirs after a start: processes forked since the last run by a process that has something of ours.

        Groups of ours that another program removed since then are forgotten.
        """
        self.context.executor.check_groups()
        for pid in list(self.reconciler.table.processes):
            try:
                self.performer.find_heirs(pid)
            except Exception as error:  # the rescan finds them, as long as their parents live
                self.log_unreadable(pid, error)
        self._examine_pending()

    def record_heirs(self) -> None:
        """Make rows for all processes that inherited something. Nothing else follows: other programs' choices stay."""
        for number in self.context.reader.numbers():
            try:
                stat_line = self.context.reader.stat_line(int(number))
                ours = self.fact_reader.may_have_ours(stat_line.pid, stat_line.ppid)
                if self.fact_reader.of_interest(stat_line, ours=ours):
                    self.performer.perform(self.reconciler.inherit(self.fact_reader.facts(stat_line, ours=ours)))
            except ProcessGone:
                self._ended.add(int(number))
            except Exception as error:
                self.log_unreadable(int(number), error)

    def take_forks(self, served: Collection[int] = ()) -> None:
        """Read the forks since the last call, and examine the children of processes that have something of ours.

        ``served``: pids that are examined in a moment anyway.
        """
        if len(self.performer.pending) <= MOST_LEFT:  # else the kernel keeps them; for those it drops, all are read
            heirs = self.reconciler.forked(self.context.forks())
            if heirs:
                self.performer.perform([look for look in heirs if look.pid not in served])
        self._examine_pending()

    def examine(self, pid: int, at_ns: int = 0) -> None:
        """Examine one process through a descriptor of it, and do what follows; ``at_ns``: the event's time, or 0."""
        try:
            with self.context.reader.proc.open(pid) as process:
                self._examine_open(process, at_ns)
        except ProcessGone:
            self._ended.add(pid)
        except Exception as error:
            self.log_unreadable(pid, error)
        self._examine_pending()

    def _examine_open(self, process: OpenProcess, at_ns: int) -> None:
        context, fact_reader = self.context, self.fact_reader
        seen = fact_reader.first_look(process, is_event=at_ns > 0)
        if seen is None or (at_ns and not context.allows(process)):
            return
        self.performer.examined += 1
        text, ours = seen
        stat_line = context.reader.stat_line_of(process, text)
        if not fact_reader.of_interest(stat_line, ours=ours):
            return
        if fact_reader.is_runc_stage(stat_line, process, context.now):
            return
        facts = fact_reader.facts(stat_line, process, ours=ours)
        self.take(facts, process, at_ns)
        if facts.cgroups and not self.reconciler.is_known(facts.pid):
            fact_reader.match_cache.note(facts.comm, context.reader.group_text_of(process))

    def examine_stat_line(self, stat_line: StatLine) -> None:
        """Examine one process of a rescan.

        Raises:
            ProcessGone: the process ended.
        """
        ours = self.fact_reader.may_have_ours(stat_line.pid, stat_line.ppid)
        if self.fact_reader.of_interest(stat_line, ours=ours):
            known = self.reconciler.is_known(stat_line.pid)
            facts = self.fact_reader.facts(stat_line, ours=ours)
            self.take(facts)
            self.found += not known and stat_line.pid in self.reconciler.entries
            if not self.reconciler.is_known(facts.pid):
                self.fact_reader.match_cache.note(facts.comm, self.context.reader.group_text(facts.pid))
        self._examine_pending()

    def take(self, facts: Process, process: OpenProcess | None = None, at_ns: int = 0) -> None:
        """Do what follows from the facts read of a process. ``process``: it is opened already.

        Raises:
            ProcessGone: the process ended before something was written to it.
        """
        actions = self.reconciler.observe(facts, self.context.now(), at_ns)
        if not actions:
            return
        try:
            self._perform(actions, facts, process)
        except BaseException:  # such as: no descriptor is left
            self.performer.withdraw(actions)
            raise

    def _perform(self, actions: Collection[Action], facts: Process, process: OpenProcess | None) -> None:
        if process is not None or not any(isinstance(action, Write | GiveBack | Order) for action in actions):
            self.performer.perform(actions, process)
            return
        with self.context.reader.proc.open(facts.pid) as opened:
            if opened.start_ticks() != facts.start_ticks:
                raise ProcessGone(str(facts.pid))
            opened.thread = facts.thread
            self.performer.perform(actions, opened)

    def _examine_pending(self) -> None:
        """Examine the processes that the last actions call for.

        A process that still changes after `MOST_EXAMINATIONS` times is left to the next rescan.
        """
        pending = self.performer.pending
        if self._examining or not (pending or self._ended):
            return
        self._examining = True
        times: dict[int, int] = {}
        try:
            while pending or self._reads_forks_of_ended():
                if self._is_late():
                    self._leave_to_next_turn()
                    return
                pid = pending.popleft()
                times[pid] = times.get(pid, 0) + 1
                if times[pid] <= MOST_EXAMINATIONS:
                    self.examine(pid)
        finally:
            self._examining = False
        ended, self._ended = self._ended, set()
        self._forget(ended)

    def _is_late(self) -> bool:
        """Whether the turn has lasted long enough; a restore is done as a whole."""
        return 0 < self._until < time.monotonic() and self.performer.at_once is None

    def _leave_to_next_turn(self) -> None:
        """Leave the rest; of very many ended processes only the forks are read, and their rows go now."""
        if len(self._ended) > MOST_LEFT:
            self._reads_forks_of_ended()
            ended, self._ended = self._ended, set()
            self._forget(ended)

    def _reads_forks_of_ended(self) -> bool:
        """Read the fork events of ended processes while their rows exist; whether any process is to be examined."""
        if self._ended:
            self.performer.perform(self.reconciler.forked(self.context.forks()))
        return bool(self.performer.pending)

    def gone(self, pids: Iterable[int]) -> None:
        """Forget processes that ended, after their children are known."""
        self._ended.update(pids)
        self._examine_pending()

    def _forget(self, pids: Iterable[int]) -> None:
        """Drop the rows of processes that ended, with one write.

        A later process with the pid may have been examined since: as the child of one that ended, or by an event.
        """
        rows: list[Row] = []
        for pid in pids:
            if self.reconciler.is_known(pid) and self._is_there(pid):
                continue
            self.context.evidence.gone(pid)
            for action in self.reconciler.gone(pid):
                if isinstance(action, Forget):
                    rows += action.rows
                else:
                    self.performer.perform((action,))
        self.journal.forget(rows)

    def log_unreadable(self, pid: int, error: Exception) -> None:
        """Leave out one process: it cannot be read (hidepid), or a mistake of ours occurred with it.

        The other processes are served as before, and the error does not count towards the engine's end.
        """
        self.context.metrics.process_errors.labels().value += 1
        if self.performer.at_once is not None:
            self._unexamined[pid] = f"process {pid}: {error}"
        kind = type(error).__name__
        if isinstance(error, HoldfastError):
            if kind not in self._logged:
                self._logged.add(kind)
                LOG.warning("cannot examine a process; further occurrences are not logged", pid=pid, error=error)
            return
        where = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{where.filename}:{where.lineno}"
        LOG.error("cannot examine a process", pid=pid, error=f"{kind}: {error}", at=at)

    def on_carried(self, result: Carried) -> None:
        """Take a result of the mover."""
        self.performer.carried(result)
        self._examine_pending()

    def clear_up(self) -> None:
        """Restore files that no rule sets now, and remove groups that no rule needs.

        The mover may have made a group since it was last read, and noted a row for a file in it. The facts read before
        would make that group look gone, so they are forgotten first. While files are restored, the refused ones are
        tried again: the kernel may refuse a limit until another one is restored.
        """
        self.fact_reader.forget_groups()
        self.context.executor.check_groups()
        files, before = self.reconciler.table.files, -1
        while before != len(files):
            before = len(files)
            actions = self.reconciler.clear_up()
            self.performer.perform(actions)
            if not any(isinstance(action, Unset) and self.reconciler.table.get(action.row) for action in actions):
                break

    # -- requests ----------------------------------------------------------------------------------------------------

    def override(self, pid: int, start_ticks: int | None, adj: int, ttl_ns: int, why: str) -> Placement:
        """Override a process's ``oom_score_adj`` for ``ttl_ns``, whatever the system's clock is set to meanwhile.

        Raises:
            ProcessGone: the process ended, or another one has the pid now.
            FailedPrecondition: the kernel refused; the override is dropped.
            Unavailable: the journal cannot be written; there is no override then.
        """
        self.take_forks()
        stat_line = self.context.reader.stat_line(pid)
        if start_ticks not in (None, stat_line.start_ticks) or stat_line.kernel_thread:
            raise ProcessGone(str(pid))
        requests = self.reconciler.requests
        earlier = self.reconciler.table.held(pid, stat_line.start_ticks)
        before = earlier.override if earlier is not None else None
        now = self.context.now()
        row = OverrideRow(
            pid, stat_line.start_ticks, adj, now.unix_ns + ttl_ns, why, now.ticks + max(1, ttl_ns // TICK_NS)
        )
        self.performer.perform(requests.override(row))
        self._examine_pending()
        placement = self.reconciler.placement(pid)
        if placement is None:
            raise ProcessGone(str(pid))
        refused = next((one for one in placement.refusals if one.field is Field.OOM_SCORE_ADJ), None)
        if refused is None:
            return replace(placement)
        self.performer.perform(requests.override(before) if before is not None else requests.end_override(row))
        self._examine_pending()
        raise FailedPrecondition(refused.detail)

    def end_override(self, pid: int) -> bool:
        """End an override; the rules decide again. False: there was none.

        Raises:
            Unavailable: the journal cannot be written; the override stays.
        """
        self.take_forks()
        row = self.reconciler.table.overridden.get(pid)
        if row is None:
            return False
        self.performer.perform(self.reconciler.requests.end_override(row))
        self._examine_pending()
        return True

    def expire(self, now: Now) -> None:
        """End the overrides whose time is over."""
        requests = self.reconciler.requests
        for row in requests.expired(now):
            self.performer.perform(requests.end_override(row, needed=False))
        self._examine_pending()

    def adopt(self, pid: int, requested: int, written: int, rule: str) -> None:
        """Take over a process that was created with a value that ``rule`` gave it; nothing happens if it is gone.

        Raises:
            Unavailable: it is known as long as we run; the journal's file has no room for it.
        """
        self.take_forks()  # also of the process that had this pid before
        try:
            facts = self.fact_reader.alone(self.context.reader.stat_line(pid))
        except ProcessGone:
            return
        self.performer.perform(self.reconciler.requests.adopt(facts, requested, written, rule))
        self._examine_pending()
        self.journal.catch_up()

    def adopt_files(self, rows: Iterable[FileRow]) -> None:
        """Take over files that the creator of their group wrote for a rule; see `Requests.adopt_files`.

        Raises:
            Unavailable: see `adopt`.
        """
        self.performer.perform(self.reconciler.requests.adopt_files(rows, self.context.executor.find))
        self.journal.catch_up()

    def restore(self, rule: str | None = None, pid: int | None = None) -> Restored:
        """Restore everything, or the changes of one rule or to one process. This lasts until rules are set again.

        It restores one process at a time, so it needs three descriptors, however much there is to restore.
        """
        self.take_forks()
        self._finish_orders()
        results: list[Result] = []
        self.performer.at_once, self._unexamined = results, {}
        gone = 0
        try:
            if pid is None:
                self.record_heirs()
            self.performer.perform(self.reconciler.requests.suspend(rule, pid))
            for one in list(dict.fromkeys(self.performer.pending)):
                gone += self.reconciler.is_known(one) and not self._is_there(one)
            self._examine_pending()
            if pid is None:
                self._restore_latecomers()
                self.clear_up()
        finally:
            self.performer.at_once = None
        left = self.reconciler.table.processes
        return restored(results, gone, [text for one, text in self._unexamined.items() if one in left])

    def _finish_orders(self) -> None:
        """Finish the orders under way; those that follow from their results are carried out at once.

        An order under way is not decided again, so a restore would leave its process to the examination after it. When
        the engine stops there is none.
        """
        self.performer.at_once = []
        try:
            self.context.mover.drain()
            for carried in self.context.mover.results():
                self.on_carried(carried)
        finally:
            self.performer.at_once = None

    def _restore_latecomers(self) -> None:
        """Restore processes that were being forked while their parents were restored, and what these forked."""
        known = set(self.reconciler.table.processes)
        self.record_heirs()
        self.performer.pending.extend(self.reconciler.table.processes.keys() - known)
        self.take_forks()

    def _is_there(self, pid: int) -> bool:
        try:
            stat_line = self.context.reader.stat_line(pid)
        except HoldfastError:
            return False
        ticks = 0 if stat_line.ended else stat_line.start_ticks
        placement, held = self.reconciler.placement(pid), self.reconciler.table.processes.get(pid)
        return ticks in (placement.start_ticks if placement else None, held.start_ticks if held else None)


def give_back(proc_root: str, hierarchy: Hierarchy, journal: Journal) -> Restored:
    """Restore everything from the journal alone: after a crash, without an engine."""
    with ProcRoot(proc_root) as proc:
        executor = Executor(proc, hierarchy, journal)
        evidence = EvidenceReader(proc, hierarchy)
        context = EngineContext(
            ProcReader(proc), evidence, executor, Mover(executor), lambda report: None, PlacementMetrics()
        )
        return Examiner(context, Reconciler(journal.table, read_host(proc_root, hierarchy))).restore()
