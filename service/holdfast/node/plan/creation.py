"""Decides which values the rules give a container as it is created, from facts of its pod, before a process exists.

Theory
------
1. *The first rule that matches decides*, as for a process. The process does not exist yet, so some keys can be answered
   (``pod``, ``cgroup``) and others cannot (``comm``, ``exe``, ``user``, ``leader`` …). A rule that might match and
   cannot be answered blocks all rules after it. The engine decides when the program runs; so a value given here is one
   that the engine would give as well.
2. *The same plan.* `plan` decides what a rule leads to, interlocks included; only the writer is another.
3. *Only what the runtime can write at that moment:* the first process's oom_score_adj, settings of the container's own
   group (cgroup v2), and the group that it is put into. The rest is left to the engine, which finds most of it done.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from msgspec import Struct, field
from msgspec.structs import replace

from holdfast.node.model.decision import AdjChange, Decision, MoveChange, SettingChange
from holdfast.node.model.evidence import Evidence
from holdfast.node.model.process import UNIFIED, HostFacts, PodFacts, Process
from holdfast.node.plan.plan import CAN_LOWER, plan_under
from holdfast.node.rule.clause import Clause, clauses_of
from holdfast.node.rule.ruleset import CompiledRule, RuleMatch, Rules
from holdfast.node.rule.schema import Match, PodMatch

_EMPTY: Mapping[str, str] = MappingProxyType({})


class ContainerRequest(Struct, frozen=True):
    """A container about to be created. ``group``: the path that its own cgroup will have, empty if that is not known.

    ``oom_score_adj`` is the value in the request to the runtime.
    """

    pod: PodFacts
    oom_score_adj: int
    group: str = ""


class ContainerAdjustment(Struct, frozen=True):
    """The values that a rule gives a new container; None or empty: nothing. ``dry_run``: they are only reported.

    ``group`` is the cgroup that the rule moves to, ``settings`` are files of the container's own v2 group.
    """

    rule: str
    oom_score_adj: int | None = None
    group: str = ""
    settings: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    dry_run: bool = False

    @property
    def anything(self) -> bool:
        """Whether there is anything to give."""
        return self.oom_score_adj is not None or bool(self.group or self.settings)


def at_creation(container_request: ContainerRequest, rules: Rules, host: HostFacts) -> ContainerAdjustment | None:
    """Return the values that the rules give; None: none, or they cannot be known before the program runs."""
    process = _process(container_request, host)
    rule = _decided(process, rules)
    if rule is None or rule.spec.only_if_inherited:  # whether the process chose its value itself is known later
        return None
    # The runtime writes: whether *we* may lower a value does not matter.
    able = replace(host, groups={}, capabilities=host.capabilities | {CAN_LOWER})
    decision = plan_under(process, RuleMatch(rule), able)
    return _creation(decision, container_request, host)


def _process(container_request: ContainerRequest, host: HostFacts) -> Process:
    """Return the future process, as far as it is known.

    Its pid is 0, which no process has; 1 and our own have interlocks. Its pod is a fact: it comes from the runtime that
    makes it.
    """
    names = host.hierarchies if container_request.group else ()
    return Process(
        pid=0,
        start_ticks=0,
        ppid=0,
        comm="",
        cgroups=dict.fromkeys(names, container_request.group),
        oom_score_adj=container_request.oom_score_adj,
        pod=container_request.pod,
        evidence=Evidence(pod=""),
    )


def _decided(process: Process, rules: Rules) -> CompiledRule | None:
    """Return the first rule that matches, else the rule of the pod's annotations; None: neither, or not known yet.

    Rules that yield to annotations are left out if the pod has an admitted one.
    """
    asked = rules.admitted_rule(process.pod)
    for rule in rules.rules:
        if asked is not None and rule.spec.yields_to_annotations:
            continue
        holds = _holds(rule, process)
        if holds is None:
            return None
        if holds:
            return rule
    return asked


def _holds(rule: CompiledRule, process: Process) -> bool | None:
    """Whether a rule's keys match; one key that does not match settles it. None: a key cannot be answered."""
    match = rule.spec.match
    if not match.descendants:
        answers = [_answer(clause, process) for clause in rule.clauses]
    elif isinstance(match.pod, PodMatch):  # a container's ancestors are in no pod: the pod is its own, or it is none
        answers = [_answer(clause, process) for clause in _of_pods(match.pod)]
        if match != Match(pod=match.pod, descendants=True):
            answers.append(None)
    else:
        return None
    if False in answers:
        return False
    return None if None in answers else True


@lru_cache(maxsize=1024)
def _of_pods(pod: PodMatch) -> tuple[Clause, ...]:
    return clauses_of(Match(pod=pod), lambda _: None)


def _answer(clause: Clause, process: Process) -> bool | None:
    """Whether a clause holds; None: the fact that it asks about is not known."""
    if clause.key == "match.pod.qos" and process.pod is not None and not process.pod.qos:
        return None
    if clause.key.startswith("match.pod") or (clause.key == "match.cgroup" and process.cgroups):
        return clause.holds(process)
    return None


def _creation(decision: Decision, container_request: ContainerRequest, host: HostFacts) -> ContainerAdjustment | None:
    assert decision.rule is not None
    adj: int | None = None
    group, settings = "", {}
    for change in decision.changes:
        if isinstance(change, AdjChange):
            adj = change.after
        elif isinstance(change, MoveChange):
            group = change.after
        elif _is_own(change, container_request, host):
            settings[change.file] = change.after
    made = ContainerAdjustment(decision.rule, adj, group, MappingProxyType(settings), decision.dry_run)
    return made if made.anything else None


def _is_own(change: SettingChange, container_request: ContainerRequest, host: HostFacts) -> bool:
    """Whether a runtime can make the setting: it is of the container's own group; runc has ``unified`` on v2 only."""
    return host.is_v2 and change.hierarchy == UNIFIED and change.group == container_request.group
