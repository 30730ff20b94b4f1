"""Decides what follows for each process from the facts read of it, and settles results. No I/O, clock or thread.

Theory
------
1. *One table.* The journal's table is the only place that says what we changed. The public view of it (`Placement`) is
   kept beside it, in `entry`. ``observe`` and the other methods return actions. `apply.executor` carries the actions
   out and returns results, which ``settle`` takes. Between the two nothing is assumed: a value is ours only when it is
   known to be written.
2. *Before* is the value that would be there without us, never a value of ours. One definition holds for a process's
   ``oom_score_adj``, a process's group in a hierarchy, and a group's file:

   * While the present value is *ours* (we wrote it, or may have written it), before stays the value found at our first
     write. When another program has written a value since, that value becomes before, and restoring leaves it in place.
     A process that was forked until then inherited the earlier value, so it is examined first.
   * A value or a group may be *inherited*: we never wrote to the process, but it was forked, or a runtime started it in
     a container, while another process had the value from us. Its before is the before of that other process
     (`heritage`). Files are not inherited.
   * A value that a runtime wrote for a rule when it made a process or a group is ours. Its before is the value that the
     request to the runtime had.
   * Before is taken at the moment of the write, not when the process was examined: for a move it is the group that the
     process is in at that moment (`executor`).

3. *The states of a row:* wanted (in the journal, perhaps written) → written → restored and dropped. A write that the
   kernel refuses did not happen, so ``wanted`` is cleared and ``written`` stays as it was. A row that cannot be
   restored stays and is retried each time the process is examined, until it succeeds or the process or group is gone.
   This is reported once (`settlement`).
4. *An order under way is waited for.* A move may take 14 ms, on another thread. While a process has an order under way,
   its moves are not decided again. The process is examined again when the order is settled, so that a process that
   leaves a rule meanwhile is moved back after it was moved.
5. *Heirs are ours.* A process that inherited a value of ours and matches no rule has a row and is shown
   (`State.INHERITED`). The value is restored when the rule that the value came from is removed, by a restore request,
   or when we stop with ``on_stop: restore``. It stays if that rule only has another name (`renaming`), or if the
   process that it came from still has it, under another rule (`Heritage.rerule`).
6. *"No rule is known" differs from "no rule".* A value stays in force while the source of its rule cannot be read, or
   while its rule asks about a pod that is not known yet.
7. *Preview* uses `decide`: the same decision, with nothing carried out.

``observe`` proceeds in this order: rows for what was inherited (`heritage`), the decision (`decider`), then either the
writes and orders of the rule (`enforcement`) or a restore (`restorer`).
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.node.apply.action import Action, Cleared, Follow, Forget, Look, Result, Wrote
from holdfast.node.engine.clearance import Clearance
from holdfast.node.engine.decider import Decider
from holdfast.node.engine.descent import Descent
from holdfast.node.engine.enforcement import Enforcement
from holdfast.node.engine.entry import Entries, Entry, Now, made
from holdfast.node.engine.forks import Followed
from holdfast.node.engine.heritage import Heritage
from holdfast.node.engine.recent_rows import FORK_TICKS
from holdfast.node.engine.renaming import new_names, renamed_rows
from holdfast.node.engine.request import Requests
from holdfast.node.engine.restored_moves import RestoredMoves
from holdfast.node.engine.restorer import Restorer
from holdfast.node.engine.rule_state import RuleState
from holdfast.node.engine.settlement import Settlement
from holdfast.node.journal.table import Table
from holdfast.node.model.decision import Decision
from holdfast.node.model.placement import Placement
from holdfast.node.model.process import Held, HostFacts, PodLookup, Process
from holdfast.node.plan.claims import Claims
from holdfast.node.rule.ruleset import Rules


class Reconciler:
    """See the theory above."""

    def __init__(self, table: Table, host: HostFacts, pods: PodLookup | None = None) -> None:
        self.table, self.host = table, host
        self.rule_state, self.entries, self.followed = RuleState(table), Entries(table), Followed()
        self.descent, self._restored_moves = Descent(table, self.entries), RestoredMoves()
        self._decider = Decider(self.rule_state, self.entries, self.descent, host)
        self._heritage = Heritage(self.rule_state, self.entries, self.descent, self._restored_moves)
        self._enforcement = Enforcement(self.rule_state, self.entries, self.descent.recent_rows)
        self._restorer = Restorer(self.rule_state, self.entries, self.descent.recent_rows)
        self._settlement = Settlement(table, self.entries, self._restored_moves, self.descent.recent_rows)
        self._clearance = Clearance(self.rule_state, self._decider.claims, host, pods)
        self.requests = Requests(self.rule_state, self.entries, self._decider.claims, host.page_bytes)

    # -- state -------------------------------------------------------------------------------------------------------

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self.rule_state.rules

    @property
    def suspended(self) -> set[str]:
        """The rules that were restored and wait to be set again."""
        return self.rule_state.suspended

    @property
    def claims(self) -> Claims:
        """Which rule decides which file of a group."""
        return self._decider.claims

    def placements(self) -> list[Placement]:
        """Return what is shown of every process that is under a rule or has something of ours."""
        return list(self.entries.values())

    def placement(self, pid: int) -> Placement | None:
        """Return the placement of one process; None: it has none."""
        return self.entries.get(pid)

    def is_known(self, pid: int) -> bool:
        """Whether a process is to be examined, whatever its name."""
        return pid in self.entries or pid in self.table.processes or self.descent.forks.forker(pid) is not None

    def held(self, pid: int, start_ticks: int) -> Held | None:
        """See `Decider.held`."""
        return self._decider.held(pid, start_ticks)

    def known(self, process: Process) -> Process:
        """See `Decider.known`."""
        return self._decider.known(process)

    def passed_on(self, process: Process) -> str | None:
        """See `Heritage.passed_on`."""
        return self._heritage.passed_on(process)

    def decide(self, process: Process) -> Decision | None:
        """See `Decider.decide`."""
        return self._decider.decide(process)

    # -- observations ------------------------------------------------------------------------------------------------

    def observe(self, process: Process, now: Now, at_ns: int = 0) -> list[Action]:
        """Return the actions that follow from the facts read of a process; ``at_ns``: the event that led here, or 0."""
        self.descent.recent_rows.forget_before(now.ticks - FORK_TICKS)
        actions = self.inherit(process)
        held = self.table.held(process.pid, process.start_ticks)
        if held is not None:
            if giver_first := self._heritage.first(process, held):
                return actions + giver_first
            actions += self._heritage.rerule(held)
            actions += self._heritage.heirs_first(process, held)
        entry = self.entries.get(process.pid)
        seen = process if held is None else self._decider.known(process)  # without rows it inherited nothing
        decision = self._decider.decide(seen)
        if held is not None and decision is not None and (decision.rule is None or decision.as_child):
            raised = self._heritage.raised_by_itself(process)
            if raised:
                actions += raised
                seen = self._decider.known(process)
                decision = self._decider.decide(seen)
        if decision is None:
            self._stand(process, entry, now)
            return actions
        if decision.rule is None:
            actions += self.followed.follow(process.pid, wanted=False)
            return actions + self._restorer.unruled(process, entry, now)
        if entry is None:
            if not at_ns and seen.held is None and (adopted := self._heritage.adopt_orphan(process, decision.rule)):
                return actions + adopted + self.observe(process, now)
            entry = made(process, decision.rule, now)
        self.entries.show_ruled(entry, seen, held, decision, now)
        actions += self.followed.follow(
            process.pid, wanted=self.rules.may_hold_children_of(decision.group_rule or decision.rule)
        )
        if decision.dry_run:
            actions += self._enforcement.plan_only(entry, decision, now)
        else:
            actions += self._enforcement.enforce(entry, seen, held, decision, now, at_ns)
        self.entries[process.pid] = entry  # last: another thread may show it, and only now is its state known
        return actions

    def inherit(self, process: Process) -> list[Action]:
        """Make rows for what a process inherited from another process that has it from us.

        An earlier process with the same pid has ended: drop its rows.
        """
        actions: list[Action] = []
        entry, held = self.entries.get(process.pid), self.table.processes.get(process.pid)
        for known in (entry, held):
            if known is not None and known.start_ticks != process.start_ticks:
                actions += self.gone(process.pid, known.start_ticks)
        if held is not None:
            actions += self._settlement.agree(process)
        return actions + self._heritage.inherit(process)

    def _stand(self, process: Process, entry: Entry | None, now: Now) -> None:
        """Leave everything in force as it is, and show the process as it is now."""
        held = self.table.held(process.pid, process.start_ticks)
        if entry is None and held is not None:
            entry = self.entries[process.pid] = made(process, held.values[0].rule, now)
        if entry is not None:
            self.entries.show(entry, process, held)

    def forked(self, forks: Iterable[tuple[int, int]]) -> list[Look]:
        """Record forks, each as parent and child; the actions examine the children that are heirs."""
        return [Look(child) for child in self.descent.forks.told(forks)]

    def begin(self) -> None:
        """Begin a rescan: every process is examined from now on."""
        self.descent.forks.begin()
        self._restored_moves.begin()

    def gone(self, pid: int, start_ticks: int | None = None) -> list[Action]:
        """Forget a process that ended (``start_ticks`` None: any process that had the pid).

        A rescan forgets ended processes in slices.
        """
        entry, held = self.entries.get(pid), self.table.processes.get(pid)
        if entry is not None and start_ticks in (None, entry.start_ticks):
            del self.entries[pid]
        follow = self.followed.follow(pid, wanted=False) if pid not in self.entries else []
        if held is not None and start_ticks in (None, held.start_ticks):
            self.rule_state.let_go.discard((pid, held.start_ticks))
            return [Forget(tuple(held.rows)), *follow]
        return follow

    # -- results -----------------------------------------------------------------------------------------------------

    def settle(self, result: Result, now: Now) -> list[Action]:
        """Return the actions that follow from the result of an action."""
        if isinstance(result, Wrote):
            return self._settlement.wrote(result, now)
        if isinstance(result, Cleared):
            return self._clearance.cleared(result)
        return self._settlement.carried(result, now)

    # -- rules -------------------------------------------------------------------------------------------------------

    def set_rules(self, rules: Rules) -> list[Action]:
        """Decide by these rules from now on. Processes under an older rule have to be examined.

        Everything under a rule that has another name now comes under that name at once.
        """
        renamed = new_names(self.rules, rules)
        self.rule_state.take(rules)
        self.claims.clear()
        return [*(renamed_rows(self.table, renamed, rules) if renamed else ()), Follow()]

    def clear_up(self) -> list[Action]:
        """See `Clearance.clear_up`."""
        return self._clearance.clear_up()
