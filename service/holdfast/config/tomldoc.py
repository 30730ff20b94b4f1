"""Parser of TOML text into nodes with lines. The standard library decodes it; `_Lines` walks the text again for the
lines.

tomllib checks a text and decodes it, but keeps no places. A text it accepted needs no checking, so the second walk is
short: headers, keys, and the ends of values (https://toml.io/en/v1.0.0).
"""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime, time
from typing import Any

from holdfast.config.document import MAX_DEPTH, MAX_VALUES, Node, Path, Source
from holdfast.errors import ConfigError

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY_PART = re.compile(r"""[ \t]*(?:"((?:\\.|[^"\\])*)"|'([^']*)'|([A-Za-z0-9_-]+))[ \t]*""")
_STRING = re.compile(r'''"""(?:\\.|[^\\])*?"{3,5}|\'\'\'[\s\S]*?'{3,5}|"(?:\\.|[^"\\])*"|'[^']*\'''', re.DOTALL)
_BARE = re.compile(r"[^,\]}#\n]*")
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def read_toml(text: str, source: Source) -> Node:
    """Return the document as nodes.

    Raises:
        ConfigError: one line with file, line and what is wrong.
    """
    if text.count("[") > MAX_VALUES or text.count("=") > MAX_VALUES:
        raise ConfigError(f"failed to load TOML: {source.path}: more than {MAX_VALUES} values")
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"failed to load TOML: {source.path}: nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # TOMLDecodeError, and Python's own refusal of numbers of thousands of digits
        raise ConfigError(_toml_words(str(error), source, text)) from None
    lines = _Lines(text.replace("\r\n", "\n")).walk()
    return _node(data, (), lines, source, 1)


def _toml_words(words: str, source: Source, text: str) -> str:
    match = _PLACE.search(words)
    if match is None:
        return f"failed to load TOML: {source.path}: {words.partition(':')[0]}"
    line = int(match[1]) if match[1] else text.count("\n") + (not text.endswith("\n"))
    column = f" (column {match[2]})" if match[2] else ""
    return f"failed to load TOML: {source.path}:{line}: {words[: match.start()]}{column}"


def _node(value: Any, path: Path, lines: dict[Path, int], source: Source, line: int) -> Node:
    line = lines.get(path, line)
    if len(path) > MAX_DEPTH:
        raise ConfigError(f"{source.path}:{line}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        _refuse_nul("".join(value), source, line)
        return Node({key: _node(one, (*path, key), lines, source, line) for key, one in value.items()}, source, line)
    if isinstance(value, list):
        return Node([_node(one, (*path, i), lines, source, line) for i, one in enumerate(value)], source, line)
    if isinstance(value, (datetime, date, time)):
        return Node(value.isoformat(), source, line)
    if isinstance(value, str):
        _refuse_nul(value, source, line)
    return Node(value, source, line)


def _refuse_nul(text: str, source: Source, line: int) -> None:
    if "\0" in text:
        raise ConfigError(f"{source.path}:{line}: a NUL character")


class _Lines:
    """Second walk along accepted text; ``lines`` has the line of every key, table and list element."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line, self._counted = 1, 0  # the line of offset `_counted`
        self._elements: dict[Path, int] = {}  # how many [[tables]] an array has so far
        self.lines: dict[Path, int] = {}

    def walk(self) -> dict[Path, int]:
        """Walk the text; return the lines by path."""
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header(2)
                self._elements[table] = self._elements.get(table, -1) + 1
                self.lines.setdefault(table, self._now())
                table = (*table, self._elements[table])
                self.lines[table] = self._now()
            elif self._text[self._at] == "[":
                table = self._header(1)
                self.lines[table] = self._now()
            else:
                self._pair(table)
            self._skip(_BLANK)
        return self.lines

    def _header(self, brackets: int) -> Path:
        """``[a.b]`` as a path; below an array of tables it means the array's latest element."""
        self._at += brackets
        path: Path = ()
        keys = self._keys()
        for position, key in enumerate(keys):
            path = (*path, key)
            self.lines.setdefault(path, self._now())  # [a.b] is often all there is of a
            if position < len(keys) - 1 or brackets == 1:
                path = (*path, self._elements[path]) if path in self._elements else path
        self._at += brackets
        return path

    def _keys(self) -> list[str]:
        keys = []
        while True:
            match = _KEY_PART.match(self._text, self._at)
            assert match is not None  # tomllib accepted it
            self._at = match.end()
            quoted, literal, bare = match.groups()
            keys.append(_unquoted(quoted) if quoted is not None else literal if literal is not None else bare)
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _pair(self, table: Path) -> None:
        line = self._now()
        path = table
        for key in self._keys():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._at += 1  # =
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: Path) -> None:
        opening = self._text[self._at]
        if opening in "\"'":
            self._skip(_STRING)
        elif opening == "[":
            self._items(path, "]", numbered=True)
        elif opening == "{":
            self._items(path, "}", numbered=False)
        else:
            self._skip(_BARE)

    def _items(self, path: Path, closing: str, *, numbered: bool) -> None:
        self._at += 1
        index = 0
        self._skip(_BLANK)
        while self._text[self._at] != closing:
            if numbered:
                self.lines[(*path, index)] = self._now()
                self._value((*path, index))
            else:
                self._pair(path)
            index += 1
            self._skip(_BLANK)
            if self._text[self._at] == ",":
                self._at += 1
                self._skip(_BLANK)
        self._at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _now(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line


def _unquoted(body: str) -> str:
    if "\\" not in body:
        return body
    return next(iter(tomllib.loads(f'"{body}" = 0')))
