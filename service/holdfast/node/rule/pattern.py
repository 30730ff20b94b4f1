"""Patterns of rules: plain words, globs, ``re:`` expressions; and an index of the rules that match a value.

A pattern is compared with the whole value.

====================  ============================================================================================
``word``              the value itself
``*`` ``?``           any run of characters, any one character; in paths (exe, cgroup) neither crosses a ``/``
``**``                in paths: any run, ``/`` included; ``/a/**`` holds for ``/a`` itself and everything below it
``re:EXPRESSION``     an RE2 expression that must match all of the value (as Prometheus anchors its own)
``not:PATTERN``       every value that PATTERN does not fit; alone, not in a list
====================  ============================================================================================

RE2 matches globs and expressions (see `holdfast.expression`), in time linear in the length of a value: the processes
that are matched choose the values.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

from msgspec import Struct

from holdfast.errors import InvalidArgument
from holdfast.expression import Expression, Expressions, literal

REGEX = "re:"
NOT = "not:"
_REMEMBERED = 4096
_LONGEST_REMEMBERED = 256  # characters; a longer value (a command line) is matched each time
_PIECE = re.compile(r"(\*+|\?)")


class Pattern(Struct, frozen=True):
    """One pattern and its compiled ``expression`` (None: a plain word). ``own`` marks ``re:``, ``negated`` ``not:``."""

    text: str
    expression: Expression | None = None
    own: bool = False
    negated: bool = False

    def holds(self, value: str) -> bool:
        """Whether all of ``value`` fits."""
        fits = value == self.bare if self.expression is None else self.expression.fits(value)
        return fits is not self.negated

    @property
    def bare(self) -> str:
        """The pattern without ``not:``."""
        return self.text[len(NOT) :] if self.negated else self.text

    @property
    def least_bytes(self) -> int:
        """The size in bytes of the shortest value that fits a glob; 0 for ``re:`` and ``not:``."""
        return 0 if self.own or self.negated else len(self.text.replace("*", "").encode(errors="surrogatepass"))


def compile_pattern(text: str, *, path: bool = False) -> Pattern:
    """Compile one pattern.

    Raises:
        InvalidArgument: it is empty, or its ``re:`` expression is not one that RE2 takes.
    """
    if not text:
        raise InvalidArgument('"" matches nothing; leave the key out, or write "*"')
    if text.startswith(NOT):
        inner = compile_pattern(text[len(NOT) :], path=path)
        if inner.negated:
            raise InvalidArgument(f'"{text}" says {NOT} twice')
        return Pattern(text, inner.expression, inner.own, negated=True)
    if text.startswith(REGEX):
        return Pattern(text, _compiled(text, text[len(REGEX) :]), own=True)
    if "*" not in text and "?" not in text:
        return Pattern(text)
    return Pattern(text, _compiled(text, _as_expression(text, path=path)))


def _compiled(text: str, source: str) -> Expression:
    try:
        return Expression(source)
    except InvalidArgument as error:
        kind = "a regular expression of RE2" if text.startswith(REGEX) else "a pattern"
        hint = f"; {NOT}PATTERN fits what PATTERN does not" if "(?!" in text or "(?<!" in text else ""
        raise InvalidArgument(f'"{text}" is not {kind}: {error.message}{hint}') from None


def compile_patterns(texts: str | Sequence[str], *, path: bool = False) -> tuple[Pattern, ...]:
    """Compile one pattern, or several of which any may fit.

    Raises:
        InvalidArgument: one is invalid, or one of several is ``not:``: any value would fit ``[not:a, not:b]``.
    """
    patterns = tuple(compile_pattern(text, path=path) for text in ((texts,) if isinstance(texts, str) else texts))
    if len(patterns) > 1 and (negated := next((some for some in patterns if some.negated), None)):
        raise InvalidArgument(f'"{negated.text}" stands alone, not in a list; {NOT}{REGEX}A|B excludes two')
    return patterns


def _as_expression(glob: str, *, path: bool) -> str:
    if path and glob.endswith("/**") and len(glob) > len("/**"):
        return _as_expression(glob[: -len("/**")], path=True) + "(?:/.*)?"
    one, run = ("[^/]", "[^/]*") if path else (".", ".*")
    parts = []
    for piece in _PIECE.split(glob):
        if piece == "?":
            parts.append(one)
        elif piece.startswith("*"):
            parts.append(run if len(piece) == 1 else ".*")
        else:
            parts.append(literal(piece))
    return "".join(parts)


def any_holds(patterns: Iterable[Pattern], value: str) -> bool:
    """Whether one of the patterns fits."""
    return any(pattern.holds(value) for pattern in patterns)


def spelled(patterns: Sequence[Pattern]) -> str:
    """The patterns as they were written: one as it is, several in brackets."""
    return patterns[0].text if len(patterns) == 1 else f"[{', '.join(pattern.text for pattern in patterns)}]"


class ValueIndex:
    """Index of one key of all rules: for a value, one bit per rule that matches, so that keys combine by ``&``.

    Rules without the key match every value. Results are cached by value (a node has few distinct names), which makes
    the cost independent of the number of rules; a new value costs a look-up among the plain words and one pass of all
    globs and expressions over it.
    """

    def __init__(self, patterns_by_rule: Sequence[Sequence[Pattern]]) -> None:
        self.asked = 0
        self._words: dict[str, int] = {}
        found: dict[Expression, int] = {}
        negated: dict[Pattern, int] = {}
        for rule, patterns in enumerate(patterns_by_rule):
            bit = 1 << rule
            self.asked |= bit if patterns else 0
            for pattern in patterns:
                if pattern.negated:
                    negated[pattern] = negated.get(pattern, 0) | bit
                elif pattern.expression is None:
                    self._words[pattern.text] = self._words.get(pattern.text, 0) | bit
                else:
                    found[pattern.expression] = found.get(pattern.expression, 0) | bit
        self._everyone = ((1 << len(patterns_by_rule)) - 1) & ~self.asked
        self._expressions, self._bits = Expressions(tuple(found)), tuple(found.values())
        self._negated = tuple(negated.items())
        self._remembered: dict[str, int] = {}

    def holding(self, value: str) -> int:
        """The bits of the rules whose pattern for this key fits ``value``, or that have no pattern for it."""
        bits = self._remembered.get(value)
        if bits is None:
            bits = self._look(value)
            if len(value) <= _LONGEST_REMEMBERED:
                if len(self._remembered) >= _REMEMBERED:
                    self._remembered.clear()
                self._remembered[value] = bits
        return bits

    def _look(self, value: str) -> int:
        bits = self._everyone | self._words.get(value, 0)
        if self._bits:
            for at in self._expressions.fitting(value):
                bits |= self._bits[at]
        for pattern, rules in self._negated:
            bits |= rules if pattern.holds(value) else 0
        return bits


class UserIndex:
    """Index of the users of all rules: for a user number, one bit per rule that matches (see `ValueIndex`)."""

    def __init__(self, users_by_rule: Sequence[Container[int] | None]) -> None:
        self.asked = sum(1 << rule for rule, users in enumerate(users_by_rule) if users is not None)
        self._everyone = ((1 << len(users_by_rule)) - 1) & ~self.asked
        self._users = [(1 << rule, users) for rule, users in enumerate(users_by_rule) if users is not None]
        self._remembered: dict[int, int] = {}

    def holding(self, uid: int) -> int:
        """The bits of the rules whose ``user`` includes ``uid``, or that have no ``user``."""
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
