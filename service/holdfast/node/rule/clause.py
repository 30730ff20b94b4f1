"""Clauses: one key of a rule's ``match``: the value it requires, a test for a process, and the value found instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from holdfast.errors import InvalidArgument
from holdfast.node.model.process import PodFacts, Process
from holdfast.node.rule.pattern import Pattern, any_holds, compile_patterns, spelled
from holdfast.node.rule.schema import Match, OneOrMore, PodMatch
from holdfast.node.rule.selector import parse_selector

#: TASK_COMM_LEN - 1: the kernel cuts names there (proc_pid_comm(5)).
COMM_BYTES = 15

PAUSE = "POD"  #: the name that the kubelet and cAdvisor have always used for a sandbox's own container

UidOf = Callable[[str], int | None]


def _by_itself(_: Process) -> str:
    return "a process chooses it itself"


def _by_author(_: Process) -> str:
    return "the pod's author chooses it"


class Clause(Struct, frozen=True):
    """One condition. ``found`` gives the value that a process has under this key, as text for people.

    ``claim`` gives, for a process that matches, why the match is a claim; empty: it is a fact (`model.evidence`).
    ``inner`` are the clauses of a match that includes descendants.
    """

    key: str
    wanted: str
    holds: Callable[[Process], bool]
    found: Callable[[Process], str]
    patterns: tuple[Pattern, ...] = ()
    users: Users | None = None
    claim: Callable[[Process], str] = _by_itself
    inner: tuple[Clause, ...] = ()


class Users(Struct, frozen=True):
    """User numbers and ranges; ``unknown`` are names without a number on this node."""

    numbers: frozenset[int]
    ranges: tuple[range, ...] = ()
    unknown: tuple[str, ...] = ()

    def __contains__(self, uid: object) -> bool:
        return uid in self.numbers or any(uid in some for some in self.ranges)


def ancestors_of(process: Process) -> Iterator[Process]:
    """The ancestors, nearest first, each with its own ancestors."""
    for at, ancestor in enumerate(process.ancestors, 1):
        yield replace(ancestor, ancestors=process.ancestors[at:])


def clauses_of(match: Match, uid_of: UidOf, target: str = "") -> tuple[Clause, ...]:
    """The clauses of a match in the order in which they are checked, cheapest first.

    ``target`` is the cgroup that the rule moves to: that the engine put a process there proves nothing about the
    process.

    Raises:
        InvalidArgument: ``match.KEY: what is wrong``.
    """
    clauses: list[Clause] = []
    if match.comm:
        clauses.append(_comm(match.comm))
    if match.exe:
        clauses.append(
            replace(
                _text("match.exe", match.exe, lambda process: process.exe, path=True),
                claim=lambda process: process.evidence.exe,
            )
        )
    if match.user != ():
        clauses.append(_user(match.user, uid_of))
    if match.cgroup:
        clauses.append(_cgroup(match.cgroup, target))
    if match.cmdline:
        clauses.append(_text("match.cmdline", match.cmdline, lambda process: " ".join(process.cmdline)))
    if match.pod is not None:
        clauses.extend(_pod(match.pod))
    if match.leader is not None:
        clauses.append(_leader(match.leader))
    if not clauses:
        raise InvalidArgument('match: name at least one key; comm: "*" means every process')
    return (_family(tuple(clauses)),) if match.descendants else tuple(clauses)


def _patterns(key: str, value: OneOrMore, *, path: bool = False) -> tuple[Pattern, ...]:
    try:
        return compile_patterns(value, path=path)
    except InvalidArgument as error:
        raise InvalidArgument(f"{key}: {error.message}") from None


def _text(key: str, match_value: OneOrMore, value: Callable[[Process], str], *, path: bool = False) -> Clause:
    patterns = _patterns(key, match_value, path=path)
    return Clause(key, spelled(patterns), lambda process: any_holds(patterns, value(process)), value, patterns)


def _comm(value: OneOrMore) -> Clause:
    clause = _text("match.comm", value, lambda process: process.comm)
    for pattern in clause.patterns:
        if pattern.least_bytes > COMM_BYTES:
            raise InvalidArgument(
                f'match.comm: "{pattern.text}" needs at least {pattern.least_bytes} bytes, and the kernel keeps '
                f'{COMM_BYTES}: write "{pattern.text[:COMM_BYTES]}", or match exe'
            )
    return clause


def _cgroup(value: OneOrMore, target: str) -> Clause:
    patterns = _patterns("match.cgroup", value, path=True)
    for pattern in patterns:
        if not pattern.own and not pattern.bare.startswith(("/", "*")):
            raise InvalidArgument(f'match.cgroup: "{pattern.text}" must begin with / (or **/ for any depth)')

    def holds(process: Process) -> bool:
        return any(any_holds(patterns, path) for path in set(process.cgroups.values()))

    def found(process: Process) -> str:
        return " ".join(sorted(set(process.cgroups.values()))) or "none"

    def claim(process: Process) -> str:
        places = [path for _, path in process.place]
        elsewhere = next(
            (path for path in places if not any_holds(patterns, path) and (path != target or len(places) == 1)), None
        )
        return process.evidence.cgroup if elsewhere is None else f"it is in {elsewhere}, too"

    return Clause("match.cgroup", spelled(patterns), holds, found, patterns, claim=claim)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


def _user(value: int | str | Sequence[int | str], uid_of: UidOf) -> Clause:
    entries = (value,) if isinstance(value, int | str) else value
    numbers, ranges, unknown = set(), [], []
    for entry in entries:
        first, dash, last = str(entry).partition("-")
        if isinstance(entry, int) or _is_number(entry):
            numbers.add(int(entry))
        elif dash and _is_number(first) and _is_number(last):
            ranges.append(range(int(first), int(last) + 1))
        elif (number := uid_of(entry)) is not None:
            numbers.add(number)
        else:
            unknown.append(entry)
    users = Users(frozenset(numbers), tuple(ranges), tuple(unknown))
    wanted = ", ".join(str(entry) for entry in entries)
    if unknown:
        wanted += f" (no user {', '.join(unknown)} on this node)"

    def claim(process: Process) -> str:
        other = next((uid for uid in process.uids if uid not in users), None)
        if other is None:
            return "" if process.uids else "it was not read"
        return f"it was started by uid {other}, by a set-user-id program or as good as one"

    return Clause(
        "match.user",
        wanted,
        lambda process: process.uid in users,
        lambda process: str(process.uid),
        (),
        users,
        claim,
    )


def _pod(match: PodMatch | bool) -> Iterator[Clause]:
    if isinstance(match, bool):
        if match:
            yield _no_infrastructure()
        yield _in_a_pod(match)
        return
    if not match.container:
        yield _no_infrastructure()
    anything = (match.namespace, match.name, match.uid, match.container, match.qos, match.labels, match.annotations)
    if not any(anything):
        yield _in_a_pod(True)
    yield from (
        replace(_pod_text(f"match.pod.{key}", given, value), claim=claim)
        for key, given, value, claim in (
            ("namespace", match.namespace, lambda pod: pod.namespace, _by_group),
            ("name", match.name, lambda pod: pod.name, _by_author),
            ("uid", match.uid, lambda pod: pod.uid, _by_group),
            ("container", match.container, lambda pod: pod.container, _by_author),
            ("qos", match.qos, lambda pod: pod.qos, _by_group),
        )
        if given
    )
    if match.labels:
        yield _pod_selector("match.pod.labels", match.labels, lambda pod: pod.labels)
    if match.annotations:
        yield _pod_selector("match.pod.annotations", match.annotations, lambda pod: pod.annotations)


def _no_infrastructure() -> Clause:
    """A clause that excludes the container that keeps a pod's namespaces: a rule matches that one only by its name."""

    def holds(process: Process) -> bool:
        return process.pod is None or process.pod.container != PAUSE

    def found(_: Process) -> str:
        return "the pod's infrastructure container"

    return Clause("match.pod.container", f"a workload's, or {PAUSE} by name", holds, found, claim=_by_group)


