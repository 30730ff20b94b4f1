"""Other tools' rules as ours: ananicy's JSON lines and libcgroup's ``cgrules.conf``, and what stayed behind.

Pure: text in, rules and losses out. What either tool means is taken from its documentation
(https://github.com/Nefelim4ag/Ananicy#configuration, cgrules.conf(5)); both decide by the first rule that matches in
the order of the file, as we do.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from holdfast.errors import InvalidArgument
from holdfast.node.rule.clause import COMM_BYTES
from holdfast.node.rule.schema import Rule


class Lost(Struct, frozen=True):
    """Something a line (``FILE:NUMBER``) says that our rules do not, and why it stayed behind."""

    where: str
    what: str
    why: str


class Imported(Struct):
    """Rules in the order of the file, as the configuration holds them, and what was left behind."""

    rules: list[dict[str, Any]] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def add(self, name: str, rule: dict[str, Any]) -> None:
        """Add a rule under a name that no other has."""
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")[:70] or "rule"
        numbered = (f"{stem}-{at}" for at in itertools.count(2))
        unique = next(some for some in itertools.chain((stem,), numbered) if some not in self.names)
        self.names.add(unique)
        self.rules.append({"name": unique, **rule})

    def checked(self) -> tuple[Rule, ...]:
        """The rules as structs."""
        return msgspec.convert(self.rules, tuple[Rule, ...])


def program(name: str) -> dict[str, str]:
    """The ``match`` for a program by its base name: by ``comm``, or by ``exe`` where the kernel would cut the name."""
    return {"comm": name} if len(name.encode()) <= COMM_BYTES else {"exe": f"**/{name}"}


# ── ananicy ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_NOT_OURS = {
    "nice": "CPU priority is not this daemon's work",
    "latency_nice": "CPU priority is not this daemon's work",
    "sched": "the scheduling class is not this daemon's work",
    "rtprio": "the scheduling class is not this daemon's work",
    "ioclass": "I/O priority is not this daemon's work; io.weight of a cgroup is",
    "ionice": "I/O priority is not this daemon's work; io.weight of a cgroup is",
    "cmdlines": "ananicy reads but does not match command lines",
}
_KNOWN = {"name", "type", "cgroup", "oom_score_adj", *_NOT_OURS}


def from_ananicy(files: Mapping[str, str]) -> Imported:
    """Read ananicy's rules, types and cgroups, one JSON object a line: texts by file name, in any mixture.

    Raises:
        InvalidArgument: a line is no JSON object; with its place.
    """
    lines = [line for name, text in files.items() for line in _json_lines(name, text)]
    types = {entry["type"]: entry for _, entry in lines if "type" in entry and "name" not in entry}
    groups = {entry["cgroup"]: entry for _, entry in lines if "cgroup" in entry and not {"name", "type"} & set(entry)}
    imported = Imported()
    for where, entry in lines:
        if not entry.get("name"):
            continue
        if "type" in entry and entry["type"] not in types:
            imported.lost.append(
                Lost(where, f'type "{entry["type"]}"', "not among the files given: add 00-types.types")
            )
        whole = {**types.get(entry.get("type", ""), {}), **entry}
        _ananicy_rule(where, whole, groups, imported)
    return imported


def _json_lines(name: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        try:
            entry, _end = json.JSONDecoder().raw_decode(bare)  # what follows on the line is a comment
        except ValueError as error:
            raise InvalidArgument(f"{name}:{number}: {error}: not an ananicy rule") from None
        if not isinstance(entry, dict):
            raise InvalidArgument(f"{name}:{number}: {bare[:40]}: not an ananicy rule")
        yield f"{name}:{number}", entry


def _ananicy_rule(where: str, entry: Mapping[str, Any], groups: Mapping[str, Any], imported: Imported) -> None:
    rule: dict[str, Any] = {"match": program(str(entry["name"]))}
    for key, value in entry.items():
        if key in _NOT_OURS:
            imported.lost.append(Lost(where, f"{entry['name']}: {key} {value}", _NOT_OURS[key]))
        elif key not in _KNOWN:
            imported.lost.append(Lost(where, f"{entry['name']}: {key} {value}", "not known"))
    if (adjustment := entry.get("oom_score_adj")) is not None:
        _ananicy_adjustment(where, adjustment, rule, imported)
    if (group := entry.get("cgroup")) is not None:
        _ananicy_group(where, str(group), groups.get(group), rule, imported)
    if len(rule) > 1:
        imported.add(str(entry["name"]), rule)


def _ananicy_adjustment(where: str, given: object, rule: dict[str, Any], imported: Imported) -> None:
    what = f"oom_score_adj {given}"
    if not isinstance(given, int) or not -1000 <= given <= 1000:
        imported.lost.append(Lost(where, what, "not between -1000 and 1000"))
        return
    if given == -1000:
        imported.lost.append(Lost(where, what, "became -999: -1000 is inherited by all it starts; see unkillable"))
    rule["oom_score_adj"] = max(given, -999)
    if given < 0:
        why = "it protects whatever has that name, hence trust_claims: put match.exe and match.user in its place"
        imported.lost.append(Lost(where, what, why))
        rule["trust_claims"] = True


def _ananicy_group(
    where: str, name: str, entry: Mapping[str, Any] | None, rule: dict[str, Any], imported: Imported
) -> None:
    """Its groups are CPU quotas in percent of the whole machine; ours need the number of CPUs, which a file lacks."""
    rule["cgroup"] = {"path": f"/ananicy/{name}", "controllers": ["cpu"]}
    if entry is None:
        imported.lost.append(Lost(where, f'cgroup "{name}"', "not among the files given: add 00-cgroups.cgroups"))
    elif (quota := entry.get("CPUQuota")) is not None:
        why = f'percent of all CPUs: for N CPUs write cpu.max: "{1000 * int(quota)}×N 100000" under cgroup.settings'
        imported.lost.append(Lost(where, f"{name}: CPUQuota {quota}", why))


# ── cgrules.conf ────────────────────────────────────────────────────────────────────────────────────────────────────


class _Line(Struct):
    """One line of cgrules.conf and the ``%`` lines that continue it."""

    where: str
    user: str
    program: str
    targets: list[tuple[str, str, str]]  # place, controllers, destination


def from_cgrules(files: Mapping[str, str]) -> Imported:
    """Read a cgrules.conf and the files beside it: texts by file name, in order.

    Raises:
        InvalidArgument: a line has fewer than three words; with its place.
    """
    imported = Imported()
    for line in _cgrules_lines(files):
        match = _cgrules_match(line, imported)
        target = _cgrules_target(line, imported)
        if match is None or target is None:
            continue
        who = line.program.rsplit("/", 1)[-1] or line.user
        imported.add(f"{who if line.user in ('*', who) else f'{line.user}-{who}'}", {"match": match, "cgroup": target})
    return imported


def _cgrules_lines(files: Mapping[str, str]) -> Iterator[_Line]:
    current: _Line | None = None
    numbered = (
        (f"{name}:{number}", raw) for name, text in files.items() for number, raw in enumerate(text.splitlines(), 1)
    )
    for where, raw in numbered:
        words = raw.split("#", 1)[0].split()
        if not words:
            continue
        if len(words) < 3:
            raise InvalidArgument(f"{where}: {raw.strip()}: a rule is USER[:PROGRAM] CONTROLLERS DESTINATION")
        who, controllers, destination = words[:3]
        ignored = any(option.startswith("ignore") for option in words[3:])
        target = (where, controllers, f"{destination} ignore" if ignored else destination)
        if who.split(":")[0] == "%" and current is not None:
            current.targets.append(target)
            continue
        if current is not None:
            yield current
        user, _colon, name = who.partition(":")
        current = _Line(where, user, name, [target])
    if current is not None:
        yield current


def _cgrules_match(line: _Line, imported: Imported) -> dict[str, Any] | None:
    if line.user.startswith("@"):
        why = "we match users, not their groups: list the members under match.user"
        imported.lost.append(Lost(line.where, line.user, why))
        return None
    match: dict[str, Any] = {} if line.user == "*" else {"user": line.user}
    if line.program.startswith("/"):
        match["exe"] = line.program
    elif line.program:
        match.update(program(line.program))
    return match or {"comm": "*"}


def _cgrules_target(line: _Line, imported: Imported) -> dict[str, Any] | None:
    """One path and its controllers; a rule of ours has one path, libcgroup's may have one for each controller."""
    _, _, first = line.targets[0]
    controllers: list[str] = []
    for where, names, destination in line.targets:
        if why := next((why for holds, why in _UNSAYABLE if holds(destination)), None):
            imported.lost.append(Lost(where, destination, why))
            if destination == first:
                return None
        elif destination != first:
            why = f"another path than {first}: one rule has one path, and the first that matches decides"
            imported.lost.append(Lost(where, f"{names} {destination}", why))
        else:
            controllers += names.split(",")
    target: dict[str, Any] = {"path": "/" + first.strip("/")}
    return target if "*" in controllers else {**target, "controllers": list(dict.fromkeys(controllers))}


