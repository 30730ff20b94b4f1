"""The result of an import: rules as the configuration has them, and the losses. Text in, values out; no I/O.

An imported rule means what it meant in the other tool. It never covers a process that the tool's rule did not cover: a
rule that cannot be written here keeps its place as one that leaves its processes alone (`LEAVE_ALONE`), so that they do
not fall under the rules below it, and the loss is reported.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from holdfast.config.render import one_line
from holdfast.errors import InvalidArgument
from holdfast.node.rule.clause import COMM_BYTES
from holdfast.node.rule.compile import NAME_BYTES
from holdfast.node.rule.pattern import REGEX
from holdfast.node.rule.schema import Rule

#: The action of a rule that only keeps later ones away: every value is at least the lowest.
LEAVE_ALONE: dict[str, Any] = {"oom_score_adj": {"at_least": -1000}}
_TRUST = "trust_claims"
_FEW = 5  # losses for one reason that are listed one by one


class NotImported(Struct, frozen=True):
    """A part of a line (``FILE:NUMBER``) that the imported rules do not have, and why."""

    where: str
    what: str
    why: str


class Imported(Struct):
    """Rules in the order in which they decide, and the losses."""

    rules: list[dict[str, Any]] = field(default_factory=list)
    lost: list[NotImported] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def add(self, name: str, rule: dict[str, Any]) -> None:
        """Add a rule under a unique name."""
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-")[:70] or "rule"
        numbered = (f"{stem}-{at}" for at in itertools.count(2))
        unique = next(some for some in itertools.chain((stem,), numbered) if some not in self.names)
        self.names.add(unique)
        self.rules.append({"name": unique, **rule, **_trust(rule)})

    def drop_last_idle(self) -> None:
        """Drop rules at the end that only keep later ones away: none follows them."""
        while self.rules and all(self.rules[-1].get(key) == value for key, value in LEAVE_ALONE.items()):
            self.rules.pop()

    def lose(self, location: str, text: str, why: str) -> None:
        """Add a loss to report."""
        self.lost.append(NotImported(location, text, why))

    def checked(self) -> tuple[Rule, ...]:
        """The rules as structs."""
        return msgspec.convert(self.rules, tuple[Rule, ...])


def lines_of(files: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The lines of texts by file name, each with its place; a byte order mark and carriage returns are left out.

    Raises:
        InvalidArgument: a NUL character or half a surrogate pair, so this is no text.
    """
    for name, text in files.items():
        if text and not is_text(text):
            found = "a NUL character" if "\0" in text else "half a surrogate pair"
            raise InvalidArgument(f"{name}: {found}: not a file of rules")
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            yield f"{name}:{number}", line.removesuffix("\r")


def program(name: str) -> dict[str, str] | None:
    """The ``match`` for a program of exactly this name: by ``comm``, by ``exe`` where the kernel would cut the name.

    None when no program can have this name.
    """
    if not is_text(name):
        return None
    if len(name.encode()) <= COMM_BYTES:
        return {"comm": literal(name)}
    if "/" in name:
        return None
    return {"exe": f"**/{name}" if literal(name) == name else f"{REGEX}(?:.*/)?{re.escape(name)}"}


def literal(text: str) -> str:
    """A pattern that fits this text alone."""
    return f"{REGEX}{re.escape(text)}" if text.startswith(REGEX) or any(mark in text for mark in "*?") else text


def is_text(text: str) -> bool:
    """Whether a process or a group can have this name, and it can be written to a file."""
    return bool(text) and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text)


def group_path(*names: str) -> str | None:
    """The names as a cgroup's path; None where they lead to the root or out of it, or a rule may not name the group."""
    parts = [part for name in names for part in name.split("/") if part not in ("", ".")]
    usable = all(part != ".." and is_text(part) and part.isprintable() for part in parts)
    return "/" + "/".join(parts) if parts and usable and max(len(p.encode()) for p in parts) <= NAME_BYTES else None


def as_yaml(imported: Imported, source: str, *, every: bool = False) -> str:
    """The rules as a document for ``plugins."io.holdfast.placement.v1.rules"``, with the losses as its first lines."""
    import yaml

    lines = [f"From {source}: {len(imported.rules)} rules, {len(imported.lost)} things left behind."]
    lines += [f"  {line}" for line in (_each(imported.lost) if every else _gathered(imported.lost))]
    if not every and len(lines) - 1 < len(imported.lost):
        lines.append("Each of them: holdfast rules import --every-loss …")
    if any(_TRUST in rule for rule in imported.rules):
        lines.append(
            f"{_TRUST}: the tool knows a program by its name, which any user may give to a program of their own."
        )
        lines.append("Add the program's path (exe) and its user to these rules and remove it.")
    lines.append("Try it before it is used: holdfast preview --rules THIS-FILE")
    dumped = yaml.safe_dump({"rules": imported.rules}, sort_keys=False, default_flow_style=None, width=110)
    return "".join(f"# {one_line(line)}\n" for line in lines) + dumped


def _trust(rule: Mapping[str, Any]) -> dict[str, bool]:
    """``trust_claims`` for an imported rule that protects: both tools match by name, which is a claim."""
    value = rule.get("oom_score_adj")
    return {_TRUST: True} if _TRUST in Rule.__struct_fields__ and isinstance(value, int) and value <= 0 else {}


def _each(lost: Iterable[NotImported]) -> Iterator[str]:
    return (f"{one.where}: {one.what}: {one.why}" for one in lost)


def _gathered(lost: Iterable[NotImported]) -> Iterator[str]:
    """Yield one line for each loss, but one for all with a frequent reason.

    Ananicy's own 400 files lose 1,700 things for six reasons.
    """
    by_reason: dict[str, list[NotImported]] = {}
    for one in lost:
        by_reason.setdefault(one.why, []).append(one)
    for why, ones in by_reason.items():
        if len(ones) <= _FEW:
            yield from _each(ones)
        else:
            yield f"{ones[0].where}: {ones[0].what}, and {len(ones) - 1:,} more: {why}"
