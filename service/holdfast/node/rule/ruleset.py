"""Compiled rules: the rule that a process falls under, and the first clause of each other rule that failed.

All keys of a rule must match; in a list any entry may; the first rule in order decides. Each key of all rules together
is one `ValueIndex`, so the candidates for a process cost a few dictionary look-ups and an ``&`` of integers, whatever
the number of rules. Keys without an index (pods, ancestry) are checked for the candidates only, in order.

A process that no rule matches may still be the child of one that a rule matches: the nearest ancestor that a rule
matches decides, and only if that rule sets ``children`` or the process inherited the rule's value
(`CompiledRule.lends`). Own matches come first, so that a job started over ssh falls under its own rule and not under
sshd's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from holdfast.node.model.process import Held, Lineage, PodFacts, Process
from holdfast.node.rule.annotation import BY_ANNOTATION, AdmissionTable, is_leader, rule_for
from holdfast.node.rule.clause import Clause, Users, ancestors_of
from holdfast.node.rule.pattern import UserIndex, ValueIndex
from holdfast.node.rule.protection import Grounds, group_protects, may_raise_limits, spares, standing_why
from holdfast.node.rule.schema import OomScoreAdj, Rule

_OF_RUNTIME = frozenset(f"match.pod.{key}" for key in ("namespace", "name", "labels", "annotations", "container"))
_INDEXED = ("match.comm", "match.exe", "match.user", "match.cgroup", "match.cmdline")


class Identification(Struct, frozen=True):
    """Whether facts alone identify a process: ``why`` not (empty: they do); ``undecided``: it cannot be decided now."""

    why: str = ""
    undecided: bool = False


BY_FACTS = Identification()


class CompiledRule(Struct, frozen=True):
    """A rule with its clauses. ``adjustment`` is the long form; ``dry_run`` includes the plugin's setting.

    ``order`` is its position among the rules in force. ``grounds`` are sets of keys; a set identifies a process when
    all its keys are facts.
    """

    spec: Rule
    clauses: tuple[Clause, ...]
    adjustment: OomScoreAdj | None
    dry_run: bool
    order: float = 0
    grounds: Grounds = ()

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.spec.name

    @property
    def unindexed(self) -> tuple[Clause, ...]:
        """The clauses without an index."""
        return tuple(clause for clause in self.clauses if clause.key not in _INDEXED)

    @property
    def has_children(self) -> bool:
        """Whether the rule sets a value for children in place of the one that they inherit."""
        return self.adjustment is not None and self.adjustment.children not in (None, "inherit")

    @property
    def lends(self) -> bool:
        """Whether a process without a rule may inherit this rule's value, to be given the base or to keep the value."""
        if self.adjustment is None or self.has_children:
            return False
        least = self.adjustment.value if self.adjustment.at_most is None else self.adjustment.at_most
        return least is not None and least < 1000

    @property
    def lends_group(self) -> bool:
        """Whether a child of a moved process, moved by no rule, returns to the cgroup that the process came from."""
        says_of_children = self.adjustment is not None and self.adjustment.children is not None
        return not says_of_children and group_protects(self.spec)

    @property
    def evidence(self) -> frozenset[str]:
        """The keys of `Evidence` to read before this rule protects a process; only these, so that reading is cheap."""
        return _EVIDENCE_OF_POD if self.name == BY_ANNOTATION else _evidence(self.grounds)

    @property
    def may_protect(self) -> bool:
        """Whether any part of the rule can leave a process better off than without the rule."""
        spec, adjustment = self.spec, self.adjustment
        if adjustment is not None and adjustment != OomScoreAdj(at_least=adjustment.at_least):
            return True
        # A target may be below a group whose memory is kept from reclaim: only the host has that.
        return spec.cgroup is not None or bool(spares(spec.in_place)) or may_raise_limits(spec.in_place)

    def standing(self, process: Process) -> Identification:
        """Whether facts alone identify ``process``, which this rule matches."""
        if self.name == BY_ANNOTATION:
            return Identification(f"pod is not a fact: {process.evidence.pod}") if process.evidence.pod else BY_FACTS
        family = self.clauses[0].inner if self.clauses else ()
        if not family:
            return self._standing(self.clauses, process)
        line = (process, *ancestors_of(process))
        found = [self._standing(family, one) for one in line if all(clause.holds(one) for clause in family)]
        return next((one for one in found if not one.why), found[0] if found else Identification("no ancestor matches"))

    def _standing(self, clauses: Iterable[Clause], process: Process) -> Identification:
        why, failing = standing_why({clause.key: clause.claim(process) for clause in clauses}, self.grounds)
        undecided = bool(failing) and all(key.removeprefix("match.") in process.evidence.undecided for key in failing)
        return Identification(why, undecided)


