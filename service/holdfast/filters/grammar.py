"""Grammar of filters, and the errors for invalid ones: texts and positions are containerd's.

    filter    = "" | selector *( "," selector )          all of them must match
    selector  = path [ operator value ]                  without an operator: the field is present
    path      = part *( "." part )
    part      = 1*( letter | digit | "_" ) | quoted      a label's key with dots in it is one quoted part
    operator  = "==" | "!=" | "~="                       equal, not equal, matches (RE2's syntax, as Go compiles it)
    value     = printable *( printable except "," ) | quoted
    quoted    = '"' … '"', after ~= also /…/ and |…|     with the escapes of a Go string

White space may stand before any token, not after a value. Rules and texts are those of real containerd 1.6
(tests/peers/test_filters.py compares both). An error's mark ``>|x|<`` stands on a whole character; containerd cuts a
character outside ASCII at its first byte.
"""

from __future__ import annotations

import enum
import unicodedata
from typing import NoReturn

from msgspec import Struct

from holdfast.errors import InvalidArgument

_SPACE = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_OPERATOR = frozenset("=!~")
_QUOTE = frozenset('"/|')
_END = ""  # result of `peek` after the last character
_REPLACEMENT = "\ufffd"

_LETTER_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_HEX_ESCAPES = {"x": 2, "u": 4, "U": 8}  # how many hexadecimal digits follow
_OCTAL = frozenset("01234567")
_HEX = frozenset("0123456789abcdefABCDEF")


class Operator(enum.Enum):
    """Operator of a selector."""

    PRESENT = ""
    EQUAL = "=="
    NOT_EQUAL = "!="
    MATCHES = "~="


class Comparison(Struct, frozen=True):
    """One comparison. Bytes of ``value`` that are not UTF-8 (``\\xff``) are kept as surrogate escapes."""

    path: tuple[str, ...]
    operator: Operator = Operator.PRESENT
    value: str = ""


def parse(text: str) -> tuple[Comparison, ...]:
    """Return the selectors of one filter; none for an empty one, which matches everything.

    Raises:
        InvalidArgument: ``filters: parse error: [<text with the place marked>]: <why>``.
    """
    return _Reader(text).selectors() if text else ()


def refuse(text: str, position: int, why: str) -> NoReturn:
    """Raise the error of a filter that is invalid at character ``position``; past the end, nothing is marked."""
    marked = f"{text[:position]} >|{text[position]}|< {text[position + 1 :]}" if position < len(text) else text
    raise InvalidArgument(f"filters: parse error: [{marked}]: {why}")


