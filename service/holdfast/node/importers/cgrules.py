"""Import the rules of libcgroup's ``cgrules.conf``.

They are read as cgrulesengd reads them (cgrules.conf(5), https://github.com/libcgroup/libcgroup):

- ``USER[:PROGRAM] CONTROLLERS DESTINATION [OPTIONS]``; text in double quotes keeps its blanks, ``#`` begins a comment
  everywhere. ``%`` lines belong to the rule above them. cgrulesengd refuses a file with a line that it cannot read.
- The first rule that matches decides. ``ignore`` leaves its processes alone, so no rule below it applies to them.
- USER is a name, ``@GROUP`` or ``*``; a rule with a name that the machine does not know is skipped.
- PROGRAM is a file name or a whole path, exactly; with ``*`` at its end, the beginning of the whole path.
- DESTINATION may have ``%u %U %g %G %p %P`` in it; a backslash takes the next character as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

from holdfast.errors import InvalidArgument
from holdfast.node.importers.imported import (
    LEAVE_ALONE,
    Imported,
    group_path,
    is_text,
    lines_of,
    literal,
    program,
)
from holdfast.node.rule.pattern import REGEX

_LAST_UID = 2**32 - 2  # (uid_t)-1 is no user's
_OPTIONS = {"ignore", "ignore_rt"}
_FIELDS = 3
_FIELD = re.compile(r'[ \t]*((?:"[^"]*"|[^ \t"])+)')
_NUMBERS = re.compile(r"\d+(?:-\d+)?")  # match.user takes these for numbers
_TEMPLATE = re.compile(r"\\(.)|%[ugpUGP]")


class Accounts(Protocol):
    """The users of a machine: the names in a file mean those of the machine on which it is read."""

    def uid_of(self, user: str) -> int | None:
        """The number of a user, None for an unknown one."""

    def members_of(self, group: str) -> Sequence[str] | None:
        """The users of a group, also those whose own group it is; None for an unknown one."""


class _Line(Struct):
    """One rule: a line and the ``%`` lines below it."""

    where: str
    user: str
    program: str
    options: frozenset[str]
    targets: list[tuple[str, str, str]] = field(default_factory=list)  # place, controllers, destination

    @property
    def name(self) -> str:
        """The name of the imported rule."""
        who = self.program.rsplit("/", 1)[-1] or self.user
        return who if self.user in ("*", who) else f"{self.user}-{who}"


def from_cgrules(files: Mapping[str, str], accounts: Accounts) -> Imported:
    """Read a cgrules.conf and the files of cgrules.d: texts by file name, in order.

    Raises:
        InvalidArgument: a line that cgrulesengd refuses; with its place.
    """
    return _Importer(accounts).read(lines_of(files))


class _Importer:
    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._imported = Imported()
        self._ignored: dict[str, int] = {}  # users none of whose processes are moved from here on

    def read(self, lines: Iterable[tuple[str, str]]) -> Imported:
        for rule in _rules(lines, self._imported):
            if "ignore" not in rule.options and rule.options:
                self._imported.lose(
                    rule.where, rule.name, "ignore_rt: real-time processes fall under the rules below it"
                )
                continue
            match = self._match(rule)
            if match is not None:
                self._rule(rule, match)
        self._imported.drop_last_idle()
        return self._imported

    def _rule(self, rule: _Line, match: dict[str, Any]) -> None:
        where, _, destination = rule.targets[0]
        if "ignore" in rule.options:
            self._ignore(rule, match, destination)
            return
        target = self._target(rule)
        if target is None:
            self._imported.add(rule.name, {"match": match, **LEAVE_ALONE, "reason": f"{where}: not imported"})
        else:
            self._imported.add(rule.name, {"match": match, "cgroup": target})

    def _ignore(self, rule: _Line, match: dict[str, Any], destination: str) -> None:
        """Exclude a user from the rules below when none of its processes is moved; else add a rule without effect."""
        uid = self._accounts.uid_of(rule.user)
        if destination == "*" and not rule.program and uid is not None:
            self._ignored[rule.user] = uid
            return
        if destination != "*":
            path = group_path(destination)
            if path is None:
                self._imported.lose(rule.where, destination, "ignored only in a group that is none")
                return
            below = "(?:/.*)?" if destination.endswith("/") else ".*"  # a path's beginning, whole names or not
            match = {**match, "cgroup": f"{REGEX}{re.escape(path)}{below}"}
        self._imported.add(rule.name, {"match": match, **LEAVE_ALONE, "reason": f"{rule.where}: ignore"})

    def _match(self, rule: _Line) -> dict[str, Any] | None:
        """The ``match`` of a rule; None where it can match no process."""
        user = self._user(rule)
        which = self._program(rule)
        if user is None or which is None:
            return None
        return {**user, **which} or {"comm": "*"}

    def _user(self, rule: _Line) -> dict[str, Any] | None:
        if rule.user.startswith("*"):
            return {"user": _all_but(self._ignored.values())} if self._ignored else {}
        if rule.user.startswith("@"):
            return self._group(rule)
        if not is_text(rule.user) or _NUMBERS.fullmatch(rule.user):
            self._imported.lose(rule.where, f"user {rule.user}", "no user's name: cgrulesengd skips the line, too")
            return None
        uid = self._accounts.uid_of(rule.user)
        ignored = rule.user in self._ignored or uid in self._ignored.values()
        return None if ignored else {"user": rule.user}

    def _group(self, rule: _Line) -> dict[str, Any] | None:
        found = self._accounts.members_of(rule.user[1:])
        if found is None:
            why = "no such group on this machine: write the rule, with its members under match.user"
            self._imported.lose(rule.where, rule.user, why)
            return None
        named = [user for user in found if is_text(user) and not _NUMBERS.fullmatch(user)]
        members = [user for user in named if self._accounts.uid_of(user) not in self._ignored.values()]
        self._imported.lose(rule.where, rule.user, "became the users that are its members on this machine now")
        return {"user": members} if members else None

    def _program(self, rule: _Line) -> dict[str, Any] | None:
        name = rule.program
        if name in ("", "*"):
            return {}
        if name.endswith("*"):
            if not name.startswith("/"):
                why = "compared with how a whole path begins, so it fits nothing; name the path under match.exe"
                self._imported.lose(rule.where, name, why)
                return None
            return {"exe": f"{REGEX}{re.escape(name[:-1])}.*"}
        found = {"exe": literal(name)} if name.startswith("/") and is_text(name) else program(name)
        if found is None:
            self._imported.lose(rule.where, name, "no program has such a name")
        return found

    def _target(self, rule: _Line) -> dict[str, Any] | None:
        """One path and its controllers; a rule here has one path, libcgroup's may have one for each controller."""
        paths = [(where, controllers, self._path(where, to)) for where, controllers, to in rule.targets]
        path = paths[0][2]
        if path is None:
            return None
        names: list[str] = []
        for (where, controllers, to), (_, _, written) in zip(paths, rule.targets, strict=True):
            if to == path:
                names += [name for name in controllers.split(",") if name]
            elif to is not None:
                why = f"another path than {path}: one rule has one path, and the first that matches decides"
                self._imported.lose(where, f"{controllers} {written}", why)
        target: dict[str, Any] = {"path": path}
        return target if "*" in names else {**target, "controllers": list(dict.fromkeys(names))}

    def _path(self, location: str, destination: str) -> str | None:
        why = ""
        if any(found[0].startswith("%") for found in _TEMPLATE.finditer(destination)):
            why = "a path made from the process (%u %g %p): write one rule for each; until then its processes stay"
        path = group_path(re.sub(r"\\(.)", r"\1", destination))
        if path is None:
            why = why or "no group below the root: its processes stay where they are"
        if why:
            self._imported.lose(location, destination, why)
        return None if why else path


