"""The annotations by which a pod sets its own placement, within the limits that the operator allows.

====================================  ================================================================================
``holdfast.dev/oom-score-adj``        a value for every container of the pod except the pause container
``holdfast.dev/oom-score-adj.NAME``   a value for the container NAME; it overrides the one for all containers
``holdfast.dev/memory-oom-group``     ``0`` or ``1``: written to ``memory.oom.group`` of each container's cgroup
``holdfast.dev/protect``              ``leader``: the value is for the container's first process and the program it
                                      starts; children of those keep the value that the kubelet set
====================================  ================================================================================

The first entry of the admission table whose namespaces match decides for a pod; without an entry nothing is allowed.
The admitted annotations of a pod become one rule, named `BY_ANNOTATION` for every pod. It comes after the operator's
rules and before the built-in ones. An operator's rule with ``yields_to_annotations`` comes after it, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from msgspec import Struct

from holdfast.identifiers import whole_number
from holdfast.node.model.process import PodFacts, Process
from holdfast.node.rule import protection
from holdfast.node.rule.clause import PAUSE, same_program
from holdfast.node.rule.pattern import Pattern, any_holds, compile_patterns
from holdfast.node.rule.schema import Admission, Match, OomScoreAdj, Rule

PREFIX = "holdfast.dev/"
BY_ANNOTATION = protection.BY_ANNOTATION  # the rule's name, in answers and metrics: no pod's name is a label
_ADJ, _GROUP, _PROTECT = "oom-score-adj", "memory-oom-group", "protect"
#: The setting that allows an annotation, and the values that it may have.
_WORDS = {_GROUP: ("memory_oom_group", ("0", "1")), _PROTECT: ("protect", ("leader",))}
_SHOWN = 40  # characters of a value that is refused
_KNOWN = f"{_ADJ}, {_ADJ}.CONTAINER, {_GROUP} and {_PROTECT}"


class Ask(Struct, frozen=True):
    """One annotation: its key without the prefix, its value, and why it is refused (empty: it is admitted)."""

    key: str
    value: str
    refused: str = ""


class AdmissionTable(Struct, frozen=True):
    """The admission table, its globs compiled."""

    entries: tuple[tuple[tuple[Pattern, ...], Admission], ...] = ()

    @classmethod
    def of(cls, admissions: Iterable[Admission]) -> AdmissionTable:
        """Compile the table; `check` has already refused invalid patterns."""
        return cls(tuple((compile_patterns(some.namespaces), some) for some in admissions))

    def __bool__(self) -> bool:
        return bool(self.entries)

    def of_namespace(self, namespace: str) -> Admission | None:
        """The entry that decides for a namespace; None without one."""
        return next((entry for patterns, entry in self.entries if any_holds(patterns, namespace)), None)


def asks_of(namespace: str, annotations: Mapping[str, str], table: AdmissionTable) -> tuple[Ask, ...]:
    """Every ``holdfast.dev/`` annotation of a pod, admitted or refused, sorted by key."""
    ours = sorted((key[len(PREFIX) :], value) for key, value in annotations.items() if key.startswith(PREFIX))
    if not ours:
        return ()
    entry = table.of_namespace(namespace)
    adj = any(key.partition(".")[0] == _ADJ for key, _ in ours)
    return tuple(Ask(key, value, _refusal(key, value, namespace, entry, adj=adj)) for key, value in ours)


def _refusal(key: str, value: str, namespace: str, entry: Admission | None, *, adj: bool) -> str:
    if entry is None:
        return f'no entry of annotations: allows anything in namespace "{namespace}"'
    if key.partition(".")[0] == _ADJ:
        return _refused_adj(value, entry)
    if key not in _WORDS:
        return f"there is no such annotation; there are {_KNOWN}"
    setting, words = _WORDS[key]
    if not getattr(entry, setting):
        return f'namespace "{namespace}" may not set it ({setting}: true allows it)'
    if value not in words:
        return f'"{shown(value)}" is not {" or ".join(words)}'
    return f"it needs {PREFIX}{_ADJ} beside it" if key == _PROTECT and not adj else ""


def _refused_adj(value: str, entry: Admission) -> str:
    allowed = entry.oom_score_adj
    if allowed is None:
        return "its namespace may not set it (oom_score_adj: {min: …, max: …} allows it)"
    number = whole_number(value)
    if number is None:
        return f'"{shown(value)}" is not a whole number'
    if not allowed.min <= number <= allowed.max:
        return f"{number} is not within {allowed.min} and {allowed.max}, which its namespace is allowed"
    return ""


def shown(value: str) -> str:
    """The value, cut to `_SHOWN` characters for a message: its author chose its length."""
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"


def rule_for(pod: PodFacts | None, table: AdmissionTable) -> Rule | None:
    """The rule of a container's admitted annotations; None without any, or while a value that it needs is not known."""
    if pod is None or not table or not pod.name or pod.container in ("", PAUSE):
        return None
    admitted = {ask.key: ask.value for ask in asks_of(pod.namespace, pod.annotations, table) if not ask.refused}
    adj = admitted.get(f"{_ADJ}.{pod.container}", admitted.get(_ADJ))
    group = admitted.get(_GROUP)
    if adj is None and group is None:
        return None
    children = None
    if adj is not None and _PROTECT in admitted:
        children = pod.oom_score_adj if pod.oom_score_adj_asked is None else pod.oom_score_adj_asked
        if children is None:
            return None  # the value that its other processes keep is not known yet
    return _rule(None if adj is None else int(adj), children, group)


@lru_cache(maxsize=256)
def _rule(adj: int | None, children: int | None, group: str | None) -> Rule:
    return Rule(
        BY_ANNOTATION,
        Match(pod=True),
        "the pod asks for it by annotation",
        OomScoreAdj(value=adj, children=children) if adj is not None else None,
        in_place={"memory.oom.group": int(group)} if group is not None else {},
    )


def is_leader(process: Process) -> bool:
    """Whether a process is its container's first one, or another program that the first one started.

    So postgres is a leader under an instance manager, an init or a shell; the processes that postgres starts are not.
    """
    parent = process.ancestors[0] if process.ancestors else None
    if _is_first(process, parent):
        return True
    if parent is None or not _same_container(process, parent) or same_program(process, parent):
        return False
    return _is_first(parent, process.ancestors[1] if len(process.ancestors) > 1 else None)


def _is_first(process: Process, parent: Process | None) -> bool:
    if process.pod is not None and process.pod.main is not None:
        return process.pod.main == (process.pid, process.start_ticks)
    return parent is None or not _same_container(process, parent)


def _same_container(process: Process, other: Process) -> bool:
    pods = (process.pod, other.pod)
    return pods[0] is not None and pods[1] is not None and pods[0].container_id == pods[1].container_id
