"""Names of any characters made safe for a protobuf string, a terminal, a log, or JSON.

A name from the kernel, from a pod's author or from a peer may hold any character. Four kinds of them do more than show
themselves: control characters drive a terminal and begin rows of their own, marks of direction and of no width make one
name look like another, line separators break lines, and lone surrogates (bytes that are no UTF-8, see
`holdfast.kernel_text`) have no UTF-8 form, so that one of them makes a whole message unprintable.

============== ===================================== ==============================================================
leaves through made by                               a byte ``\\xff``, ESC, U+202E in it
============== ===================================== ==============================================================
the API        `valid`                               ``\\xff`` as four characters; the others as they are
tables, logs   `inert`                               ``\\xff`` ``\\x1b`` ``\\u202e`` as four, four and six characters
JSON           `json_document`                       ``"\\\\xff"`` ``"\\u001b"`` ``"\\u202e"``: JSON's own escapes
============== ===================================== ==============================================================

The same text always becomes the same; a name that itself holds a backslash keeps it, so that ``\\x2d`` in the name of a
systemd unit reads as systemd writes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
# Printable for Python, yet without any width, or blank (Unicode's Default_Ignorable_Code_Point; U+2800).
_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_INVISIBLE_ONE = re.compile(f"[{_INVISIBLE}]")


def valid(text: str) -> str:
    """``text`` for a protobuf string, which must be UTF-8: a byte that is none as ``\\xNN``."""
    return text if text.isascii() else _SURROGATE.sub(_escaped, text)


def valid_in(value: Any) -> Any:
    """``value`` with `valid` applied to all text in it, also inside mappings, lists and tuples (tuples
    become lists).
    """
    if isinstance(value, str):
        return valid(value)
    if isinstance(value, Mapping):
        return {valid_in(key): valid_in(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [valid_in(inner) for inner in value]
    return value


def is_inert(character: str) -> bool:
    """Whether a character shows itself and does nothing else. A blank does; other white space does not."""
    return character.isprintable() and (character.isascii() or not _INVISIBLE_ONE.match(character))


def inert(text: str) -> str:
    """``text`` for people: one line of characters that show themselves, the others as escapes."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if is_inert(one) else _escape(one) for one in text)


def json_document(value: Any, *, indent: int | None = None) -> str:
    """``value`` in JSON that is safe to print: a character that is not `is_inert` is escaped, so the value is the same.

    A value that JSON has no form for is printed as its string.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    if text.isascii() and "\x7f" not in text:  # JSON escapes the controls below a blank itself
        return text
    return "".join(one if one == "\n" or is_inert(one) else _json_escape(one) for one in text)


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # PEP 383: a byte
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _escaped(match: re.Match[str]) -> str:
    return _escape(match[0])


def _json_escape(character: str) -> str:
    if "\ud800" <= character <= "\udfff":  # no JSON of ours holds half a character
        return "\\" + _escape(character)
    return json.dumps(character)[1:-1] if ord(character) != 0x7F else "\\u007f"
