"""What follows for each process from what is seen of it, and what becomes of what was done. No I/O, clock, thread.

Theory
------
1. *One table.* What we changed is in the journal's table and nowhere else; what is shown of it (`Placement`) is beside
   it, in `entry`. ``observe`` and the others answer with actions; who carries them out (`apply.executor`) comes back
   with results, which ``settle`` takes. In between nothing is assumed: a value is ours when it is known to be written.
2. *Before* is what would stand without us, and never a value of ours. One definition:

   * Of an ``oom_score_adj``, a process's group in a hierarchy and a group's file alike: while what is there is *ours*
     (we wrote it, or may have), before stays what it was at our first write. What another program chose since is its
     own: it becomes before, and is left where the way back finds it. What was forked until then has what was there
     before that: it is looked at first.
   * A value or a group may be *inherited*: a process that we never wrote to forked, or was started by a runtime in a
     container, while another one had it from us. Its before is that one's (`heritage`). Files are not inherited.
   * What a runtime wrote for a rule as it made a process or a group is ours; before is what it was asked to write.
   * It is taken at the moment of the write, not of the look: a move's from where the process is then (`executor`).

3. *A row has a life*: wanted (in the journal, perhaps written) → written → given back and dropped. What the kernel
   refuses was not written, so ``wanted`` goes and ``written`` stays as it was. What cannot be given back stays a row
   and is tried at each look, until it can be or the process or group is gone; this is told once (`settlement`).
4. *What is under way is waited for.* A move may take 14 ms, on another thread. While a process has an order under way
   its moves are not decided anew: it is looked at again when the order is settled, so that who leaves a rule meanwhile
   is moved back after it was moved.
5. *Heirs are ours.* Who inherited a value of ours and falls under no rule has a row: it is shown (`State.INHERITED`),
   and is given back when the rule it came by is no more, by restore, or when we stop with ``on_stop: restore``.
6. *No rule known is not no rule.* What stands under a rule of a source that cannot be read now, and what asks for a pod
   that is not known yet, stands on.
7. *Preview* is `decide`: the same, with nothing done about it.

An ``observe`` goes: rows for what was inherited (`heritage`), the decision (`decider`), and then either what its rule
wants (`enforcement`) or the way back (`way_back`).
"""

from __future__ import annotations

