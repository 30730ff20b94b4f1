"""Import Ananicy's rules: one JSON object per line, in ``*.rules``, ``*.types`` and ``*.cgroups``.

They are read as its two programs read them (https://github.com/Nefelim4ag/Ananicy,
https://gitlab.com/ananicy-cpp/ananicy-cpp):

- A line that is no rule is skipped. Text after the object on its line is a comment.
- A rule is known by its name and its ``cmdlines``; the last definition is in force, one without properties switches the
  name off. Among rules of one name the first one defined decides.
- A name is compared whole and exactly, with the program's file name or with comm (here: see `imported.program`).
- All ``cmdlines`` must be arguments of the process.
- A property of the rule overrides the type's. An unknown type gives nothing; an unknown cgroup gets no process.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from holdfast.errors import InvalidArgument
from holdfast.node.importers.imported import LEAVE_ALONE, Imported, group_path, is_text, lines_of, program
from holdfast.node.rule.pattern import REGEX

_NOT_OURS = {
    "nice": "CPU priority is not this daemon's work",
    "latency_nice": "CPU priority is not this daemon's work",
    "sched": "the scheduling class is not this daemon's work",
    "rtprio": "the scheduling class is not this daemon's work",
    "ioclass": "I/O priority is not this daemon's work; io.weight of a cgroup is",
    "ionice": "I/O priority is not this daemon's work; io.weight of a cgroup is",
}
_KNOWN = {"name", "type", "cgroup", "oom_score_adj", "cmdlines", *_NOT_OURS}
MAX_CMDLINES = 3  # arguments may come in any order, and each order is a pattern


class _Entry(Struct, frozen=True):
    """One object and its place."""

    where: str
    values: dict[str, Any]


def from_ananicy(files: Mapping[str, str]) -> Imported:
    """Import rules, types and cgroups: texts by file name, in the order in which ananicy reads them, in any mixture.

    Raises:
        InvalidArgument: there are lines, and none is an object of ananicy's; with the first one's place.
    """
    imported = Imported()
    entries = list(_entries(files, imported))
    if imported.lost and not entries:
        raise InvalidArgument(f"{imported.lost[0].where}: {imported.lost[0].what}: not an ananicy rule")
    types = {entry.values["type"]: entry for entry in entries if _is_kind(entry, "type")}
    groups = {entry.values["cgroup"]: entry for entry in entries if _is_kind(entry, "cgroup")}
    rules: dict[str, dict[frozenset[str], _Entry]] = {}
    for entry in entries:
        if "name" in entry.values and (key := _key(entry, imported)) is not None:
            rules.setdefault(key[0], {})[key[1]] = entry
    for name, by_cmdlines in rules.items():
        for cmdlines, entry in by_cmdlines.items():
            if len(cmdlines) > MAX_CMDLINES:
                why = f"more than {MAX_CMDLINES} are no rule of ours; it and the next ones of its name are left out"
                imported.lose(entry.where, f"{name}: {len(cmdlines)} cmdlines", why)
                break
            _add(name, cmdlines, entry, types, groups, imported)
            if not cmdlines:  # it matches every process of this name: the rest never decides
                break
    return imported


def _entries(files: Mapping[str, str], imported: Imported) -> Iterator[_Entry]:
    for where, line in lines_of(files):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        try:
            found, _end = json.JSONDecoder().raw_decode(bare)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            yield _Entry(where, {key: value for key, value in found.items() if value is not None})
        else:
            imported.lose(where, bare[:40], "no object of ananicy's, which skips the line, too")


def _is_kind(entry: _Entry, kind: str) -> bool:
    above = {"type": {"name"}, "cgroup": {"name", "type"}}[kind]
    return isinstance(entry.values.get(kind), str) and not above & entry.values.keys()


def _key(entry: _Entry, imported: Imported) -> tuple[str, frozenset[str]] | None:
    """The name and ``cmdlines`` that identify a rule; None for a rule that can match no process."""
    name, given = entry.values["name"], entry.values.get("cmdlines") or []
    if not isinstance(name, str) or program(name) is None:
        imported.lose(entry.where, f"name {name!r}"[:60], "no program has such a name")
    elif not isinstance(given, list) or not all(isinstance(one, str) and is_text(one) for one in given):
        imported.lose(entry.where, f"{name}: cmdlines {given!r}"[:60], "not a list of arguments: fits no process")
    else:
        return name, frozenset(given)
    return None


def _add(
    name: str,
    cmdlines: frozenset[str],
    entry: _Entry,
    types: Mapping[str, _Entry],
    groups: Mapping[str, _Entry],
    imported: Imported,
) -> None:
    match: dict[str, Any] = {**(program(name) or {})}
    if cmdlines:
        match["cmdline"] = _with_all(cmdlines)
    actions = _actions(name, entry, types, groups, imported)
    if actions or cmdlines:  # one that does nothing keeps its processes from the next rule of its name
        imported.add(name, {"match": match, **(actions or LEAVE_ALONE)})


def _with_all(cmdlines: Iterable[str]) -> str | list[str]:
    """Patterns for a command line that has all these arguments, in any order."""
    orders = itertools.permutations(re.escape(one) for one in sorted(cmdlines))
    patterns = [f"{REGEX}(?:.* )?{' (?:.* )?'.join(order)}(?: .*)?" for order in orders]
    return patterns[0] if len(patterns) == 1 else patterns


def _actions(
    name: str, entry: _Entry, types: Mapping[str, _Entry], groups: Mapping[str, _Entry], imported: Imported
) -> dict[str, Any]:
    of = entry.values.get("type")
    type_ = types.get(of) if isinstance(of, str) else None
    if of is not None and type_ is None:
        imported.lose(entry.where, f'type "{of}"'[:60], "not among the files given: add 00-types.types")
    whole = {**(type_.values if type_ is not None else {}), **entry.values}
    for key, value in whole.items():
        if key not in _KNOWN or key in _NOT_OURS:
            imported.lose(entry.where, f"{name}: {key} {value}"[:60], _NOT_OURS.get(key, "not known"))
    actions: dict[str, Any] = {}
    if "oom_score_adj" in whole:
        actions |= _adjustment(entry.where, whole["oom_score_adj"], imported)
    if "cgroup" in whole:
        actions |= _group(entry.where, whole["cgroup"], groups, imported)
    return actions


def _adjustment(location: str, value: object, imported: Imported) -> dict[str, Any]:
    what = f"oom_score_adj {value}"[:60]
    if not isinstance(value, int) or isinstance(value, bool) or not -1000 <= value <= 1000:
        imported.lose(location, what, "not a whole number between -1000 and 1000")
        return {}
    if value == -1000:
        imported.lose(location, what, "became -999: -1000 is inherited by all it starts; see unkillable")
    return {"oom_score_adj": max(value, -999)}


def _group(location: str, name: object, groups: Mapping[str, _Entry], imported: Imported) -> dict[str, Any]:
    """The cgroup of a rule, without its quota.

    Ananicy's quotas are in percent of the whole machine; ours need the number of CPUs, which a file lacks.
    """
    entry = groups.get(name) if isinstance(name, str) else None
    if entry is None:
        imported.lose(location, f'cgroup "{name}"'[:60], "not among the files given: add 00-cgroups.cgroups")
        return {}
    path = group_path("ananicy", str(name))
    if path is None or path == "/ananicy":
        imported.lose(location, f'cgroup "{name}"'[:60], "no group below the root")
        return {}
    quota = entry.values.get("CPUQuota")
    if isinstance(quota, int) and not isinstance(quota, bool) and 0 < quota < 10**9:
        why = f'percent of all CPUs: for N CPUs write cpu.max: "{1000 * quota}×N 100000" under cgroup.settings'
        imported.lose(location, f"{name}: CPUQuota {quota}", why)
    elif quota is not None:
        imported.lose(location, f"{name}: CPUQuota {quota}"[:60], "not a percentage")
    return {"cgroup": {"path": path, "controllers": ["cpu"]}}
