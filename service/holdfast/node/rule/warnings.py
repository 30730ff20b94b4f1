"""Warnings for a placement configuration that is valid but cannot be meant: for ``config check`` and the log. No I/O.

A warning has the path of a key below the plugin's section, and the fault:

* a rule that an earlier one covers completely, so that it decides for no process;
* two rules with different values for one file of one group, of which the first decides (`plan.claims`);
* a range of users that begins above its end, and users that this node does not know.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from holdfast.node.rule.clause import UidOf
from holdfast.node.rule.pattern import Pattern, compile_pattern
from holdfast.node.rule.schema import Match, OneOrMore, PlacementConfig, PodMatch, Rule
from holdfast.node.rule.setting import parts_of, setting_named

Path = tuple[str | int, ...]
Warnings = Iterator[tuple[Path, str]]
_TEXTS = (("comm", False), ("exe", True), ("cmdline", False), ("cgroup", True))  # key, and whether it is a path
_POD_TEXTS = ("namespace", "name", "uid", "container", "qos")
_POD_SELECTORS = ("labels", "annotations")
_WILD = ("*", "?")
_OTHER = ("re:", "not:")  # kinds of patterns that are compared by their text alone


def warnings_of(config: PlacementConfig, uid_of: UidOf | None = None) -> tuple[tuple[Path, str], ...]:
    """All warnings, in the rules' order. ``uid_of`` gives a user's number; without it unknown users give no warning."""
    return tuple(
        warning
        for at, rule in enumerate(config.rules)
        for kind in (_users(at, rule, uid_of), _unreachable(at, config.rules), _conflicts(at, config.rules))
        for warning in kind
    )


def _users(index: int, rule: Rule, uid_of: UidOf | None) -> Warnings:
    path = ("rules", index, "match", "user")
    for entry in _users_in(rule.match):
        if isinstance(entry, int) or entry.isdecimal():
            continue
        if (ends := _range(entry)) is not None:
            if ends[0] > ends[1]:
                yield path, f'"{entry}" matches no user: the range is reversed; write {ends[1]}-{ends[0]}'
        elif uid_of is not None and uid_of(entry) is None:
            yield path, f'this node has no user "{entry}", and the entry matches no process here'


def _unreachable(index: int, rules: tuple[Rule, ...]) -> Warnings:
    rule = rules[index]
    first = next((earlier for earlier in rules[:index] if covers(earlier.match, rule.match)), None)
    if first is not None:
        yield (
            ("rules", index, "match"),
            f'rule "{rule.name}" decides for no process: rule "{first.name}" before it matches every process that it '
            "matches; put the narrower one first",
        )


def _conflicts(index: int, rules: tuple[Rule, ...]) -> Warnings:
    target = rules[index].cgroup
    if target is None:
        return
    for file, value in target.settings.items():
        wanted = parts_of(file, setting_named(file).kind.written(value))
        for earlier in rules[:index]:
            other = earlier.cgroup
            if other is None or other.path != target.path or file not in other.settings:
                continue
            stands = parts_of(file, setting_named(file).kind.written(other.settings[file]))
            if any(stands.get(about, text) != text for about, text in wanted.items()):
                yield (
                    ("rules", index, "cgroup", "settings", file),
                    f'rule "{earlier.name}" before it has another value for the same file of {target.path}: the first '
                    "rule decides, and this value is not written",
                )
                break


# -- whether one match covers another ----------------------------------------------------------------------------------


def covers(wide: Match, narrow: Match) -> bool:
    """Whether ``wide`` matches every process that ``narrow`` matches; False where it is not certain."""
    if narrow.descendants and not wide.descendants:
        return False
    return (
        all(_texts_cover(getattr(wide, key), getattr(narrow, key), path=path) for key, path in _TEXTS)
        and _users_cover(wide, narrow)
        and wide.leader in (None, narrow.leader)
        and _pods_cover(wide.pod, narrow.pod)
    )


def _texts_cover(wide: OneOrMore, narrow: OneOrMore, *, path: bool) -> bool:
    if not wide:
        return True
    patterns = [compile_pattern(text, path=path) for text in _entries(wide)]
    texts = list(_entries(narrow))
    return bool(texts) and all(any(_covers(one, text, path=path) for one in patterns) for text in texts)


def _covers(wide: Pattern, text: str, *, path: bool) -> bool:
    if wide.text == text:
        return True
    if text.startswith(_OTHER):
        return False
    if wide.text in (("**", "/**") if path else ("*", "**")):
        return True
    if not any(sign in text for sign in _WILD):
        return wide.holds(text)
    below = wide.text.removesuffix("**")  # everything below one directory
    return path and below != wide.text and below.endswith("/") and not _is_wild(below) and text.startswith(below)


def _is_wild(text: str) -> bool:
    return text.startswith(_OTHER) or any(sign in text for sign in _WILD)


class _Users(Struct, frozen=True):
    ranges: tuple[tuple[int, int], ...]
    names: frozenset[str]


def _users_cover(wide: Match, narrow: Match) -> bool:
    if wide.user == ():
        return True
    if narrow.user == ():
        return False
    has, asks = _users_of(wide), _users_of(narrow)
    within = all(any(low <= first and last <= high for low, high in has.ranges) for first, last in asks.ranges)
    return within and asks.names <= has.names


def _users_of(match: Match) -> _Users:
    ranges, names = [], set()
    for entry in _users_in(match):
        if isinstance(entry, int) or entry.isdecimal():
            ranges.append((int(entry), int(entry)))
        elif (ends := _range(entry)) is not None:
            ranges.append(ends)
        else:
            names.add(entry)
    return _Users(tuple(ranges), frozenset(names))


def _pods_cover(wide: PodMatch | bool | None, narrow: PodMatch | bool | None) -> bool:
    if wide is None:
        return True
    if isinstance(wide, bool) or isinstance(narrow, bool) or narrow is None:
        return (wide is False and narrow is False) or (wide is True and narrow not in (None, False))
    return all(_texts_cover(getattr(wide, key), getattr(narrow, key), path=False) for key in _POD_TEXTS) and all(
        _selectors_cover(getattr(wide, key), getattr(narrow, key)) for key in _POD_SELECTORS
    )


def _selectors_cover(wide: OneOrMore, narrow: OneOrMore) -> bool:
    """Whether each selector of ``narrow`` is one of ``wide``, compared by text."""
    texts = set(_entries(narrow))
    return not wide or (bool(texts) and texts <= set(_entries(wide)))


# -- entries -----------------------------------------------------------------------------------------------------------


def _entries(value: OneOrMore) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _users_in(match: Match) -> tuple[int | str, ...]:
    return (match.user,) if isinstance(match.user, int | str) else match.user


def _range(entry: str) -> tuple[int, int] | None:
    first, dash, last = entry.partition("-")
    return (int(first), int(last)) if dash and first.isdecimal() and last.isdecimal() else None
