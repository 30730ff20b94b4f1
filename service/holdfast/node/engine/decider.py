"""Decides about one process: its plan, or what precedes it. Nothing is carried out, so preview uses it. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from holdfast.node.engine.descent import Descent
from holdfast.node.engine.entry import Entries, by_hand
from holdfast.node.engine.rule_state import RuleState
from holdfast.node.journal.table import ProcessRows
from holdfast.node.model.decision import Decision
from holdfast.node.model.placement import BY_HAND
from holdfast.node.model.process import Held, HostFacts, Process
from holdfast.node.plan.claims import Claims
from holdfast.node.plan.plan import plan


class Decider:
    """Plans a process by the rules in force, unless it is overridden, restored, or not known well enough."""

    def __init__(self, rule_state: RuleState, entries: Entries, descent: Descent, host: HostFacts) -> None:
        self.claims = Claims()
        self._rule_state, self._entries, self._descent, self._host = rule_state, entries, descent, host
        self._table = rule_state.table

    def held(self, pid: int, start_ticks: int) -> Held | None:
        """Return what we did to a process's ``oom_score_adj``, in the form that a plan reads."""
        row = self._table.adj(pid, start_ticks)
        if row is None:
            return None
        written = row.wanted if row.written is None else row.written
        return Held(row.before, written or 0, row.rule, row.as_child, row.heir_of is not None)

    def known(self, process: Process) -> Process:
        """Return a process with what we did to its ``oom_score_adj``, or to the process that it inherited it from."""
        row = self._table.adj(process.pid, process.start_ticks)
        if row is None:
            giver = self._descent.giver_of(process, process.oom_score_adj)
            return (
                process
                if giver is None
                else replace(process, held=Held(giver.before, process.oom_score_adj, giver.rule, heir=True))
            )
        written = process.oom_score_adj if row.is_ours(process.oom_score_adj) else row.written
        written = row.before if written is None else written
        return replace(process, held=Held(row.before, written, row.rule, row.as_child, row.heir_of is not None))

    def decide(self, process: Process) -> Decision | None:
        """Return the decision for a process (as `known` returns it); None: everything in force stays."""
        held = self._table.held(process.pid, process.start_ticks)
        decision = self._by_rules(process, held)
        if held is not None and held.override is not None:
            return by_hand(process, held.override, decision)
        return decision

    def _by_rules(self, process: Process, held: ProcessRows | None) -> Decision | None:
        identity = process.pid, process.start_ticks
        decision = plan(process, self._rule_state.rules, self._host, self.claims)
        if self._stands_on(process, held, decision):
            return None
        suspended = decision.rule in self._rule_state.suspended
        if suspended:
            self.claims.withdraw(decision.rule or "")
        if suspended or identity in self._rule_state.let_go:
            return Decision(*identity)
        return decision

    def _stands_on(self, process: Process, held: ProcessRows | None, decision: Decision) -> bool:
        """Whether its rule cannot be read now, or the pod or command line that the rule asks about is not known now."""
        entry = self._entries.get(process.pid)
        if (entry is None and held is None) or (process.pid, process.start_ticks) in self._rule_state.let_go:
            return False
        own = [row for row in held.values if row.heir_of is None] if held is not None else []
        of_rows = next((row.rule for row in own if row.rule != BY_HAND), None)
        rule = entry.rule if entry is not None and entry.rule != BY_HAND else of_rows
        if rule is None or rule == decision.rule:
            return False
        rules = self._rule_state.rules
        nameless = process.pod is not None and not process.pod.name and rules.asks_runtime(rule)
        unknown = nameless or (bool(process.unread) and rules.asks_cmdline(rule))
        return (unknown and rule not in self._rule_state.suspended) or any(map(self._rule_state.is_unread, own))