_EVIDENCE_OF_POD = frozenset({"pod"})


@lru_cache(maxsize=64)
def _evidence(grounds: Grounds) -> frozenset[str]:
    keys = {key.removeprefix("match.").partition(".")[0] for ground in grounds for key in ground}
    return frozenset(keys) - {"user"}


class RuleMatch(Struct, frozen=True):
    """The rule that a process falls under; ``as_child``: as a descendant of a match.

    ``ancestor`` is that match. None: the process matches itself, or its ancestors are gone.
    """

    rule: CompiledRule
    as_child: bool = False
    ancestor: Process | None = None

    @property
    def standing(self) -> Identification:
        """Whether facts alone identify the ``ancestor`` of a child. For a match see `CompiledRule.standing`."""
        return self.rule.standing(self.ancestor) if self.ancestor is not None else BY_FACTS


class KeyStanding(Struct, frozen=True):
    """One key of a rule that matches, and why it is a claim; empty for a fact."""

    key: str
    claim: str = ""


class RuleTrace(Struct, frozen=True):
    """One rule in an explanation: whether it matches, and which keys are facts; else the first failed key, and why."""

    rule: str
    holds: bool
    clause: str = ""
    wanted: str = ""
    found: str = ""
    keys: tuple[KeyStanding, ...] = ()


