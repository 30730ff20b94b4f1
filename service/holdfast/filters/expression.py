"""The regular expressions of ``~=``: RE2's syntax (https://github.com/google/re2/wiki/Syntax), as Go compiles it.

Every expression that containerd accepts means the same here, except scripts (``\\p{Greek}``): Python's standard
library has a character's general category (``\\pL``, ``\\p{Lu}``) but not its script, so they are refused. Look-around
and back-references do not exist in RE2. An expression that would need more than 2,000 states is refused.
"""

from __future__ import annotations

from typing import NoReturn

from msgspec import Struct
from msgspec.structs import replace

from holdfast.filters import automaton
from holdfast.filters.automaton import Alternation, Automaton, Border, BorderTest, CharacterTest, Node, One, Repeat, Row
from holdfast.filters.characters import CATEGORIES, PERL, POSIX, Range, any_case, in_category, one_of

_MAX_REPEAT = 1000
_MAX_DEPTH = 100
_SYNTAX = "invalid or unsupported Perl syntax"
_CONTROL = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_BORDERS: dict[str, BorderTest] = {
    "A": automaton.TEXT_START,
    "z": automaton.TEXT_END,
    "b": automaton.WORD_BORDER,
    "B": automaton.NO_WORD_BORDER,
}
_ANCHORS: dict[tuple[str, bool], BorderTest] = {
    ("^", False): automaton.TEXT_START,
    ("^", True): automaton.LINE_START,
    ("$", False): automaton.TEXT_END,
    ("$", True): automaton.LINE_END,
}
_DOT = {False: one_of((("\n", "\n"),), negated=True), True: one_of((), negated=True)}


class BadExpression(Exception):
    """Not an RE2 expression; the message is Go's, with the offending part in backquotes."""


class FilterExpression(Struct, frozen=True):
    """A compiled expression."""

    pattern: str
    automaton: Automaton

    def search(self, text: str) -> bool:
        """Whether any part of ``text`` matches."""
        return self.automaton.search(text)


def compile(pattern: str) -> FilterExpression:  # noqa: A001 (called as ``expression.compile``)
    """Compile ``pattern``.

    Raises:
        BadExpression: it is invalid; the message has the reason.
    """
    if any("\ud800" <= character <= "\udfff" for character in pattern):
        raise BadExpression("invalid UTF-8")
    try:
        return FilterExpression(pattern, Automaton(_Reader(pattern).whole()))
    except automaton.TooLarge:
        raise BadExpression(f"expression too large: `{pattern}`") from None


class _Flags(Struct, frozen=True):
    """``(?ims)``: any case, ``^$`` at lines, ``.`` takes newlines. ``U`` changes which text matches, not whether."""

    i: bool = False
    m: bool = False
    s: bool = False
    U: bool = False


