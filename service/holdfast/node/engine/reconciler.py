"""Keeping each process where its rule says: one process in, a decision, and what had to be written about it.

No threads and no waiting here: the engine's thread calls, moves are handed on, time comes as an argument.

An exec event and a sweep end in the same `act`. A sweep reads by number, which is cheap, and decides; only if
something is to be done is the process opened, looked at again through the descriptor, decided again, and written to.
What was decided about a process is a `Placement`; what was written is in the journal (`apply.executor`).
"""

from __future__ import annotations

import time
import traceback

from msgspec.structs import replace

from holdfast import log
from holdfast.errors import HoldfastError, ProcessGone
from holdfast.node.apply.executor import Actor, Hands
from holdfast.node.apply.move_job import Outcome
from holdfast.node.engine.match_cache import Indifference
from holdfast.node.engine.required_files import wants_of
from holdfast.node.journal.rows import HandRow
from holdfast.node.model.decision import Change, Decision, Field
from holdfast.node.model.evidence import EXECUTED
from holdfast.node.model.placement import BY_HAND, Happening, Placement, State, state_of
from holdfast.node.model.process import HostFacts, Lineage, Process
from holdfast.node.plan.claims import Claims
from holdfast.node.plan.plan import plan
from holdfast.node.proc.host import Groups
from holdfast.node.proc.parse import Glance, name_and_parent
from holdfast.node.proc.reader import Wants
from holdfast.node.rule.ruleset import Rules
from holdfast.process import OpenProcess

LOG = log.named(__name__)
#: What runc runs in a container for milliseconds before the process that becomes the program (``runc:[2:INIT]``), which
#: would inherit from it a value of ours that nobody knows to be ours.
_RUNC_STAGES = frozenset({"runc:[0:PARENT]", "runc:[1:CHILD]"})