class _Reader:
    """Read one filter from left to right; ``at`` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def selectors(self) -> tuple[Comparison, ...]:
        found = [self.selector()]
        while (ahead := self.peek()) != _END:
            if ahead != ",":
                refuse(self.text, self.at, f"unexpected input: {_REPLACEMENT if illegal(ahead) else ahead}")
            self.at += 1
            found.append(self.selector())
        return tuple(found)

    def selector(self) -> Comparison:
        path = [self.part()]
        while self.peek() == ".":
            self.at += 1
            path.append(self.part())
        if self.peek() in (",", _END):
            return Comparison(tuple(path))
        operator = self.operator()
        return Comparison(tuple(path), operator, self.value(any_quote=operator is Operator.MATCHES))

    def part(self) -> str:
        start, first = self.next_word()
        if first in _QUOTE:
            return self.quoted(any_quote=False)
        return self.run(_NAME) or refuse(self.text, start, "expected field or quoted")

    def operator(self) -> Operator:
        start, first = self.next_word()
        if first in _QUOTE:
            _end_of_quoted(self.text, start)  # a broken quote is reported before a misplaced one
        written = self.run(_OPERATOR)
        if not written:
            refuse(self.text, start, 'expected an operator ("=="|"!="|"~=")')
        try:
            return Operator(written)
        except ValueError:
            refuse(self.text, start, f'unsupported operator "{written}"')

    def value(self, *, any_quote: bool) -> str:
        start, first = self.next_word()
        if first in _QUOTE:
            return self.quoted(any_quote=any_quote)
        if first == _END or first in _OPERATOR or first in ",.":
            refuse(self.text, start, "expected value or quoted")
        self.at += 1  # the first character may be anything else, even one that cannot follow
        while self.peek() != _END and _may_follow_in_value(self.peek()):
            self.at += 1
        return self.text[start : self.at]

    def quoted(self, *, any_quote: bool) -> str:
        start = self.at
        self.at = _end_of_quoted(self.text, start)
        if not any_quote and self.text[start] != '"':
            refuse(self.text, start, "invalid quote encountered")
        return _unquoted(self.text, start, self.at)

    def run(self, members: frozenset[str]) -> str:
        start = self.at
        while self.peek() in members:
            self.at += 1
        return self.text[start : self.at]

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else _END

    def next_word(self) -> tuple[int, str]:
        """Return where the next word starts, and its first character."""
        self.run(_SPACE)
        if why := illegal(self.peek()):
            refuse(self.text, self.at, why)
        return self.at, self.peek()


def illegal(character: str) -> str:
    """Return why a character is illegal everywhere in a filter; empty for a legal one."""
    if character == "\0":
        return "unexpected null"
    return "rune error" if character == _REPLACEMENT or "\ud800" <= character <= "\udfff" else ""


def _may_follow_in_value(character: str) -> bool:
    """Whether it is a letter, mark, number, punctuation or symbol of any script; no comma, white space or control."""
    return character != "," and unicodedata.category(character)[0] in "LMNPS" and not illegal(character)


def _end_of_quoted(text: str, start: int) -> int:
    """Return the place after the closing quote of the quoted word at ``start``; check its escapes."""
    quote, at, why = text[start], start + 1, ""
    while (character := text[at : at + 1]) != quote:
        if character in ("", "\n") or illegal(character):
            refuse(text, start, why or illegal(character) or "quoted literal not terminated")
        at += 1
        if character == "\\":
            at, complaint = _past_escape(text, at, quote)
            why = why or complaint
    if why:
        refuse(text, start, why)
    return at + 1


def _past_escape(text: str, position: int, quote: str) -> tuple[int, str]:
    """Return the end of an escape whose letter is at ``position``, and its error text."""
    letter = text[position : position + 1]
    if letter and (letter in _LETTER_ESCAPES or letter == quote):
        return position + 1, ""
    if letter and letter in _OCTAL:
        digits, members, wanted = position, _OCTAL, 3
    elif letter in _HEX_ESCAPES:
        digits, members, wanted = position + 1, _HEX, _HEX_ESCAPES[letter]
    else:
        return position, illegal(letter) or "illegal escape sequence"
    for index in range(digits, digits + wanted):
        if text[index : index + 1] not in members:
            return index, illegal(text[index : index + 1]) or "illegal numeric escape sequence"
    return digits + wanted, ""


def _unquoted(text: str, start: int, end: int) -> str:
    """Return a well-formed quoted word's value; ``\\x`` and octal escapes are bytes, ``\\u`` and ``\\U`` characters."""
    value = bytearray()
    at = start + 1
    while at < end - 1:
        if text[at] != "\\":
            value += text[at].encode()
            at += 1
            continue
        letter = text[at + 1]
        if letter in _HEX_ESCAPES:
            digits = text[at + 2 : at + 2 + _HEX_ESCAPES[letter]]
            value += _numbered(int(digits, 16), as_byte=letter == "x") or refuse(text, start, _UNQUOTING)
            at += 2 + len(digits)
        elif letter in _OCTAL:
            value += _numbered(int(text[at + 1 : at + 4], 8), as_byte=True) or refuse(text, start, _UNQUOTING)
            at += 4
        else:
            value += _LETTER_ESCAPES.get(letter, letter).encode()
            at += 2
    return value.decode(errors="surrogateescape")


_UNQUOTING = "unquoting failed: quote syntax error"


def _numbered(number: int, *, as_byte: bool) -> bytes:
    """Return the bytes of a numeric escape; empty when there is no such byte or character."""
    if as_byte:
        return bytes((number,)) if number < 256 else b""
    if 0xD800 <= number <= 0xDFFF:  # half a surrogate pair is no character: Go writes the replacement
        return _REPLACEMENT.encode()
    return chr(number).encode() if number <= 0x10FFFF else b""