from holdfast.node.apply.action import Action, Cleared, Follow, Forget, Look, Result, Wrote
from holdfast.node.engine.clearance import Clearance
from holdfast.node.engine.decider import Decider
from holdfast.node.engine.descent import Descent
from holdfast.node.engine.enforcement import Enforcement
from holdfast.node.engine.entry import Entries, Entry, Now, made
from holdfast.node.engine.forks import Followed
from holdfast.node.engine.heritage import Heritage
from holdfast.node.engine.in_force import InForce
from holdfast.node.engine.lately import FORK_TICKS
from holdfast.node.engine.request import Requests
from holdfast.node.engine.returned import Returned
from holdfast.node.engine.settlement import Settlement
from holdfast.node.engine.way_back import WayBack
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
        self.force, self.entries, self.followed = InForce(table), Entries(table), Followed()
        self.descent, self._returned = Descent(table), Returned()
        self._decider = Decider(self.force, self.entries, self.descent, host)
        self._heritage = Heritage(table, self.entries, self.descent, self._returned)
        self._enforcement = Enforcement(self.force, self.entries, self.descent.lately)
        self._way_back = WayBack(self.force, self.entries, self.descent.lately)
        self._settlement = Settlement(table, self.entries, self._returned, self.descent.lately)
        self._clearance = Clearance(self.force, host, pods)
        self.requests = Requests(self.force, self.entries)

    # -- asked -------------------------------------------------------------------------------------------------------

    @property
    def rules(self) -> Rules:
        """Those in force."""
        return self.force.rules

    @property
    def suspended(self) -> set[str]:
        """Rules that were given back and wait to be set again."""
        return self.force.suspended

    @property
    def claims(self) -> Claims:
        """Which rule decides which file of a group."""
        return self._decider.claims

    def placements(self) -> list[Placement]:
        """What is shown of every process under a rule or with something of ours."""
        return [entry.placement for entry in list(self.entries.values())]

    def placement(self, pid: int) -> Placement | None:
        """That of one process."""
        entry = self.entries.get(pid)
        return entry.placement if entry is not None else None

    def is_known(self, pid: int) -> bool:
        """Whether a process is to be looked at, whatever its name."""
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

    # -- seen --------------------------------------------------------------------------------------------------------

    def observe(self, process: Process, now: Now, at_ns: int = 0) -> list[Action]:
        """What follows from what was seen of a process; ``at_ns``: the event that led to it, or 0."""
        self.descent.lately.forget_before(now.ticks - FORK_TICKS)
        actions = self.inherit(process) + self._heritage.heirs_first(process)
        entry = self.entries.get(process.pid)
        seen = self._decider.known(process)
        decision = self._decider.decide(seen)
        if decision is None:
            self._stand(process, entry, now)
            return actions
        if decision.rule is None:
            actions += self.followed.follow(process.pid, wanted=False)
            return actions + self._way_back.unruled(process, entry, now)
        if entry is None:
            if not at_ns and seen.held is None and (adopted := self._heritage.adopt_orphan(process, decision.rule)):
                return actions + adopted + self.observe(process, now)
            entry = made(process, decision.rule, now)
        self.entries.show_ruled(entry.placement, seen, decision, now)
        actions += self.followed.follow(process.pid, wanted=self.rules.may_hold_children_of(decision.rule))
        if decision.dry_run:
            actions += self._enforcement.plan_only(entry, decision, now)
        else:
            actions += self._enforcement.enforce(entry, seen, decision, now, at_ns)
        self.entries[process.pid] = entry  # at last: another thread may show it, and its state is known now
        return actions

    def inherit(self, process: Process) -> list[Action]:
        """Have rows for what a process has from another one that has it from us; whoever had its number is gone."""
        actions: list[Action] = []
        for known in (self.entries.get(process.pid), self.table.processes.get(process.pid)):
            ticks = known.placement.start_ticks if isinstance(known, Entry) else known.start_ticks if known else 0
            if known is not None and ticks != process.start_ticks:
                actions += self.gone(process.pid, ticks)
        actions += self._settlement.agree(process)
        return actions + self._heritage.inherit(process)

    def _stand(self, process: Process, entry: Entry | None, now: Now) -> None:
        """What stands, stands on; it is shown as it is."""
        held = self.table.held(process.pid, process.start_ticks)
        if entry is None and held is not None:
            entry = self.entries[process.pid] = made(process, held.values[0].rule, now)
        if entry is not None:
            self.entries.show(entry.placement, process)

    def forked(self, parent: int, child: int) -> list[Action]:
        """A process forked."""
        return [Look(child)] if self.descent.forks.told(parent, child) else []

    def begin(self) -> None:
        """Everybody is looked at from now on."""
        self.descent.forks.begin()
        self._returned.begin()

    def gone(self, pid: int, start_ticks: int | None = None) -> list[Action]:
        """A process (``start_ticks`` None: who had the number) is no more. The dead are forgotten in slices."""
        entry, held = self.entries.get(pid), self.table.processes.get(pid)
        if entry is not None and start_ticks in (None, entry.placement.start_ticks):
            del self.entries[pid]
        follow = self.followed.follow(pid, wanted=False) if pid not in self.entries else []
        if held is not None and start_ticks in (None, held.start_ticks):
            self.force.let_go.discard((pid, held.start_ticks))
            return [Forget(tuple(held.rows)), *follow]
        return follow

    # -- done --------------------------------------------------------------------------------------------------------

    def settle(self, result: Result, now: Now) -> list[Action]:
        """What follows from what came of an action."""
        if isinstance(result, Wrote):
            return self._settlement.wrote(result, now)
        if isinstance(result, Cleared):
            return self._clearance.cleared(result)
        return self._settlement.carried(result, now)

    # -- told --------------------------------------------------------------------------------------------------------

    def set_rules(self, rules: Rules) -> list[Action]:
        """Decide by these from now on; who is under an older rule is to be looked at."""
        self.force.take(rules)
        self.claims.clear()
        return [Follow()]

    def clear_up(self) -> list[Action]:
        """See `Clearance.clear_up`."""
        return self._clearance.clear_up()
