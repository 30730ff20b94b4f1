"""Patterns of rules: plain words, globs, ``re:`` expressions; and an index that finds the rules a value may fall under.

A pattern is compared with the whole value.

====================  =============================================================================================
``word``              the value itself
``*`` ``?``           any run of characters, any one character; in paths (exe, cgroup) neither crosses a ``/``
``**``                in paths: any run, ``/`` included; ``/a/**`` holds for ``/a`` itself and everything below it
``re:EXPRESSION``     a Python regular expression that must match all of the value (as Prometheus anchors its own)
====================  =============================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence

from msgspec import Struct

from holdfast.errors import InvalidArgument
from holdfast.late import regex

REGEX = "re:"
_REMEMBERED = 4096


class Pattern(Struct, frozen=True):
    """One pattern and what it compiles to; None: a plain word. ``own`` marks ``re:``."""

    text: str
    expression: re.Pattern[str] | None = None
    own: bool = False

    def holds(self, value: str) -> bool:
        """Whether all of ``value`` fits."""
        return value == self.text if self.expression is None else self.expression.fullmatch(value) is not None

    @property
    def least_length(self) -> int:
        """The shortest value a glob can fit; 0 for an expression."""
        return 0 if self.own else len(self.text.replace("*", ""))


def compile_pattern(text: str, *, path: bool = False) -> Pattern:
    """Understand one pattern.

    Raises:
        InvalidArgument: it is empty, or its ``re:`` expression is not one.
    """
    if not text:
        raise InvalidArgument('"" matches nothing; leave the key out, or write "*"')
    if text.startswith(REGEX):
        try:
            return Pattern(text, re.compile(text[len(REGEX) :], re.DOTALL), own=True)
        except (re.error, OverflowError, RecursionError) as error:
            raise InvalidArgument(f'"{text}" is not a regular expression: {error}') from None
    if "*" not in text and "?" not in text:
        return Pattern(text)
    return Pattern(text, regex(_as_regex(text, path=path), re.DOTALL))


def _as_regex(glob: str, *, path: bool) -> str:
    if path and glob.endswith("/**") and len(glob) > len("/**"):
        return _as_regex(glob[: -len("/**")], path=True) + "(?:/.*)?"
    one, run = ("[^/]", "[^/]*") if path else (".", ".*")
    parts = []
    for piece in re.split(r"(\*+|\?)", glob):
        if piece == "?":
            parts.append(one)
        elif piece.startswith("*"):
            parts.append(run if len(piece) == 1 else ".*")
        else:
            parts.append(re.escape(piece))
    return "".join(parts)


def any_holds(patterns: Iterable[Pattern], value: str) -> bool:
    """Whether one of the patterns fits."""
    return any(pattern.holds(value) for pattern in patterns)


def spelled(patterns: Sequence[Pattern]) -> str:
    """The patterns as a reader wrote them: one as it is, several in brackets."""
    return patterns[0].text if len(patterns) == 1 else f"[{', '.join(pattern.text for pattern in patterns)}]"


class ValueIndex:
    """For one key of all rules: a bit per rule that holds for a value, so that keys combine by ``&``.

    Rules without the key hold for every value. Answers are remembered by value (a node has few distinct names),
    which makes the cost independent of the number of rules; a value seen first costs a look-up among the plain
    words, one pass of all globs joined together, and only if that hits, the globs one by one.
    """

    def __init__(self, patterns_by_rule: Sequence[Sequence[Pattern]]) -> None:
        self.asked = 0
        self._words: dict[str, int] = {}
        self._globs: dict[str, tuple[re.Pattern[str], int]] = {}
        own = False
        for rule, patterns in enumerate(patterns_by_rule):
            bit = 1 << rule
            self.asked |= bit if patterns else 0
            for pattern in patterns:
                if pattern.expression is None:
                    self._words[pattern.text] = self._words.get(pattern.text, 0) | bit
                else:
                    _, bits = self._globs.get(pattern.text, (pattern.expression, 0))
                    self._globs[pattern.text] = (pattern.expression, bits | bit)
                    own = own or pattern.own
        self._everyone = ((1 << len(patterns_by_rule)) - 1) & ~self.asked
        self._joined = None if own else _joined(self._globs)
        self._remembered: dict[str, int] = {}

    def holding(self, value: str) -> int:
        """The bits of the rules whose pattern for this key fits ``value``, or who have none."""
        bits = self._remembered.get(value)
        if bits is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            bits = self._remembered[value] = self._look(value)
        return bits

    def _look(self, value: str) -> int:
        bits = self._everyone | self._words.get(value, 0)
        if self._joined is None or self._joined.fullmatch(value):
            for expression, rules in self._globs.values():
                if expression.fullmatch(value):
                    bits |= rules
        return bits


def _joined(globs: Mapping[str, tuple[re.Pattern[str], int]]) -> re.Pattern[str] | None:
    """All globs in one expression: most values fit none, and this says so in one pass."""
    if len(globs) < 2:
        return None
    return regex("|".join(f"(?:{expression.pattern})" for expression, _ in globs.values()), re.DOTALL)


class UserIndex:
    """As `ValueIndex`, for user numbers."""

    def __init__(self, users_by_rule: Sequence[Container[int] | None]) -> None:
        self.asked = sum(1 << rule for rule, users in enumerate(users_by_rule) if users is not None)
        self._everyone = ((1 << len(users_by_rule)) - 1) & ~self.asked
        self._users = [(1 << rule, users) for rule, users in enumerate(users_by_rule) if users is not None]
        self._remembered: dict[int, int] = {}

    def holding(self, uid: int) -> int:
        """The bits of the rules that want ``uid``, or do not ask."""
        bits = self._remembered.get(uid)
        if bits is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            bits = self._everyone
            for bit, users in self._users:
                if uid in users:
                    bits |= bit
            self._remembered[uid] = bits
        return bits
