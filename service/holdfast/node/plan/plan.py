"""The plan: the decision for one process, from the rules and the facts of the machine. It reads and writes nothing.

Theory
------
A decision consists of *changes*, in the order in which they are to be made, and *refusals*, each with its remedy. The
same function answers the engine (which carries the changes out), ``preview`` (all processes, nothing carried out) and
``explain`` (one process, with every rule considered): they show exactly what the engine would do.

1. *One rule.* The first rule that matches decides everything; rules are never mixed.
2. *Idempotent.* A value that is already as wanted is not a change. The plan for a process that is as it should be is
   empty, so a rescan may plan all processes at any time, and a change that a rescan finds is either news or drift.
3. *From the base, not from our own value.* ``at_least``, ``at_most``, ``only_if_inherited`` and ``children`` use the
   value that the process had without us (`Process.held`), as long as it still has the value that we wrote. Otherwise a
   rule that is loosened would keep its old effect.
4. *oom_score_adj first.* It takes a microsecond, while a move may wait for an RCU grace period of 6 to 14 ms. Then come
   the target's settings, then the moves into it.
5. *A part that is impossible is refused alone*; the rest of the rule continues.
6. *Protection needs facts.* A part that leaves a process better off than its base is done if facts name the process
   (`rule.protection`, `model.evidence`), or if the rule trusts claims. Otherwise this part alone is refused, and what
   we gave before is restored. While a fact is undecided, the rule's present values stay.
7. *Protection is not inherited.* If a process has a value that we wrote to its ancestor, its base is that ancestor's
   base.
8. *Interlocks.* Changes that have caused damage before are refused unless the rule allows them by name: pid 1, -1000,
   leaving a pod, leaving limits, a target that is too small or frozen. Kernel threads and our own process are never
   touched.
9. *One value for a file of a group.* Where several rules apply in a group, the first of them decides (`claims`).
"""

from __future__ import annotations

from msgspec import Struct

from holdfast.node.model.decision import AdjChange, Change, Decision, Field, Reason, Refusal
from holdfast.node.model.process import GroupFacts, HostFacts, Process
from holdfast.node.plan.cgroup import line_up, plan_in_place, plan_move, raises_a_limit
from holdfast.node.plan.claims import Claims
from holdfast.node.plan.kubelet import explained
from holdfast.node.rule.annotation import BY_ANNOTATION, PREFIX, asks_of, shown
from holdfast.node.rule.protection import KEPT, leaves_limits, spares
from holdfast.node.rule.ruleset import BY_FACTS, CompiledRule, Identification, RuleMatch, Rules, RuleTrace, lender_of
from holdfast.node.rule.schema import CgroupTarget, OomScoreAdj, Rule

CAN_LOWER = "CAP_SYS_RESOURCE"
MOST_ASKS = 8  # annotations of one pod that an explanation names: their author may write any number


class Explanation(Struct, frozen=True):
    """A decision with its reasons. ``notes`` are facts worth knowing that are neither change nor refusal."""

    process: Process
    decision: Decision
    considered: tuple[RuleTrace, ...]
    notes: tuple[str, ...]