class Rules:
    """Compiled rules. ``origins`` are rules' sources by name; ``unread`` are named sources that cannot be read now."""

    def __init__(
        self,
        rules: Iterable[CompiledRule] = (),
        admitted: AdmissionTable | None = None,
        *,
        dry_run: bool = False,
        origins: Mapping[str, str] | None = None,
        unread: Collection[str] = (),
    ) -> None:
        self.rules = tuple(replace(rule, order=at) for at, rule in enumerate(rules))
        self.unread = frozenset(unread)
        self._origins = dict(origins or {})
        self.admitted = admitted or AdmissionTable()
        self._dry_run = dry_run
        self.names = tuple(rule.name for rule in self.rules)
        self.lineage = max((_lineage(rule) for rule in self.rules), default=Lineage.NONE)
        self._protects = any(entry.protect for _, entry in self.admitted.entries)
        if self._protects:
            self.lineage = Lineage.ALL
        self.targets = frozenset(rule.spec.cgroup.path for rule in self.rules if rule.spec.cgroup)
        self._by_name = {rule.name: rule for rule in self.rules}
        self._comm = self._index("match.comm")
        self._exe = self._index("match.exe")
        self._cgroup = self._index("match.cgroup")
        self._cmdline = self._index("match.cmdline")
        self._users = UserIndex(tuple(map(_users, self.rules)))
        self._in_pods = sum(1 << at for at, rule in enumerate(self.rules) if _wants_pod(rule))
        self._unindexed = tuple(rule.unindexed for rule in self.rules)
        self._any_children = any(rule.has_children or rule.lends for rule in self.rules)
        self._in_lineage = sum(1 << at for at, rule in enumerate(self.rules) if _lineage(rule))
        self.any_lends = any(rule.lends for rule in self.rules)
        self._any_evidence = bool(self.admitted) or any(rule.evidence for rule in self.rules if rule.may_protect)

    def _index(self, key: str) -> ValueIndex:
        return ValueIndex([next((c.patterns for c in rule.clauses if c.key == key), ()) for rule in self.rules])

    def __len__(self) -> int:
        return len(self.rules)

    def order_of(self, name: str) -> float:
        """A rule's position in the order; the rule of pods' annotations precedes the first rule that yields to it."""
        if name != BY_ANNOTATION:
            return self._by_name[name].order
        yielding = next((rule.order for rule in self.rules if rule.spec.yields_to_annotations), len(self.rules))
        return yielding - 0.5

    def named(self, name: str) -> CompiledRule | None:
        """The rule of that name."""
        return self._by_name.get(name)

    def sourced(self, origins: Mapping[str, str], unread: Collection[str] = ()) -> Rules:
        """Set the origins of the rules and return the rules; call it before they are in force."""
        self._origins, self.unread = dict(origins), frozenset(unread)
        return self

    def origin_of(self, name: str) -> str:
        """The source of a rule; empty for the configuration itself."""
        return self._origins.get(name, "")

    def could_match(self, comm: str) -> bool:
        """Whether a rule's own keys may match a process of this name; if not, no other file of it needs to be read."""
        return self._comm.holding(comm) != 0 or bool(self.admitted)

    @property
    def asks_groups(self) -> bool:
        """Whether a rule needs cgroups or pods (which are known by their cgroups), or pods may use annotations."""
        return (self._cgroup.asked | self._in_pods) != 0 or bool(self.admitted)

    def spec_named(self, name: str) -> Rule | None:
        """The rule of that name as it was written."""
        found = self._by_name.get(name)
        return found.spec if found is not None else None

    def evidence_for(self, process: Process) -> tuple[frozenset[str], bool]:
        """The evidence to read for a process before a decision about it, and whether for its ancestors, too.

        An empty set where no rule can protect it.
        """
        if not self._any_evidence:
            return frozenset(), False
        found = self.find(process)
        if found is None or not found.rule.may_protect:
            return frozenset(), False
        return found.rule.evidence, found.as_child or found.rule.spec.match.descendants

    def asked_for(self, pod: PodFacts | None) -> Rule | None:
        """The rule of a container's admitted annotations; None without one."""
        return rule_for(pod, self.admitted)

    def asks_runtime(self, name: str) -> bool:
        """Whether a rule needs data of a pod that only a container runtime has."""
        if name == BY_ANNOTATION:
            return bool(self.admitted)
        found = self._by_name.get(name)
        return found is not None and any(clause.key in _OF_RUNTIME for clause in found.clauses)

    def asks_cmdline(self, name: str) -> bool:
        """Whether a rule may need a command line, the process's own or an ancestor's."""
        found = self._by_name.get(name)
        return found is not None and (
            found.spec.match.descendants or any(clause.key == "match.cmdline" for clause in found.clauses)
        )

    def asks_ancestors_of(self, process: Process) -> bool:
        """Whether a rule that may match ``process``, or the rule of its pod's annotations, depends on its ancestors."""
        if process.pod is not None and self._protects:
            return True
        return self._candidates(process) & self._in_lineage != 0

    def could_match_in(self, comm: str, paths: Iterable[str], *, in_pod: bool = True) -> bool:
        """Whether a rule's own keys may match a process of this name in these cgroups."""
        paths = tuple(paths)
        if self.admitted and any("kubepods" in path for path in paths):
            return True
        bits = self._comm.holding(comm)
        if not in_pod:
            bits &= ~self._in_pods
        if bits & self._cgroup.asked:
            holding = ~self._cgroup.asked
            for path in paths:
                holding |= self._cgroup.holding(path)
            bits &= holding
        return bits != 0

    def may_hold_children_of(self, rule: str) -> bool:
        """Whether the engine must follow forks of a process under ``rule``."""
        if rule == BY_ANNOTATION:
            return self._protects
        found = self._by_name.get(rule)
        return found is not None and (found.has_children or found.spec.match.descendants)

    def lends(self, rule: str) -> bool:
        """Whether children of a process under ``rule`` inherit a value that comes from this rule alone."""
        found = self._by_name.get(rule)
        return found is not None and found.lends

    def find(self, process: Process) -> RuleMatch | None:
        """The rule that ``process`` falls under, or None: the operator's, its pod's annotations, or a built-in one."""
        found = self._find(process)
        if not self.admitted or (found is not None and not found.rule.spec.yields_to_annotations):
            return found
        rule = self.admitted_rule(process.pod)
        if rule is None:
            return found
        return RuleMatch(rule, rule.has_children and not is_leader(process))

    def admitted_rule(self, pod: PodFacts | None) -> CompiledRule | None:
        """The compiled rule of a container's admitted annotations; it matches every process of the container."""
        asked = self.asked_for(pod)
        if asked is None:
            return None
        adjustment = asked.oom_score_adj if isinstance(asked.oom_score_adj, OomScoreAdj) else None
        return CompiledRule(asked, (), adjustment, self._dry_run, self.order_of(BY_ANNOTATION))

    def _find(self, process: Process) -> RuleMatch | None:
        own = self.own_match(process)
        if own is not None:
            parent = next(ancestors_of(process), None) if own.has_children else None
            child = parent is not None and self.own_match(parent) is own
            return RuleMatch(own, child, parent if child else None)
        if not self._any_children:
            return None
        for ancestor in ancestors_of(process):
            found = self.own_match(ancestor)
            if found is not None:
                ours = found.has_children or (found.lends and _has_from(process, ancestor, found.name))
                return RuleMatch(found, as_child=True, ancestor=ancestor) if ours else None
        return self._held_as_child(process)

    def own_match(self, process: Process) -> CompiledRule | None:
        """The first rule whose own keys match ``process``."""
        bits = self._candidates(process)
        while bits:
            lowest = bits & -bits
            at = lowest.bit_length() - 1
            unindexed = self._unindexed[at]
            if not unindexed or all(clause.holds(process) for clause in unindexed):
                return self.rules[at]
            bits ^= lowest
        return None

    def consider(self, process: Process) -> tuple[RuleTrace, ...]:
        """Each rule in order, the rule of the pod's annotations included, with the first of its clauses that failed."""
        considered = [_consider(rule, process) for rule in self.rules]
        if self.asked_for(process.pod) is not None:
            at = next((at for at, rule in enumerate(self.rules) if rule.spec.yields_to_annotations), len(considered))
            considered.insert(at, RuleTrace(BY_ANNOTATION, holds=True))
        return tuple(considered)

    def _candidates(self, process: Process) -> int:
        bits = self._comm.holding(process.comm)
        if process.pod is None:
            bits &= ~self._in_pods
        if bits & self._exe.asked:
            bits &= self._exe.holding(process.exe)
        if bits & self._users.asked:
            bits &= self._users.holding(process.uid)
        if bits & self._cgroup.asked:
            holding = ~self._cgroup.asked
            for path in set(process.cgroups.values()):
                holding |= self._cgroup.holding(path)
            bits &= holding
        if bits & self._cmdline.asked:
            bits &= self._cmdline.holding(" ".join(process.cmdline))
        return bits

    def _held_as_child(self, process: Process) -> RuleMatch | None:
        """The rule of a child whose ancestors are gone: it stays the rule's child for as long as the rule exists."""
        held = process.held
        rule = self._by_name.get(held.rule) if held and (held.as_child or held.heir) else None
        if rule is None or held is None:
            return None
        if held.as_child:
            return RuleMatch(rule, as_child=True) if rule.has_children or (rule.lends and _is_at_base(held)) else None
        has_it = process.oom_score_adj == held.adj_written < held.adj_before
        return RuleMatch(rule, as_child=True) if rule.lends and has_it else None


