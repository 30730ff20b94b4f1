"""Carries out actions in order, each with the actions that follow from its result; counts them, and reports news.

It only notes which processes to examine next (`Performer.pending`); `examiner` examines them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache

from msgspec import Struct

from holdfast import log
from holdfast.errors import HoldfastError, KernelRefused
from holdfast.node.apply.action import (
    Action,
    Amend,
    Carried,
    Commit,
    Deed,
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
    Stuck,
    Tell,
    Unset,
    Write,
    Wrote,
)
from holdfast.node.apply.executor import Executor
from holdfast.node.apply.metrics import PlacementMetrics
from holdfast.node.apply.mover import Mover
from holdfast.node.engine.entry import Now
from holdfast.node.engine.fact_reader import FactReader
from holdfast.node.engine.reconciler import Reconciler
from holdfast.node.model.decision import Field, MoveChange, SettingChange
from holdfast.node.model.placement import Happening, Report
from holdfast.node.proc.evidence import EvidenceReader
from holdfast.node.proc.host import Groups
from holdfast.node.proc.reader import ProcReader
from holdfast.process import OpenProcess

LOG = log.named(__name__)
_TICKS_S = 100  # USER_HZ, of start_ticks
_COUNTED = {How.DONE: "done", How.REFUSED: "refused"}


@lru_cache(maxsize=1)  # one object for all the rows of a tick: a rescan may write thirty
def _shared(ticks: int) -> int:
    return ticks


def now() -> Now:
    """Return the present moment."""
    return Now(time.time_ns(), _shared(int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_S)))


class EngineContext(Struct, frozen=True):
    """The tools of the engine: readers, the writer, the queue of orders, the receiver of reports, and the metrics.

    ``forks`` returns the forks since its last call, ``now`` the time; ``allows``: whether a process is examined for an
    event (`EventLimits.allows_examination`).
    """

    reader: ProcReader
    evidence: EvidenceReader
    executor: Executor
    mover: Mover
    report: Callable[[Report], None]
    metrics: PlacementMetrics
    forks: Callable[[], Iterable[tuple[int, int]]] = tuple
    now: Callable[[], Now] = now
    allows: Callable[[OpenProcess], bool] = lambda process: True


class Performer:
    """Carries out actions.

    ``pending``: processes that the actions call to examine. ``examined`` counts examinations of one process each, heirs
    included. ``followed_changed``: the set of processes whose forks are to be reported changed. ``at_once``, if it is a
    list, receives all results: orders are not queued during a restore.
    """

    def __init__(self, context: EngineContext, reconciler: Reconciler, fact_reader: FactReader) -> None:
        self.pending: deque[int] = deque()
        self.examined = 0
        self.followed_changed = False
        self.at_once: list[Result] | None = None
        self._context, self._reconciler, self._fact_reader = context, reconciler, fact_reader
        self._journal = context.executor.journal
        self._logged: set[object] = set()
        self._handed_over = 0  # the number of the last order
        self._adj_written = context.metrics.writes.labels(Field.OOM_SCORE_ADJ, "done")
        self._adj_after = context.metrics.held_after.labels(Field.OOM_SCORE_ADJ)
        self._group_after = context.metrics.held_after.labels(Field.CGROUP)
        self._moved = context.metrics.writes.labels(Field.CGROUP, "done")

    def reset_logged_refusals(self) -> None:
        """Report refusals again: rules were set."""
        self._logged.clear()

    def perform(self, actions: Iterable[Action], process: OpenProcess | None = None) -> None:
        """Carry out actions. ``process``: the process of the writes and orders among them; an order takes it over.

        Raises:
            Unavailable: an override cannot be journaled.
        """
        waiting = deque(actions)
        while waiting:
            action = waiting.popleft()
            match action:
                case Tell():
                    self._tell(action.report)
                case Order() if self.at_once is None:
                    assert process is not None
                    self._context.mover.submit(action, process.hand_over())
                    self._handed_over = action.number
                case Order() | Write() | GiveBack() | Unset() | Remove():
                    waiting.extendleft(reversed(self._settle(self._carried_out(action, process))))
                case _:
                    self._note(action)

    def _carried_out(self, action: Deed, process: OpenProcess | None) -> Result:
        executor = self._context.executor
        match action:
            case Unset() | Remove():
                return executor.clear(action)
            case Order():
                assert process is not None
                return executor.carry_out(action, process)
        assert process is not None
        return executor.write(process, action)

    def withdraw(self, actions: Iterable[Action]) -> None:
        """Withdraw the orders among actions that failed before they were handed over: no result of them will come."""
        for action in actions:
            if isinstance(action, Order) and action.number > self._handed_over:
                self._reconciler.entries.withdraw(action)

    def carried(self, result: Carried) -> None:
        """Take a result of the mover."""
        self.perform(self._settle(result))

    def _tell(self, report: Report) -> None:
        if report.happening is Happening.DRIFTED:
            self._context.metrics.drift.inc(report.rule)
        self._context.report(report)

    def _note(self, action: Action) -> None:
        match action:
            case Commit():
                self._journal.commit(action.rows, action.drops, needed=action.needed)
            case Amend():
                self._journal.amend(action.old, action.row)
            case Forget():
                self._journal.forget(action.rows)
            case Look():
                self.pending.append(action.pid)
            case Heirs():
                self.find_heirs(action.pid)
            case Follow():
                self.followed_changed = True
            case Refused():
                self._refused(action)
            case Stuck():
                LOG.warning(
                    "cannot restore now; trying again", what=action.what, rule=action.rule, detail=action.detail
                )

    def _refused(self, action: Refused) -> None:
        for refusal in action.refusals:
            self._context.metrics.refusals.inc(action.rule, refusal.reason)
            key = (action.rule, refusal.reason, refusal.field)
            if key not in self._logged:
                self._logged.add(key)
                LOG.warning(
                    "a rule cannot be applied",
                    rule=action.rule,
                    pid=action.pid,
                    comm=action.comm,
                    reason=refusal.reason,
                    detail=refusal.detail,
                )

    # -- heirs -------------------------------------------------------------------------------------------------------

    def find_heirs(self, pid: int) -> None:
        """Find what descendants have from a process while that is known; then examine those that have something."""
        found = [look.pid for look in self._reconciler.forked(self._context.forks())]  # their parents may have ended
        waiting = deque((pid,))
        while found or waiting:
            children = found or list(self._context.reader.children_of(waiting.popleft()))
            found = []
            waiting.extend(filter(self._is_heir, children))

    def _is_heir(self, pid: int) -> bool:
        """Whether a process has something of ours that was not known yet.

        Raises:
            KernelRefused: no descriptor or memory is left.
        """
        table = self._reconciler.table
        self.examined += 1
        try:
            stat_line = self._context.reader.stat_line(pid)
            had = table.held(pid, stat_line.start_ticks) is not None
            self.perform(self._reconciler.inherit(self._fact_reader.alone(stat_line)))
        except HoldfastError as error:
            if isinstance(error, KernelRefused) and error.is_want:
                raise
            return False
        if had or table.held(pid, stat_line.start_ticks) is None:
            return False
        self.pending.append(pid)
        return True

    # -- results -----------------------------------------------------------------------------------------------------

    def _settle(self, result: Result) -> list[Action]:
        if self.at_once is not None:
            self.at_once.append(result)
        if isinstance(result, Wrote):
            self._count_write(result)
        elif isinstance(result, Carried):
            self._count_order(result)
            ago_ns = time.monotonic_ns() - result.at_ns
            moment = self._context.now()
            return self._reconciler.settle(result, Now(moment.unix_ns - ago_ns, moment.ticks))
        return self._reconciler.settle(result, self._context.now())

    def _count_write(self, result: Wrote) -> None:
        if result.how is How.REFUSED:
            self._context.metrics.writes.inc(Field.OOM_SCORE_ADJ, "refused")
        elif result.how is How.DONE and isinstance(result.action, Write):
            self._adj_written.value += 1
            if result.action.at_ns:
                self._adj_after.observe((time.monotonic_ns() - result.action.at_ns) / 1e9)

    def _count_order(self, result: Carried) -> None:
        moved = False
        for came in result.came:
            how, change = came.how, None if isinstance(came.step, Return) else came.step.change
            if isinstance(change, SettingChange):
                self._forget_group(change.group)
                if how in _COUNTED:
                    self._context.metrics.writes.inc(Field.SETTING, _COUNTED[how])
            elif how is How.DONE or how is How.APART:
                moved = True
                self._moved.value += 1
            elif how is How.REFUSED:
                self._context.metrics.writes.inc(Field.CGROUP, "refused")
            if isinstance(change, MoveChange) and (change.create or how is How.REFUSED):
                self._forget_group(change.after)
        if result.stranger:
            self._context.metrics.strangers.inc()
        if moved and result.order.at_ns:
            self._group_after.observe((result.at_ns - result.order.at_ns) / 1e9)

    def _forget_group(self, path: str) -> None:
        groups = self._reconciler.host.groups
        if isinstance(groups, Groups):
            groups.forget(path)