class _Part(Struct, frozen=True):
    """The decision on one thing that a rule sets; ``kept`` False: the value given before is to be restored."""

    changes: tuple[Change, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    kept: bool = True
    by_claim: bool = False


def plan(process: Process, rules: Rules, host: HostFacts, claims: Claims | None = None) -> Decision:
    """Return the decision for ``process``; see the theory above. ``claims``: the rule for each file of a group."""
    return plan_under(process, None if process.kernel_thread else rules.find(process), host, claims)


def plan_under(process: Process, found: RuleMatch | None, host: HostFacts, claims: Claims | None = None) -> Decision:
    """Return the decision for ``process`` under the rule that was found for it."""
    if found is None or process.kernel_thread:
        return Decision(process.pid, process.start_ticks)
    rule = found.rule
    outright = _interlock(process, rule, host)
    if outright is not None:
        return _decision(process, found, _Part(refusals=(outright,)), _Part())
    adjusted = _plan_adjustment(process, found, host)
    if found.as_child:
        return _decision(process, found, adjusted, _Part())
    return _decision(process, found, adjusted, _plan_groups(process, found, host, claims or Claims()))


def _plan_groups(process: Process, found: RuleMatch, host: HostFacts, claims: Claims) -> _Part:
    """Plan the move and the settings, each refused as a whole if it protects by claims that the rule does not trust."""
    rule = found.rule
    if rule.spec.cgroup is not None:  # then it has no settings in place: see `compile`
        standing = _standing(process, found) if _move_protects(rule.spec, rule.spec.cgroup, host) else BY_FACTS
        if standing.why and not rule.spec.trust_claims:
            return _Part(refusals=(_claim(Field.CGROUP, standing),), kept=standing.undecided)
        changes, refusals = plan_move(process, rule, host, claims)
    elif rule.spec.in_place:
        standing = _standing(process, found) if _settings_protect(process, rule, host) else BY_FACTS
        if standing.why and not rule.spec.trust_claims:
            return _Part(refusals=(_claim(Field.SETTING, standing),))
        changes, refusals = plan_in_place(process, rule, host, claims)
    else:
        return _Part()
    return _Part(changes, refusals, by_claim=bool(standing.why))


def _move_protects(rule: Rule, target: CgroupTarget, host: HostFacts) -> bool:
    """Whether the move may leave limits, or leads to a group whose memory is protected from reclaim.

    With ``memory_recursiveprot``, as systemd mounts cgroup v2, a group shares the protection of those above it.
    """
    if leaves_limits(rule) or spares(target.settings):
        return True
    groups = host.groups
    return any(_is_spared(group) for path in line_up(target.path) if (group := groups.get(path)) is not None)


def _is_spared(group: GroupFacts) -> bool:
    least, low, _ = KEPT
    return group.values.get(least, "0") not in ("0", "") or group.values.get(low, "0") not in ("0", "")


def _settings_protect(process: Process, rule: CompiledRule, host: HostFacts) -> bool:
    return bool(spares(rule.spec.in_place)) or raises_a_limit(process, rule, host)


def _standing(process: Process, found: RuleMatch) -> Identification:
    if not found.as_child:
        return found.rule.standing(process)
    return found.standing


def _claim(field: Field, standing: Identification) -> Refusal:
    return Refusal(
        Reason.CLAIM,
        field,
        f"it would protect by a claim: {standing.why}; trust_claims: true on the rule lifts this",
    )


def explain(process: Process, rules: Rules, host: HostFacts, claims: Claims | None = None) -> Explanation:
    """Return the decision, and every rule with the first clause that failed."""
    decision = plan(process, rules, host, claims)
    notes = (*_notes(process, rules), *_pod_notes(process, decision, rules, host))
    return Explanation(process, decision, rules.consider(process), notes)


def _decision(process: Process, found: RuleMatch, adjusted: _Part, grouped: _Part) -> Decision:
    rule = found.rule
    keeps = found.as_child and rule.adjustment is not None and rule.adjustment.children == "inherit"
    return Decision(
        process.pid,
        process.start_ticks,
        rule.name,
        adjusted.changes + grouped.changes,
        adjusted.refusals + grouped.refusals,
        dry_run=rule.dry_run,
        restore_on_remove=rule.spec.on_remove == "restore",
        as_child=found.as_child,
        adjusts=rule.adjustment is not None and adjusted.kept,
        moves=rule.spec.cgroup is not None and not found.as_child and grouped.kept,
        by_claim=adjusted.by_claim or grouped.by_claim,
        inherited=keeps,
    )


def _interlock(process: Process, rule: CompiledRule, host: HostFacts) -> Refusal | None:
    """Return the refusal that forbids the whole rule for this process."""
    which = Field.OOM_SCORE_ADJ if rule.adjustment else Field.CGROUP
    if process.pid == host.own_pid:
        return Refusal(
            Reason.SELF,
            which,
            "this is holdfast itself: its own place is oom_score and cgroup.path of its configuration",
        )
    if process.pid == 1 and not rule.spec.allow_init:
        return Refusal(
            Reason.INIT,
            which,
            "pid 1 hands what it has to every process it starts; allow_init: true on the rule lifts this",
        )
    return None


def _plan_adjustment(process: Process, found: RuleMatch, host: HostFacts) -> _Part:
    adjustment, spec = found.rule.adjustment, found.rule.spec
    if adjustment is None:
        return _Part()
    if own := _chosen_by_itself(process, found):
        return _Part(refusals=(own,))
    wanted = _wanted(process, adjustment, found)
    if wanted is None:
        return _Part()
    standing = _standing(process, found) if wanted < base_adjustment(process) else BY_FACTS
    if standing.why and not spec.trust_claims:
        return _without_protection(process, found, standing)
    refusal = _unwritable(process, wanted, spec, host)
    changes = () if refusal or wanted == process.oom_score_adj else (_adjustment_to(process, wanted),)
    return _Part(changes, (refusal,) if refusal else (), by_claim=bool(standing.why))


def _adjustment_to(process: Process, value: int) -> AdjChange:
    return AdjChange(process.oom_score_adj, value)


def _unwritable(process: Process, wanted: int, rule: Rule, host: HostFacts) -> Refusal | None:
    """Return the refusal that forbids a value by itself."""
    if wanted == process.oom_score_adj:
        return None
    if wanted == -1000 and not rule.unkillable:
        return _unkillable()
    if wanted < min(process.oom_score_adj, 0) and CAN_LOWER not in host.capabilities:
        return Refusal(
            Reason.CAPABILITY,
            Field.OOM_SCORE_ADJ,
            f"{process.oom_score_adj} to {wanted} needs {CAN_LOWER}, which this daemon lacks: add the capability",
        )
    return None


def _without_protection(process: Process, found: RuleMatch, standing: Identification) -> _Part:
    """Refuse a protecting value, and restore what the process has of it from us, written or inherited."""
    refusal = _claim(Field.OOM_SCORE_ADJ, standing)
    held = process.held
    if standing.undecided:
        return _Part(refusals=(refusal,), kept=held is not None and held.rule == found.rule.name)
    if lender_of(process) is None:
        return _Part(refusals=(refusal,), kept=False)
    return _Part((_adjustment_to(process, base_adjustment(process)),), (refusal,))


def _unkillable() -> Refusal:
    return Refusal(
        Reason.UNKILLABLE, Field.OOM_SCORE_ADJ, "-1000 hides it from every OOM; unkillable: true on the rule lifts this"
    )


def base_adjustment(process: Process) -> int:
    """Return the value that the process has without us.

    That is the value before, if the process still has the value that we wrote, or inherited a value that we wrote;
    otherwise its present value.
    """
    held = process.held or lender_of(process)
    return held.adj_before if held and process.oom_score_adj == held.adj_written else process.oom_score_adj


def _wanted(process: Process, adjustment: OomScoreAdj, found: RuleMatch) -> int | None:
    if found.as_child:
        return _for_child(process, adjustment, found.ancestor)
    if adjustment.value is not None:
        return adjustment.value
    if adjustment.at_least is None and adjustment.at_most is None:
        return None
    base = base_adjustment(process)
    if adjustment.at_least is not None:
        base = max(base, adjustment.at_least)
    if adjustment.at_most is not None:
        base = min(base, adjustment.at_most)
    return base


def _for_child(process: Process, adjustment: OomScoreAdj, ancestor: Process | None) -> int | None:
    """Return the value for a child: the rule's number, else its ancestor's base; None where children keep theirs."""
    if isinstance(adjustment.children, int):
        return adjustment.children
    if adjustment.children == "inherit":
        return None
    if ancestor is None:
        return process.held.adj_before if process.held else None
    return base_adjustment(ancestor)


def _chosen_by_itself(process: Process, found: RuleMatch) -> Refusal | None:
    """Return a refusal if the process, not its parent, chose its value, and the rule respects that."""
    if not (found.as_child or found.rule.spec.only_if_inherited) or not process.ancestors:
        return None
    held = process.held
    if held and process.oom_score_adj in (held.adj_written, held.adj_before):
        return None
    parent = process.ancestors[0]
    inheritable = {parent.oom_score_adj, base_adjustment(parent), *_given_to_family(process, found)}
    if process.oom_score_adj in inheritable:
        return None
    return Refusal(
        Reason.SET_BY_ITSELF,
        Field.OOM_SCORE_ADJ,
        f"it has {process.oom_score_adj}, its parent {base_adjustment(parent)}: it chose that itself and keeps it",
    )


def _given_to_family(process: Process, found: RuleMatch) -> tuple[int, ...]:
    """Return, for a child, the values that it may have inherited.

    These are its ancestors' present values, those that the rule gives its leader and children, and a runtime's for its
    container.
    """
    adjustment = found.rule.adjustment
    if not found.as_child or adjustment is None:
        return ()
    given = process.pod.oom_score_adj if process.pod is not None else None
    values = {given, adjustment.value, adjustment.children, *(a.oom_score_adj for a in process.ancestors)}
    return tuple(value for value in values if isinstance(value, int))


def _notes(process: Process, rules: Rules) -> tuple[str, ...]:
    notes = []
    if process.kernel_thread:
        notes.append("a kernel thread: never touched")
    if process.unread:
        notes.append(f"its command line is not known, so no rule that asks for it holds: {process.unread}")
    if process.oom_score_adj == -1000:
        notes.append("-1000: no OOM killer picks it")
    if process.held and process.held.adj_written != process.oom_score_adj:
        notes.append(f"it was given {process.held.adj_written}, and something changed it to {process.oom_score_adj}")
    found = rules.find(process)
    if found and found.rule.adjustment and found.rule.adjustment.children == "inherit" and not found.as_child:
        notes.append("what it starts inherits its oom_score_adj: children: inherit on the rule")
    if process.pod is not None and not process.pod.name:
        notes.append("its pod's name and labels are not known here: only uid, QoS and container id, from the cgroup")
    return tuple(notes)


def _pod_notes(process: Process, decision: Decision, rules: Rules, host: HostFacts) -> tuple[str, ...]:
    """Return notes on the kubelet's value and its reason, on changes to it, and on the pod's own annotations."""
    pod = process.pod
    if pod is None:
        return ()
    notes = []
    asked = pod.oom_score_adj if pod.oom_score_adj_asked is None else pod.oom_score_adj_asked
    if asked is not None:
        notes.append(f"the kubelet gave it {explained(pod.qos, asked, host.memory_pages * host.page_bytes)}")
        if pod.oom_score_adj not in (None, asked):
            notes.append(f"the runtime made that {pod.oom_score_adj}")
        if process.oom_score_adj != (asked if pod.oom_score_adj is None else pod.oom_score_adj):
            notes.append(f"it has {process.oom_score_adj} now, {_by_whom(process)}")
    asks = asks_of(pod.namespace, pod.annotations, rules.admitted)
    for ask in asks[:MOST_ASKS]:
        ours = f"its pod asks for {PREFIX}{ask.key}: {shown(ask.value)}"
        if ask.refused:
            notes.append(f"{ours}, which is refused: {ask.refused}")
        elif decision.rule not in (BY_ANNOTATION, None):
            notes.append(f"{ours}; rule {decision.rule} decides instead")
        else:
            notes.append(f"{ours}, which is allowed")
    if len(asks) > MOST_ASKS:
        notes.append(f"its pod has {len(asks) - MOST_ASKS} further annotations of ours")
    return tuple(notes)


def _by_whom(process: Process) -> str:
    held = process.held
    return f"by rule {held.rule}" if held and held.adj_written == process.oom_score_adj else "which we did not write"