def lender_of(process: Process) -> Held | None:
    """The `Held` of the nearest ancestor that has one, if ``process`` inherited exactly that protecting value."""
    if process.held is not None:
        return None
    held = next((one.held for one in process.ancestors if one.held is not None), None)
    if held is None or held.adj_written != process.oom_score_adj or held.adj_written >= held.adj_before:
        return None
    return held


def _is_at_base(held: Held) -> bool:
    """Whether the written value is the base to restore: the engine replaced a value inherited from a rule."""
    return held.adj_before == held.adj_written


def _has_from(process: Process, ancestor: Process, rule: str) -> bool:
    """Whether a process that no rule matches has ``ancestor``'s protecting value, or had it until it was replaced."""
    held = process.held
    if held is not None:
        has_it = process.oom_score_adj == held.adj_written < held.adj_before
        return held.rule == rule and (has_it or (held.as_child and _is_at_base(held)))
    return ancestor.held is not None and lender_of(process) == ancestor.held


def _users(rule: CompiledRule) -> Users | None:
    return next((clause.users for clause in rule.clauses if clause.users is not None), None)


def _wants_pod(rule: CompiledRule) -> bool:
    return rule.spec.match.pod not in (None, False) and not rule.spec.match.descendants


def _lineage(rule: CompiledRule) -> Lineage:
    if rule.has_children or rule.spec.match.descendants:
        return Lineage.ALL
    return Lineage.PARENT if rule.spec.match.leader is not None or rule.spec.only_if_inherited else Lineage.NONE


def _consider(rule: CompiledRule, process: Process) -> RuleTrace:
    for clause in rule.clauses:
        if not clause.holds(process):
            return RuleTrace(rule.name, False, clause.key, clause.wanted, clause.found(process))
    clauses = rule.clauses[0].inner or rule.clauses
    holding = next(
        (one for one in (process, *ancestors_of(process)) if all(clause.holds(one) for clause in clauses)), process
    )
    return RuleTrace(rule.name, True, keys=tuple(KeyStanding(one.key, one.claim(holding)) for one in clauses))