def _rules(lines: Iterable[tuple[str, str]], imported: Imported) -> Iterator[_Line]:
    current: _Line | None = None
    for where, raw in lines:
        text = raw.split("#", 1)[0].strip(" \t")
        if not text:
            continue
        who, controllers, destination, *more = _fields(where, text)
        user, _colon, name = who.partition(":")
        if user.startswith("%"):
            if current is None:
                imported.lose(where, text, "there is no rule above it to go on with")
            else:
                current.targets.append((where, controllers, destination))
            continue
        if current is not None:
            yield current
        options = frozenset(option for word in more[:1] for option in word.split(",") if option)
        if options - _OPTIONS:
            raise InvalidArgument(f"{where}: unsupported option {', '.join(sorted(options - _OPTIONS))}")
        current = _Line(where, user, name, options, [(where, controllers, destination)])
    if current is not None:
        yield current


def _fields(location: str, text: str) -> list[str]:
    fields, at = [], 0
    while at < len(text):
        found = _FIELD.match(text, at)
        if found is None:
            raise InvalidArgument(f"{location}: {text}: a quotation mark without its end")
        fields.append(found[1].replace('"', ""))
        at = found.end()
    if len(fields) < _FIELDS:
        raise InvalidArgument(f"{location}: {text}: a rule is USER[:PROGRAM] CONTROLLERS DESTINATION")
    return fields


def _all_but(uids: Iterable[int]) -> list[str]:
    """The ranges of the numbers of all other users."""
    ranges, first = [], 0
    for uid in sorted(set(uids)):
        if first < uid:
            ranges.append(f"{first}-{uid - 1}")
        first = uid + 1
    return [*ranges, *([f"{first}-{_LAST_UID}"] if first <= _LAST_UID else [])]
