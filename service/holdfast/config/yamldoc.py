"""Parser of YAML text into nodes with lines. It uses libyaml's events, so that nesting and aliases are under our own
limits: ``yaml.compose`` overflows the C stack with 30,000 opening brackets, which ends the process, and its nodes have
no line of an alias.

Plain scalars follow YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema): only ``true`` and ``false``
are booleans, ``0750`` is a decimal number, and ``on`` and ``12:30`` are text. Refused: a key given twice, a second
document, custom tags, more than 100 000 values once aliases are followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from holdfast.config.document import MAX_DEPTH, MAX_VALUES, Node, Scalar, Source
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    import yaml

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAG = "tag:yaml.org,2002:"
_MERGE_KEY = "<<"
_MAX_DIGITS = 400  # a longer number is text, and will be refused as such


def read_yaml(text: str, source: Source) -> Node | None:
    """Return the document as nodes; None when it has no value at all (only comments).

    Raises:
        ConfigError: one line with file, line and what is wrong.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(source)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(_yaml_words(error, source)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        number = error.character if isinstance(error.character, int) else ord(error.character)  # libyaml: a number
        words = f"character U+{number:04X} is not allowed"
        raise ConfigError(f"{source.path}:{line}: not YAML: {words}") from None
    except RecursionError:  # the pure Python scanner only
        raise ConfigError(f"{source.path}: nested deeper than {MAX_DEPTH} levels") from None
    return builder.document


def plain_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _MAX_DIGITS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[1:2] in ("o", "x") else int(text)
    if _FLOAT.fullmatch(text):
        word = text.lower().lstrip("+-")
        return float(text.replace(".", "", 1)) if word in (".inf", ".nan") else float(text)  # Python's inf, nan
    return text


class _Open(Struct):
    """A collection whose end has not come yet."""

    node: Node
    anchor: str | None
    key: tuple[str, int] | None = None  # the key that waits for its value, and its line
    merges: list[Node] = []  # msgspec copies it
    weight: int = 1


class _Builder:
    """Builder of nodes from parse events; ``document`` is the result."""

    def __init__(self, source: Source) -> None:
        self.document: Node | None = None
        self._source = source
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Handle one event of libyaml, by its name."""
        handler = getattr(self, f"_take_{type(event).__name__}", None)
        if handler is not None:
            handler(event)

    def _take_DocumentStartEvent(self, event: Any) -> None:  # noqa: N802 (libyaml's name)
        self._documents += 1
        if self._documents > 1:
            raise self._error(_line(event), "a second document begins here; one file is one document")

    def _take_ScalarEvent(self, event: Any) -> None:  # noqa: N802
        if "\0" in event.value:
            raise self._error(_line(event), "a NUL character")
        awaits_key = self._awaits_key()
        value = event.value if awaits_key else self._value_of(event)
        if awaits_key and event.value == _MERGE_KEY and event.implicit[0]:
            self._open[-1].key = (_MERGE_KEY, -_line(event))
            return
        self._finish(Node(value, self._source, _line(event)), event.anchor, 1)

    def _take_MappingStartEvent(self, event: Any) -> None:  # noqa: N802
        self._enter({}, event, "map")

    def _take_SequenceStartEvent(self, event: Any) -> None:  # noqa: N802
        self._enter([], event, "seq")

    def _take_MappingEndEvent(self, event: Any) -> None:  # noqa: N802
        done = self._open.pop()
        own = done.node.mapping()
        for merge in done.merges:
            for key, node in merge.mapping().items():
                own.setdefault(key, node)
        self._finish(done.node, done.anchor, done.weight)

    def _take_SequenceEndEvent(self, event: Any) -> None:  # noqa: N802
        done = self._open.pop()
        self._finish(done.node, done.anchor, done.weight)

    def _take_AliasEvent(self, event: Any) -> None:  # noqa: N802
        if self._awaits_key():
            raise self._error(_line(event), "an alias cannot be a key")
        if event.anchor not in self._anchors:
            raise self._error(_line(event), f"alias *{event.anchor[:40]} before its anchor has a value")
        node, weight = self._anchors[event.anchor]
        self._finish(node, None, weight)

    def _enter(self, empty: dict[str, Node] | list[Node], event: Any, kind: str) -> None:
        line = _line(event)
        if self._awaits_key():
            raise self._error(line, "a mapping or list cannot be a key")
        if event.tag not in (None, "!", f"{_TAG}{kind}"):
            raise self._error(line, f"tag {event.tag[:60]} is not supported")
        if len(self._open) >= MAX_DEPTH:
            raise self._error(line, f"nested deeper than {MAX_DEPTH} levels")
        self._open.append(_Open(Node(empty, self._source, line), event.anchor))

    def _value_of(self, event: Any) -> Scalar:
        if event.tag in (None, "!", f"{_TAG}str"):
            plain = event.implicit[0] and event.tag is None
            return plain_scalar(event.value) if plain else str(event.value)
        if event.tag in {f"{_TAG}{kind}" for kind in ("int", "float", "bool", "null")}:
            return plain_scalar(event.value)
        raise self._error(_line(event), f"tag {event.tag[:60]} is not supported")

    def _awaits_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].node.value, dict) and self._open[-1].key is None

    def _finish(self, node: Node, anchor: str | None, weight: int) -> None:
        if not self._open:
            self.document = node
            return
        parent = self._open[-1]
        into = parent.node.value
        if isinstance(into, list):
            into.append(node)
        elif isinstance(into, dict) and parent.key is None:
            if node.value in into:
                raise self._error(
                    node.line, f'key "{node.value}" is given twice, first in line {into[str(node.value)].line}'
                )
            parent.key = (str(node.value), node.line)
        elif isinstance(into, dict) and parent.key is not None:
            self._set(parent, into, node)
        if anchor is not None:
            self._anchors[anchor] = (node, weight)
        parent.weight += weight
        if parent.weight > MAX_VALUES:
            raise self._error(node.line, f"more than {MAX_VALUES} values, aliases included")

    def _set(self, parent: _Open, into: dict[str, Node], node: Node) -> None:
        assert parent.key is not None
        key, line = parent.key
        parent.key = None
        if line < 0:  # a merge key; its own line is negative
            parent.merges.extend(self._merge_sources(node, -line))
        else:
            # The key's line: a value may begin further down, and people look for the key.
            into[key] = Node(node.value, node.source, line)

    def _merge_sources(self, node: Node, line: int) -> Iterator[Node]:
        for one in node.value if isinstance(node.value, list) else [node]:
            if not isinstance(one.value, dict):
                raise self._error(line, "<< takes an alias of a mapping, or a list of them")
            yield one

    def _error(self, line: int, words: str) -> ConfigError:
        return ConfigError(f"{self._source.path}:{line}: {words}")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _yaml_words(error: yaml.MarkedYAMLError, source: Source) -> str:
    """``P:3: not YAML: mapping values are not allowed in this context (column 7)``."""
    mark = error.problem_mark or error.context_mark
    place = f"{source.path}:{mark.line + 1}" if mark is not None else source.path
    column = f" (column {mark.column + 1})" if mark is not None else ""
    words = " ".join(part for part in (error.context, error.problem) if part)
    return f"{place}: not YAML: {' '.join(words.split())}{column}"