class Keeper:
    """The state of the engine's thread. ``suspended`` are rules that were given back and wait to be set again."""

    def __init__(self, hands: Hands, facts: HostFacts) -> None:
        self.hands = hands
        self.actor = Actor(hands)
        self.facts = facts
        self.rules = Rules()
        self.claims = Claims()
        self.wants = self._sweep_wants = Wants()
        self.placements: dict[int, Placement] = {}
        self.followed: set[int] = set()
        self.by_hand: dict[int, HandRow] = {}
        self.suspended: set[str] = set()
        self._let_go: set[tuple[int, int]] = set()
        self.followed_changed = False
        self.indifference = Indifference(hands.reader)
        self._said: set[str] = set()

    def set_rules(self, rules: Rules) -> None:
        """Decide by these from now on; who is under an older rule is looked at by the next sweep."""
        self.rules = rules
        self.claims.clear()
        self.wants = wants_of(rules)
        self._sweep_wants = replace(self.wants, groups=True)
        self.suspended.clear()
        self._let_go.clear()
        self.indifference.set_rules(rules)
        self._said.clear()
        self.actor.say_anew()
        self.look_anew()

    def look_anew(self) -> None:
        """Read groups again when they are next asked for; a pod may be known by now."""
        self.indifference.forget_groups()
        self.hands.evidence.forget()
        if isinstance(self.facts.groups, Groups):
            self.facts.groups.forget()

    def of_interest(self, glance: Glance) -> bool:
        """Whether anything can follow for a process, as far as one file tells. Forgets who had its number before."""
        placement = self.placements.get(glance.pid)
        if placement is not None and placement.start_ticks != glance.start_ticks:
            self.forget(glance.pid)
            placement = None
        if glance.pid == self.facts.own_pid or glance.comm in _RUNC_STAGES:
            return False
        if glance.kernel_thread:
            if self.indifference.could_match(glance.comm):  # a process of its name is seldom one of interest, either
                self.indifference.note(glance.comm, self.hands.reader.group_text(glance.pid), in_no_pod=True)
            return False
        if placement is not None or glance.ppid in self.followed or glance.pid in self.by_hand:
            return True
        return self.indifference.could_match(glance.comm)

    def is_dull(self, pid: int) -> bool:
        """Whether a name, or a name in its groups, was seen before and no rule can hold for it: a file or two.

        Raises:
            ProcessGone: nobody has the number.
        """
        if pid in self.placements or pid in self.by_hand:
            return False
        if not self.followed:
            return self.indifference.has(self.hands.reader.name(pid), pid)
        name, ppid = name_and_parent(self.hands.reader.stat(pid))
        return ppid not in self.followed and self.indifference.has(name, pid)

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
            self.forget(pid)
        except Exception as error:
            self.cannot(pid, error)
        else:
            self.look_at(pid, at_ns)

    def look_at(self, pid: int, at_ns: int = 0) -> None:
        """Decide about one process and do what follows; ``at_ns``: the event that led to it, monotonic, or 0."""
        try:
            with self.hands.reader.proc.open(pid) as process:
                glance = self.hands.reader.glance_of(process)
                if not self.of_interest(glance):
                    return
                facts, decision = self.decide(glance, process)
                if decision.rule is None and facts.cgroups:
                    self.indifference.note(facts.comm, process.read("cgroup"))
                self.act(process, facts, decision, at_ns)
        except ProcessGone:
            self.forget(pid)
        except Exception as error:
            self.cannot(pid, error)

    def cannot(self, pid: int, error: Exception) -> None:
        """Leave one process out: it cannot be read (hidepid), the journal cannot be written, or it meets a mistake.

        That is this process's trouble: the rest goes on, and nothing of it counts towards the engine's end.
        """
        self.hands.tally.process_errors.labels().value += 1
        kind = type(error).__name__
        if isinstance(error, HoldfastError):
            if kind not in self._said:
                self._said.add(kind)
                LOG.warning("cannot look after a process; more of these are not told", pid=pid, error=error)
            return
        where = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{where.filename}:{where.lineno}"
        LOG.error("cannot look after a process", pid=pid, error=f"{kind}: {error}", at=at)

    def on_outcome(self, outcome: Outcome) -> None:
        """What the mover did."""
        if isinstance(self.facts.groups, Groups):
            for change in outcome.order.changes:
                if change.create or outcome.refused or change.field is Field.SETTING:
                    self.facts.groups.forget(change.group)
        placement = self.placements.get(outcome.order.process.pid)
        if placement is not None and placement.start_ticks != outcome.order.start_ticks:
            placement = None
        self.actor.on_outcome(outcome, placement)

    def forget(self, pid: int) -> None:
        """The process is gone; its rows in the journal go with the next sweep."""
        self.placements.pop(pid, None)
        self.hands.evidence.gone(pid)
        self._unfollow(pid)
        self.by_hand.pop(pid, None)
        self.actor.forget(pid)

    def _unfollow(self, pid: int) -> None:
        if pid in self.followed:
            self.followed.discard(pid)
            self.followed_changed = True

    def decide(
        self, glance: Glance, opened: OpenProcess | None = None, *, again: bool = True
    ) -> tuple[Process, Decision]:
        """What follows for a process: of an exec by what the rules ask about alone, of a sweep with its groups.

        Raises:
            ProcessGone: it ended.
        """
        reader = self.hands.reader
        wants = self.wants if opened is not None else self._sweep_wants
        facts = reader.facts(glance, wants, self.actor.held(glance.pid, glance.start_ticks), opened)
        lineage = self._lineage_of(facts, sweep=opened is None)
        facts = reader.with_ancestors(facts, lineage, self.wants, self.actor.held)
        hand = self.by_hand.get(glance.pid)
        if hand is not None and hand.start_ticks == glance.start_ticks:
            return facts, _by_hand(facts, hand)
        keys, line = self.rules.evidence_for(facts)
        facts = self.hands.evidence.attach(facts, keys, opened, line=line)
        if facts.evidence.exe == EXECUTED and again:  # between the two reads: what was read first is another program's
            fresh = reader.glance(glance.pid) if opened is None else reader.glance_of(opened)
            return self.decide(fresh, opened, again=False)
        decision = plan(facts, self.rules, self.facts, self.claims)
        if (standing := self._awaits_facts(facts, decision)) is not None:
            return facts, standing
        if decision.rule in self.suspended:
            self.claims.withdraw(decision.rule or "")
        if decision.rule in self.suspended or (facts.pid, facts.start_ticks) in self._let_go:
            decision = Decision(facts.pid, facts.start_ticks)
        return facts, decision

    def _awaits_facts(self, facts: Process, decision: Decision) -> Decision | None:
        """What stands, while nobody can say whether it still should.

        The pod may be known by its cgroup's name alone: after a restart the first look comes before the container
        runtime has answered. Or the command line cannot be read now. No process is to lose the protection of a rule
        that asks for a label, or for a command line, for as long as that is not known.
        """
        placement = self.placements.get(facts.pid)
        if placement is None or placement.start_ticks != facts.start_ticks or placement.rule == decision.rule:
            return None
        by_names = facts.pod is not None and not facts.pod.name and self.rules.asks_runtime(placement.rule)
        if not (by_names or (facts.unread and self.rules.asks_cmdline(placement.rule))):
            return None
        return Decision(
            facts.pid,
            facts.start_ticks,
            placement.rule,
            placement.changes,
            placement.refusals,
            dry_run=bool(placement.changes),
            as_child=placement.as_child,
        )

    def _lineage_of(self, facts: Process, *, sweep: bool) -> Lineage:
        """How much of its ancestry can change anything."""
        if self.rules.any_lends and (facts.ppid in self.followed or (facts.held is not None and facts.held.as_child)):
            return Lineage.ALL
        return self.rules.lineage if sweep or self._asks_ancestors_of(facts) else Lineage.NONE

    def _asks_ancestors_of(self, facts: Process) -> bool:
        """Whether they can change anything: of ten execs nine are of nobody's child, and 0.5 ms cheaper to decide."""
        known = facts.pid in self.placements or facts.ppid in self.followed
        return self.rules.lineage is not Lineage.NONE and (known or self.rules.asks_ancestors_of(facts))

    def is_settled(self, facts: Process, decision: Decision) -> bool:
        """Whether a decision says what stands already, so that there is nothing to do or to say."""
        placement = self.placements.get(facts.pid)
        if placement is None or decision.rule is None:
            return placement is None and decision.rule is None
        nothing_to_do = decision.dry_run or (not decision.changes and self._dropped(facts, decision) == (False, False))
        return (
            nothing_to_do
            and placement.rule == decision.rule
            and placement.changes == decision.changes
            and placement.refusals == decision.refusals
            and placement.oom_score_adj == facts.oom_score_adj
            and placement.comm == facts.comm
        )

    def act(self, process: OpenProcess, facts: Process, decision: Decision, at_ns: int) -> None:
        """Do what was decided about a process; ``at_ns``: the event that led to it, monotonic, or 0."""
        placement = self.placements.get(facts.pid)
        if decision.rule is None:
            if placement is not None:
                self._release(process, placement)
            return
        if placement is None:
            placement = Placement(facts.pid, facts.start_ticks, facts.comm, decision.rule, since_ns=time.time_ns())
            self.placements[facts.pid] = placement
        if facts.pod is not None and facts.held is None:
            facts = self._inherit(facts, decision)
        self._note(placement, facts, decision)
        if decision.dry_run:
            self._plan_only(placement, decision)
            return
        placement.changes = ()
        adj, groups = self._dropped(facts, decision)
        if adj or groups:
            self.actor.give_back(process, placement, adj=adj, groups=groups, force=True)
        self.actor.carry_out(process, placement, decision, at_ns)

    def _inherit(self, facts: Process, decision: Decision) -> Process:
        """A process that came to its container when the value was there already: held as the container's first one is.

        What a runtime executes in a container that was created with a rule's value is born with it, and what the
        container's own processes start inherits it. Without us each would have what the first one had before.
        """
        main = facts.pod.main if facts.pod is not None else None
        first = self.actor.row(*main) if main is not None and main[0] != facts.pid else None
        if first is None or decision.dry_run or not decision.adjusts or decision.as_child:
            return facts
        if (first.rule, int(first.written)) != (decision.rule, facts.oom_score_adj):
            return facts
        row = replace(first, pid=facts.pid, start_ticks=facts.start_ticks)
        self.hands.journal.hold((row,))
        self.actor.remember(row)
        return replace(facts, held=self.actor.held(facts.pid, facts.start_ticks))

    def _note(self, placement: Placement, facts: Process, decision: Decision) -> None:
        """What the record says of the process, whatever is written."""
        assert decision.rule is not None
        if placement.rule != decision.rule:
            self.actor.rerule(placement, decision)
            placement.rule, placement.since_ns = decision.rule, time.time_ns()
        elif placement.state is State.PLANNED and not decision.dry_run:
            placement.since_ns = time.time_ns()  # the dry run is over: held since now
        placement.as_child, placement.by_claim = decision.as_child, decision.by_claim
        placement.adjusts, placement.inherited = decision.adjusts, decision.inherited
        placement.comm = facts.comm
        placement.oom_score_adj = facts.oom_score_adj
        placement.adj_before = facts.held.adj_before if facts.held else None
        if facts.cgroups:  # not read at an exec when no rule asks; the next sweep fills it in
            placement.group = facts.memory_group
            placement.pod = facts.pod
        placement.expires_ns = self.by_hand[facts.pid].expires_ns if decision.rule == BY_HAND else 0
        follow = self.rules.may_hold_children_of(decision.rule) or (
            self.rules.lends(decision.rule) and not decision.dry_run and (facts.held is not None or _adjusts(decision))
        )
        if follow != (facts.pid in self.followed):
            self.followed_changed = True
            (self.followed.add if follow else self.followed.discard)(facts.pid)

    def _plan_only(self, placement: Placement, decision: Decision) -> None:
        if placement.changes != decision.changes and decision.changes:
            self.actor.report(Happening.PLANNED, placement, decision.changes)
        placement.changes = decision.changes
        self.actor.refuse(placement, decision.refusals)
        placement.state = State.PLANNED if decision.changes else state_of(decision.refusals, did=False)

    def _dropped(self, facts: Process, decision: Decision) -> tuple[bool, bool]:
        """Whether the rule no longer says anything of the oom_score_adj, and of the group, that we once wrote."""
        if decision.dry_run:
            return False, False
        return (
            self.actor.has_adj(facts.pid) and not decision.adjusts,
            facts.pid in self.actor.moved and not decision.moves,
        )

    def _release(self, process: OpenProcess, placement: Placement) -> None:
        """No rule says anything of the process any more."""
        force = placement.rule in self.suspended or (placement.pid, placement.start_ticks) in self._let_go
        kept = self.actor.give_back(process, placement, adj=True, groups=True, force=force)
        self.placements.pop(process.pid, None)
        self._unfollow(process.pid)
        self.actor.report(Happening.RELEASED, placement, (), "left as it is (on_remove: keep)" if kept else "")

    def let_go(self, pid: int) -> None:
        """No rule applies to this very process until rules are set again."""
        placement = self.placements.get(pid)
        if placement is not None:
            self._let_go.add((pid, placement.start_ticks))


def _adjusts(decision: Decision) -> bool:
    return any(change.field is Field.OOM_SCORE_ADJ for change in decision.changes)


def _by_hand(facts: Process, hand: HandRow) -> Decision:
    changes: tuple[Change, ...] = ()
    if facts.oom_score_adj != hand.adj:
        changes = (Change(Field.OOM_SCORE_ADJ, str(facts.oom_score_adj), str(hand.adj)),)
    return Decision(facts.pid, facts.start_ticks, BY_HAND, changes)
