"""Which parts of a rule protect a process, and whether facts alone identify the processes that it protects.

A rule protects a process when it leaves it better off than without the rule: an ``oom_score_adj`` below its base,
memory that is not reclaimed, a way out of limits, a higher limit. A process must not get that by claims about itself,
so the match of such a rule needs one of these *grounds*, whose keys a process or a pod's author cannot forge
(`proc.evidence`):

==============================  ======================================================================================
``exe`` and ``user``            the program and the user that runs it
``cgroup`` and ``exe``          a unit's group, and the program in it
``cgroup`` and ``user``         a unit's group, and the user that runs there
``pod.namespace``               by its exact name: the cluster decides which users may create pods there
==============================  ======================================================================================

A rule that leaves no process better off may match by claims.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.errors import InvalidArgument
from holdfast.node.rule.pattern import NOT, REGEX, compile_pattern
from holdfast.node.rule.schema import Match, OomScoreAdj, PodMatch, Rule, Settings
from holdfast.node.rule.setting import plain, setting_named

EXE, USER, CGROUP, NAMESPACE = "match.exe", "match.user", "match.cgroup", "match.pod.namespace"
BY_ANNOTATION = "annotation"  #: the rule of a pod's annotations; its ground is the namespace that admits them
Grounds = tuple[tuple[str, ...], ...]

#: Settings that keep memory from reclaim, of either cgroup version.
KEPT = ("memory.min", "memory.low", "memory.soft_limit_in_bytes")
NOT_KILLED = "memory.oom_control"  # v1: at its limit the group waits for memory, and no process in it is killed
#: Cgroups that many processes share: they identify no process.
_COMMON = (
    *("-.slice", "system.slice", "user.slice", "machine.slice", "kubepods", "kubepods.slice", "docker", "lxc"),
    *("burstable", "besteffort", "kubepods-burstable.slice", "kubepods-besteffort.slice"),
    # One per user, session, pod and container; NUL stands for the variable part: only a wildcard fits it.
    *("user-\0.slice", "user@\0.service", "session-\0.scope", "run-\0.scope", "machine-\0.scope"),
    *("pod\0", "kubepods-pod\0.slice", "kubepods-burstable-pod\0.slice", "kubepods-besteffort-pod\0.slice"),
    *("kubelet-kubepods-pod\0.slice", "kubelet-kubepods-burstable-pod\0.slice"),
    *("kubelet-kubepods-besteffort-pod\0.slice", "machine-libpod_pod_\0.slice", "lxc.payload.\0"),
    *(f"{runtime}-{64 * chr(0)}.scope" for runtime in ("docker", "libpod", "crio", "cri-containerd")),
)
#: Paths of no program: an expression that fits them all says nothing about the path.
_ANY_PROGRAM = ("/\0", "/\0/\0", "/\0/\0/\0/\0")
_UNIT = (".service", ".scope", ".slice", ".socket", ".mount")


def grounds_of(match: Match) -> Grounds:
    """The grounds of a match: sets of keys, each of them sufficient when all its keys are facts."""
    keys = set()
    if match.exe and all(map(names_a_program, _texts(match.exe))):
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
    """The part of a rule that protects a process whatever its values are without the rule; empty: certainly none."""
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
    if (
        spared := spares(rule.in_place)
        or unlimits(rule.in_place)
        or (spares(rule.cgroup.settings) if rule.cgroup else "")
    ):
        return spared
    if rule.cgroup is not None and leaves_limits(rule):
        return "it may leave a group's limits"
    return ""


def spares(settings: Settings) -> str:
    """The setting that keeps memory from reclaim, or processes from being killed; empty without one."""
    if not settings:
        return ""
    kept = (name for name in KEPT if name in settings and str(settings[name]) not in ("0", "-1"))
    return next(kept, NOT_KILLED if str(settings.get(NOT_KILLED, 0)) != "0" else "")


def unlimits(settings: Settings) -> str:
    """The setting that ends a limit of the group in which a process is; empty without one."""
    return next((name for name in settings if _is_unlimited(name, plain(settings[name]))), "")


def _is_unlimited(name: str, text: str) -> bool:
    unlimited = setting_named(name).kind.unlimited
    return unlimited is not None and unlimited(text)


def may_raise_limits(settings: Settings) -> bool:
    """Whether a setting is a limit, which may be higher than the one that a group has."""
    return any(name.startswith("cpu.cfs_") or setting_named(name).kind.unlimited is not None for name in settings)


def leaves_limits(rule: Rule) -> bool:
    """Whether a move of the rule may take a process out of limits."""
    return rule.leave_kubepods or rule.leave_limits


def group_protects(rule: Rule) -> bool:
    """Whether the rule's target cgroup protects.

    It does when it keeps memory from reclaim, or when the move leaves limits and the cgroup sets none of its own.
    """
    if rule.cgroup is None:
        return False
    settings = rule.cgroup.settings
    return bool(spares(settings)) or (leaves_limits(rule) and not any(_limits(name, settings) for name in settings))


def _limits(name: str, settings: Settings) -> bool:
    return setting_named(name).kind.unlimited is not None and not _is_unlimited(name, plain(settings[name]))


def check(rule: Rule) -> None:
    """Refuse a rule that protects by claims.

    Raises:
        InvalidArgument: says what protects, that the match goes by claims, and which keys to add.
    """
    if rule.trust_claims or rule.name == BY_ANNOTATION or grounds_of(rule.match) or not (what := protects(rule)):
        return
    raise InvalidArgument(
        f"match: it protects ({what}) by claims alone: {_to_add(rule.match)}; trust_claims: true lifts this"
    )


def _to_add(match: Match) -> str:
    named = not match.cgroup or all(map(names_a_unit, _texts(match.cgroup)))
    namespaces = isinstance(match.pod, PodMatch) and match.pod.namespace
    unnamed = match.exe and not all(map(names_a_program, _texts(match.exe)))
    return next(
        words
        for holds, words in (
            (namespaces, "name each namespace of match.pod exactly"),
            (match.pod, "add the exact namespace to match.pod"),
            (unnamed, "name the program in match.exe by its path, or the unit in match.cgroup"),
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
    return not text.startswith((REGEX, NOT)) and not set("*?") & set(text)


def names_a_program(text: str) -> bool:
    """Whether a pattern of a program's path identifies a program.

    ``not:``, a path of wildcards and an expression that fits any path do not.
    """
    if text.startswith(REGEX):
        return not all(map(compile_pattern(text).holds, _ANY_PROGRAM))
    return not text.startswith(NOT) and bool(text.strip("*?/"))


def names_a_unit(text: str) -> bool:
    """Whether a pattern of a cgroup's path identifies a unit.

    Some part of its last name is not a wildcard, and it fits no cgroup that many processes share.
    """
    if text.startswith((REGEX, NOT)):
        return False
    name = text.removesuffix("/**").rpartition("/")[2]
    stem = next((name.removesuffix(end) for end in _UNIT if name.endswith(end)), name)
    return bool(stem.strip("*?@")) and not any(map(compile_pattern(name).holds, _COMMON))


def _texts(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def standing_why(claims: Mapping[str, str], grounds: Grounds) -> tuple[str, tuple[str, ...]]:
    """Return why no fact supports any of the ``grounds``, and the failing keys of the nearest one; empty: one holds.

    ``claims`` gives, by key, why it is a claim; empty where it is a fact.
    """
    nearest: tuple[str, ...] = ()
    for ground in grounds:
        failing = tuple(key for key in ground if claims.get(key, "it is not examined"))
        if not failing:
            return "", ()
        if not nearest or len(failing) < len(nearest):
            nearest = failing
    if not nearest:
        return "nothing it is matched by is a fact", ()
    key = nearest[0]
    return f"{key.removeprefix('match.')} is not a fact: {claims.get(key) or 'it is not asked'}", nearest
