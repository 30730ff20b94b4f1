"""What of a rule protects a process, and whether facts alone would name whom it protects.

To protect is to leave a process better off than it is without the rule: a value below its base, memory that is not
reclaimed, a way out of limits. A process must not get that by what it says of itself, so the match of such a rule
needs one of these *grounds*, whose keys a process or a pod's author cannot make up (`proc.evidence`):

==============================  ======================================================================================
``exe`` and ``user``            the program and who runs it
``cgroup`` and ``exe``          a unit's group, and the program in it
``cgroup`` and ``user``         a unit's group, and who runs there
``pod.namespace``               by its exact name: who may create pods there is the cluster's to say
==============================  ======================================================================================

What only lowers a process's standing may go by claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.errors import InvalidArgument
from holdfast.node.rule.schema import Match, OomScoreAdj, PodMatch, Rule, Settings

EXE, USER, CGROUP, NAMESPACE = "match.exe", "match.user", "match.cgroup", "match.pod.namespace"
BY_ANNOTATION = "annotation"  #: the rule of what pods ask for; its ground is the namespace that admits it
Grounds = tuple[tuple[str, ...], ...]

#: Memory that is kept from reclaim, in either version's word.
KEPT = ("memory.min", "memory.low", "memory.soft_limit_in_bytes")
#: Groups in which everybody is: they name nobody's place.
_COMMON = frozenset({"system.slice", "user.slice", "machine.slice", "kubepods", "kubepods.slice", "docker", "lxc"})
_UNIT = (".service", ".scope", ".slice", ".socket", ".mount")


def grounds_of(match: Match) -> Grounds:
    """The sets of keys of which each would be enough, as facts."""
    keys = set()
    if match.exe:
        keys.add(EXE)
    if match.user != ():
        keys.add(USER)
    if match.cgroup and all(map(names_a_unit, _texts(match.cgroup))):
        keys.add(CGROUP)
    if isinstance(match.pod, PodMatch) and match.pod.namespace and all(map(is_exact, _texts(match.pod.namespace))):
        keys.add(NAMESPACE)
    enough = ((EXE, USER), (CGROUP, EXE), (CGROUP, USER), (NAMESPACE,))
    return tuple(ground for ground in enough if keys.issuperset(ground))


def protects(rule: Rule) -> str:
    """What of a rule protects whatever a process has without it; empty: nothing certainly does."""
    adjustment = rule.oom_score_adj
    if isinstance(adjustment, int):
        adjustment = OomScoreAdj(value=adjustment)
    if adjustment is not None:
        if adjustment.value is not None and adjustment.value < 0:
            return f"oom_score_adj {adjustment.value}"
        if adjustment.at_most is not None and adjustment.at_most < 1000:
            return f"oom_score_adj at_most {adjustment.at_most}"
        if isinstance(adjustment.children, int) and adjustment.children < 0:
            return f"oom_score_adj children {adjustment.children}"
    if kept := keeps_memory(rule.in_place) or (keeps_memory(rule.cgroup.settings) if rule.cgroup else ""):
        return kept
    if rule.cgroup is not None and leaves_limits(rule):
        return "it may leave a group's limits"
    return ""


def keeps_memory(settings: Settings) -> str:
    """The setting that keeps memory from reclaim, if one does."""
    return next((name for name in KEPT if name in settings and str(settings[name]) not in ("0", "-1")), "")


def leaves_limits(rule: Rule) -> bool:
    """Whether a move of the rule may take a process out of limits."""
    return rule.leave_kubepods or bool(getattr(rule, "leave_limits", False))


def check(rule: Rule) -> None:
    """Refuse a rule that protects by claims.

    Raises:
        InvalidArgument: what protects, what it goes by, and what to add.
    """
    if rule.trust_claims or rule.name == BY_ANNOTATION or grounds_of(rule.match) or not (what := protects(rule)):
        return
    raise InvalidArgument(
        f"match: it protects ({what}) by claims alone: {_to_add(rule.match)}; trust_claims: true lifts this"
    )


def _to_add(match: Match) -> str:
    named = not match.cgroup or all(map(names_a_unit, _texts(match.cgroup)))
    namespaces = isinstance(match.pod, PodMatch) and match.pod.namespace
    return next(
        words
        for holds, words in (
            (namespaces, "name each namespace of match.pod exactly"),
            (match.pod, "add the exact namespace to match.pod"),
            (match.exe, "add match.user, or match.cgroup of its unit"),
            (not named, "name a unit in match.cgroup (/system.slice/NAME.service) and add match.exe or match.user"),
            (match.cgroup, "add match.exe or match.user"),
            (match.user != (), "add match.exe, or match.cgroup of its unit"),
            (True, "add match.exe and match.user"),
        )
        if holds
    )


def is_exact(text: str) -> bool:
    """Whether a pattern is a plain word."""
    return not text.startswith("re:") and not set("*?") & set(text)


def names_a_unit(text: str) -> bool:
    """Whether a pattern of a cgroup's path says which unit: some part of its last name is not a wildcard."""
    if text.startswith("re:"):
        return False
    name = text.removesuffix("/**").rpartition("/")[2]
    stem = next((name.removesuffix(end) for end in _UNIT if name.endswith(end)), name)
    return name not in _COMMON and bool(stem.strip("*?@"))


def _texts(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def standing_why(claims: Mapping[str, str], grounds: Grounds) -> tuple[str, tuple[str, ...]]:
    """Why none of the ``grounds`` holds by facts, and the keys that fail of the nearest; empty: one does.

    ``claims`` says by key why it is a claim, empty where it is a fact.
    """
    nearest: tuple[str, ...] = ()
    for ground in grounds:
        failing = tuple(key for key in ground if claims.get(key, "it is not asked"))
        if not failing:
            return "", ()
        if not nearest or len(failing) < len(nearest):
            nearest = failing
    if not nearest:
        return "nothing it is matched by is a fact", ()
    key = nearest[0]
    return f"{key.removeprefix('match.')} is not a fact: {claims.get(key) or 'it is not asked'}", nearest