class _Reader:
    """Read one expression from left to right; ``at`` is the next character."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.flags = _Flags()
        self.depth = 0

    def whole(self) -> Node:
        tree = self.choice()
        if self.at < len(self.pattern):
            raise BadExpression(f"unexpected ): `{self.pattern}`")
        return tree

    def choice(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise BadExpression(f"expression nests too deeply: `{self.pattern}`")
        rows = [self.row()]
        while self.took("|"):
            rows.append(self.row())
        self.depth -= 1
        return rows[0] if len(rows) == 1 else Alternation(tuple(rows))

    def row(self) -> Node:
        items: list[Node] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            start = self.at
            if self.took("\\Q"):
                items += self.verbatim()
                continue
            item = self.repeated(items, start) if self.repetition() else self.atom()
            if item is not None:
                items.append(item)
        return Row(tuple(items))

    def verbatim(self) -> list[Node]:
        text, _, _ = self.pattern[self.at :].partition("\\E")
        self.at = min(len(self.pattern), self.at + len(text) + 2)
        return [self.literal(character) for character in text]

    def repetition(self) -> tuple[int, int | None, int] | None:
        """Return least, most and end of a repetition at this place; None without one."""
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        character = self.pattern[self.at]
        if character in simple:
            return (*simple[character], self.at + 1)
        end = self.pattern.find("}", self.at)
        if character != "{" or end < 0:
            return None
        least, comma, most = self.pattern[self.at + 1 : end].partition(",")
        if not _is_count(least) or (most and not _is_count(most)):
            return None  # then { is a literal
        upper = None if comma and not most else int(most or least)
        return int(least), upper, end + 1

    def repeated(self, items: list[Node], start: int) -> Node:
        least, most, end = self.repetition() or self.bad(_SYNTAX, start)
        self.at = end
        self.took("?")  # lazy
        text = self.pattern[start : self.at]
        if max(least, most or 0) > _MAX_REPEAT or (most is not None and most < least):
            raise BadExpression(f"invalid repeat count: `{text}`")
        if not items:
            raise BadExpression(f"missing argument to repetition operator: `{text}`")
        if self.at < len(self.pattern) and (following := self.repetition()):
            raise BadExpression(f"invalid nested repetition operator: `{self.pattern[start : following[2]]}`")
        return Repeat(items.pop(), least, most)

    def atom(self) -> Node | None:
        start, character = self.at, self.pattern[self.at]
        self.at += 1
        match character:
            case "(":
                return self.group(start)
            case "[" | ".":
                return One(self.bracket(start) if character == "[" else _DOT[self.flags.s])
            case "^" | "$":
                return Border(_ANCHORS[character, self.flags.m])
            case "\\" if (border := _BORDERS.get(self.pattern[self.at : self.at + 1])) is not None:
                self.at += 1
                return Border(border)
            case "\\":
                self.at = start
                return One(self.character_set() or self.literal(self.escaped()).test)
        return self.literal(character)

    def literal(self, character: str) -> One:
        return One(self.cased(one_of(((character, character),))))

    def cased(self, test: CharacterTest, negated: bool = False) -> CharacterTest:
        """Return ``test`` under the flags; a negated set excludes all case variants of its members."""
        cased = any_case(test) if self.flags.i else test
        return (lambda character: not cased(character)) if negated else cased

    def group(self, start: int) -> Node | None:
        before = self.flags
        if self.took("?P<") or self.took("?<"):
            name, closed, _ = self.pattern[self.at :].partition(">")
            if not closed or not name.isascii() or not name.replace("_", "a").isalnum():
                raise BadExpression(f"invalid named capture: `{self.pattern[start : self.at + len(name) + 1]}`")
            self.at += len(name) + 1
        elif self.took("?") and not self.flagged(start):
            return None  # (?i) holds until the group around it ends
        tree = self.choice()
        if not self.took(")"):
            raise BadExpression(f"missing closing ): `{self.pattern}`")
        self.flags = before
        return tree

    def flagged(self, start: int) -> bool:
        """Read ``ims-s:`` after ``(?``; return whether a group follows (``:``) or not (``)``)."""
        value, named = True, False
        while self.at < len(self.pattern):
            character = self.pattern[self.at]
            self.at += 1
            if character in "imsU":
                self.flags, named = replace(self.flags, **{character: value}), True
            elif character == "-" and value:
                value, named = False, False
            elif character in ":)" and (value or named):
                return character == ":"
            else:
                break
        return self.bad(_SYNTAX, start)

    def bracket(self, start: int) -> CharacterTest:
        """Read a class in brackets, from directly after ``[``."""
        negated = self.took("^")
        tests: list[CharacterTest] = []
        ranges: list[Range] = []
        first = True
        while first or not self.took("]"):
            if self.at >= len(self.pattern):
                raise BadExpression(f"missing closing ]: `{self.pattern[start:]}`")
            if test := self.character_set(bracket=True):
                tests.append(test)
            else:
                ranges.append(self.bracket_range())
            first = False
        tests.append(self.cased(one_of(tuple(ranges))))
        return lambda character: any(test(character) for test in tests) is not negated

    def bracket_range(self) -> Range:
        start = self.at
        low = self.bracket_character()
        if self.pattern[self.at : self.at + 1] != "-" or self.pattern[self.at + 1 : self.at + 2] in ("]", ""):
            return low, low
        self.at += 1
        high = self.bracket_character()
        if high < low:
            self.bad("invalid character class range", start)
        return low, high

    def bracket_character(self) -> str:
        if self.pattern[self.at] == "\\":
            return self.escaped()
        self.at += 1
        return self.pattern[self.at - 1]

    def character_set(self, bracket: bool = False) -> CharacterTest | None:
        r"""``\d``, ``\pL``, and in brackets ``[:alpha:]``; None when there is no set at this place."""
        start, letter = self.at, self.pattern[self.at + 1 : self.at + 2]
        if bracket and self.pattern.startswith("[:", start) and (end := self.pattern.find(":]", start + 2)) >= 0:
            self.at = end + 2
            name = self.pattern[start + 2 : end]
            ranges = POSIX.get(name.removeprefix("^")) or self.bad("invalid character class range", start)
            return self.cased(one_of(ranges), name.startswith("^"))
        if self.pattern[start] != "\\" or not letter:
            return None
        self.at += 2
        if letter.lower() in PERL:
            return self.cased(one_of(PERL[letter.lower()]), letter.isupper())
        if letter in "pP":
            return self.category(start, letter == "P")
        self.at = start
        return None

    def category(self, start: int, negated: bool) -> CharacterTest:
        if self.took("{"):
            name, closed, _ = self.pattern[self.at :].partition("}")
            self.at += len(name) + len(closed)
        else:
            name = self.pattern[self.at : self.at + 1]
            self.at += 1
        if name.startswith("^"):
            name, negated = name[1:], not negated
        if name == "Any":
            return one_of((), negated=not negated)
        if name not in CATEGORIES:
            self.bad("invalid character class range", start)
        return self.cased(in_category(name), negated)

    def escaped(self) -> str:
        r"""Return the character of an escape: ``\n``, ``\x41``, ``\x{1F600}``, ``\101``, ``\.``."""
        start = self.at
        letter = self.pattern[start + 1 : start + 2]
        self.at += 2
        if not letter:
            raise BadExpression("trailing backslash at end of expression: ``")
        if letter in _CONTROL:
            return _CONTROL[letter]
        if letter == "x":
            return self.hexadecimal(start)
        if letter in "01234567":
            digits = letter
            while len(digits) < 3 and (more := self.pattern[self.at : self.at + 1]) and more in "01234567":
                digits, self.at = digits + more, self.at + 1
            if letter == "0" or len(digits) > 1:
                return chr(int(digits, 8))
        elif letter.isascii() and not letter.isalnum():
            return letter
        return self.bad("invalid escape sequence", start)

    def hexadecimal(self, start: int) -> str:
        if self.took("{"):
            digits, closed, _ = self.pattern[self.at :].partition("}")
            self.at += len(digits) + len(closed)
        else:
            digits, closed = self.pattern[self.at : self.at + 2], "}"
            self.at += 2
            if len(digits) < 2:
                self.bad("invalid escape sequence", start)
        if not closed or not digits or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            self.bad("invalid escape sequence", start)
        if len(digits.lstrip("0")) > 6 or int(digits, 16) > 0x10FFFF:
            self.bad("invalid escape sequence", start)
        return chr(int(digits, 16))

    def took(self, text: str) -> bool:
        """Skip ``text`` if it is at this place; return whether it is."""
        if not self.pattern.startswith(text, self.at):
            return False
        self.at += len(text)
        return True

    def bad(self, why: str, start: int) -> NoReturn:
        raise BadExpression(f"{why}: `{self.pattern[start : self.at]}`")


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 9 and (text == "0" or not text.startswith("0"))