def _by_group(process: Process) -> str:
    return process.evidence.pod


def _in_a_pod(wanted: bool) -> Clause:
    def holds(process: Process) -> bool:
        return not process.pod_unknown and (process.pod is not None) is wanted

    def found(process: Process) -> str:
        if process.pod is None:
            return "not known" if process.pod_unknown else "not in a pod"
        return f"in pod {process.pod.name or process.pod.uid}"

    return Clause("match.pod", str(wanted).lower(), holds, found, claim=_by_group if wanted else _outside)


def _outside(process: Process) -> str:
    """Return why being in no pod is a claim; empty: a fact, because a process cannot leave its pod's cgroup."""
    return "" if process.pod is None else "it is in a pod"


def _pod_text(key: str, match_value: OneOrMore, value: Callable[[PodFacts], str]) -> Clause:
    patterns = _patterns(key, match_value)

    def holds(process: Process) -> bool:
        return process.pod is not None and any_holds(patterns, value(process.pod))

    def found(process: Process) -> str:
        return "not in a pod" if process.pod is None else value(process.pod) or "not known"

    return Clause(key, spelled(patterns), holds, found)


def _pod_selector(key: str, match_value: OneOrMore, value: Callable[[PodFacts], Mapping[str, str]]) -> Clause:
    texts = (match_value,) if isinstance(match_value, str) else match_value
    try:
        selectors = tuple(parse_selector(text) for text in texts)
    except InvalidArgument as error:
        raise InvalidArgument(f"{key}: {error.message}") from None

    def holds(process: Process) -> bool:
        return process.pod is not None and any(selector.holds(value(process.pod)) for selector in selectors)

    def found(process: Process) -> str:
        if process.pod is None:
            return "not in a pod"
        return ",".join(f"{name}={label}" for name, label in sorted(value(process.pod).items())) or "none known"

    return Clause(key, " or ".join(texts), holds, found, claim=_by_author)


def same_program(one: Process, other: Process) -> bool:
    """Whether both run the same executable; compared by name where one executable cannot be read."""
    return one.exe == other.exe if one.exe and other.exe else one.comm == other.comm


def _leader(wanted: bool) -> Clause:
    def is_leader(process: Process) -> bool:
        return not process.ancestors or not same_program(process, process.ancestors[0])

    def found(process: Process) -> str:
        if not process.ancestors:
            return "no parent known"
        parent = process.ancestors[0]
        return f"parent {parent.pid} runs {'another program' if is_leader(process) else 'the same'} ({parent.comm})"

    return Clause("match.leader", str(wanted).lower(), lambda process: is_leader(process) is wanted, found)


def _family(clauses: tuple[Clause, ...]) -> Clause:
    """A clause that holds for a process when all ``clauses`` hold for it or for one of its ancestors."""

    def all_hold(process: Process) -> bool:
        return all(clause.holds(process) for clause in clauses)

    def holds(process: Process) -> bool:
        return all_hold(process) or any(all_hold(ancestor) for ancestor in ancestors_of(process))

    def found(process: Process) -> str:
        failed = next(clause for clause in clauses if not clause.holds(process))
        return f"{failed.key} is {failed.found(process)}, and no ancestor matches either"

    return Clause("match.descendants", ", ".join(f"{c.key} {c.wanted}" for c in clauses), holds, found, inner=clauses)