_UNSAYABLE: tuple[tuple[Callable[[str], object], str], ...] = (
    (
        lambda to: to.endswith(" ignore"),
        "no rule of ours means leave alone; narrow the match of the others",
    ),
    (re.compile(r"(?<!\\)%[ugpUGP]").search, "a path made from the process (%u %g %p): write one rule for each"),
    (lambda to: not to.strip("/"), "moving to the root is what happens without a rule"),
)


_FEW = 5  # losses for one reason that are told one by one


def _each(lost: Iterable[Lost]) -> Iterator[str]:
    return (f"{one.where}: {one.what}: {one.why}" for one in lost)


def _gathered(lost: Iterable[Lost]) -> Iterator[str]:
    """One line each, but one for all where a reason comes often: ananicy's own 400 files lose 1,700 things to six."""
    by_reason: dict[str, list[Lost]] = {}
    for one in lost:
        by_reason.setdefault(one.why, []).append(one)
    for why, ones in by_reason.items():
        if len(ones) <= _FEW:
            yield from _each(ones)
        else:
            yield f"{ones[0].where}: {ones[0].what}, and {len(ones) - 1:,} more: {why}"


def as_yaml(imported: Imported, source: str, *, every: bool = False) -> str:
    """The rules as a document for ``plugins."io.holdfast.placement.v1.rules"``, with the losses as its first lines."""
    import yaml

    lines = [f"# From {source}: {len(imported.rules)} rules, {len(imported.lost)} things left behind."]
    lines += [f"#   {line}" for line in (_each(imported.lost) if every else _gathered(imported.lost))]
    if not every and len(lines) - 1 < len(imported.lost):
        lines.append("# Each of them: holdfast rules import --every-loss …")
    lines.append("# Try it before it is used: holdfast preview --rules THIS-FILE")
    dumped = yaml.safe_dump({"rules": imported.rules}, sort_keys=False, default_flow_style=None, width=110)
    return "\n".join(lines) + "\n" + dumped
