"""Decoding of nodes into a frozen struct. An error is one line: which value in which file is wrong, and what is
expected.

msgspec checks types and bounds; its messages are translated back into the file's terms.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import inspect as mi

from holdfast.config.describe import alternatives, bare, expected, fields_of, info_of, step_into, takes_none, values_of
from holdfast.config.document import Node, Path, key_words
from holdfast.config.finding import Finding
from holdfast.config.quantity import PARSERS
from holdfast.errors import ConfigError

T = TypeVar("T")

_MESSAGE = re.compile(r"(?s)(.*) - at `(?:key` in `)?\$(.*)`")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[(\.\.\.)\]")
_LONGEST = 60  # characters of a value that a message repeats


def decode(node: Node, type_: type[T], above: Path = (), warnings: list[Finding] | None = None) -> T:
    """Return ``node`` as a ``type_``; ``above`` is the path of ``node`` itself, for messages.

    Unknown keys of a lenient source and keys by an old name go to ``warnings``; a null that the type does not allow
    means the default.

    Raises:
        ConfigError: ``config.yaml:12: grpc.uid: expected an integer …, got "x"; did you mean …``.
    """
    warnings = warnings if warnings is not None else []
    if node.value != {}:
        node = _renamed(node, info_of(type_), above, warnings)
    walk = _Walk(above, warnings)
    data = walk.prepared(node, info_of(type_), ()) if node.value != {} else {}  # nothing is set: no type is inspected
    try:
        return msgspec.convert(data, type_)
    except msgspec.ValidationError as error:
        raise ConfigError(_explained(str(error), node, data, type_, above)) from None
    except (OverflowError, RecursionError) as error:
        raise ConfigError(f"{node.where}: {key_words(above) or 'the file'}: {error}") from None


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` for the nearest of ``known``, empty if none is near."""
    from difflib import get_close_matches

    choices = list(known)
    found = get_close_matches(word, choices, 1) or [one for one in choices if one.lower() == word.lower()]
    return f'; did you mean "{found[0]}"?' if found else ""


def shown(value: Any) -> str:
    """A value as a message shows it."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _renamed(node: Node, info: mi.Type, above: Path, warnings: list[Finding]) -> Node:
    """Return ``node`` with the present name of each key written by its old one (``Meta.extra["was"]``)."""
    struct = bare(info)[0]
    if not isinstance(struct, mi.StructType) or not isinstance(node.value, dict):
        return node
    known = fields_of(struct)
    if not (unknown := node.value.keys() - known):
        return node
    entries = node.value
    for name, field in known.items():
        old = bare(field.type)[1].get("was")
        if old not in unknown:
            continue
        if name in entries:
            here = f"{entries[name].where}: {key_words((*above, name))}"
            raise ConfigError(f"{here}: {entries[old].where} has {old}, the old name of the same key; remove that line")
        words = f"{key_words((*above, old))}: deprecated; the key is called {name} now"
        warnings.append(Finding(entries[old].where, words))
        entries = {name if key == old else key: inner for key, inner in entries.items()}
    return node.with_value(entries)


class _Walk:
    """Conversion of nodes into plain data for msgspec: quantities parsed, unknown keys reported, nulls left out."""

    def __init__(self, above: Path, warnings: list[Finding]) -> None:
        self._above = above
        self._warnings = warnings

    def prepared(self, node: Node, info: mi.Type, path: Path) -> Any:
        members = alternatives(info)
        if isinstance(node.value, dict):
            return self._mapping(node.value, members, path)
        if isinstance(node.value, list):
            return self._list(node.value, members, path)
        return self._scalar(node, members, path)

    def _mapping(self, entries: dict[str, Node], members: list[mi.Type], path: Path) -> Any:
        kinds = [bare(member)[0] for member in members]
        structs = [kind for kind in kinds if isinstance(kind, mi.StructType)]
        struct = structs[0] if len(structs) == 1 else _tagged(structs, entries)
        if struct is not None:
            return self._struct(struct, entries, path)
        of = next((kind.value_type for kind in kinds if isinstance(kind, mi.DictType)), mi.AnyType())
        return {
            key: self.prepared(one, of, (*path, key))
            for key, one in entries.items()
            if one.value is not None or takes_none(of)
        }

    def _struct(self, struct: mi.StructType, entries: dict[str, Node], path: Path) -> dict[str, Any]:
        known = fields_of(struct)
        data: dict[str, Any] = {}
        for key, node in entries.items():
            if key == struct.tag_field:
                data[key] = node.plain()
            elif key not in known:
                if struct.forbid_unknown_fields:
                    self._unknown(key, node, [*known, *([struct.tag_field] if struct.tag_field else [])], path)
            elif node.value is not None or takes_none(known[key].type):
                data[key] = self.prepared(node, known[key].type, (*path, key))
        return data

    def _unknown(self, key: str, node: Node, known: list[str], path: Path) -> None:
        near = suggestion(key, known)
        words = f"{key_words((*self._above, *path, key))}: unknown key"
        if node.source.lenient:
            self._warnings.append(Finding(node.where, f"{words}, ignored{near}"))
            return
        raise ConfigError(f"{node.where}: {words}" + (near or f"; known here: {', '.join(known)}"))

    def _list(self, items: list[Node], members: list[mi.Type], path: Path) -> Any:
        kinds = [bare(member)[0] for member in members]
        of = next((kind.item_type for kind in kinds if isinstance(kind, mi.CollectionType)), mi.AnyType())
        return [self.prepared(one, of, (*path, index)) for index, one in enumerate(items)]

    def _scalar(self, node: Node, members: list[mi.Type], path: Path) -> Any:
        quantity = next((extra["quantity"] for _, extra, _ in map(bare, members) if "quantity" in extra), None)
        if quantity is None or node.value is None:
            return node.value
        if isinstance(node.value, str) and not any(isinstance(bare(member)[0], mi.StrType) for member in members):
            try:
                return PARSERS[quantity](node.value)
            except ValueError as error:
                words = f"expected {_union_words(members)}"
                words = f"{error}; {words}" if quantity == "duration" else f"{words}, got {shown(node.value)}"
                raise ConfigError(f"{self._head(node, path)}: {words}") from None
        if quantity == "duration" and _is_number(node.value) and node.value != 0 and len(members) == 1:
            words = f'expected {_union_words(members)}, got {shown(node.value)}; did you mean "{node.value}s"?'
            raise ConfigError(f"{self._head(node, path)}: {words}")
        return node.value

    def _head(self, node: Node, path: Path) -> str:
        return f"{node.where}: {key_words((*self._above, *path))}"


def _union_words(members: list[mi.Type]) -> str:
    return " or ".join(dict.fromkeys(map(expected, members)))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _tagged(structs: list[mi.StructType], entries: dict[str, Node]) -> mi.StructType | None:
    for struct in structs:
        tag = entries.get(struct.tag_field or "")
        if tag is not None and tag.value == struct.tag:
            return struct
    return None


def _explained(message: str, node: Node, data: Any, type_: type[Any], above: Path) -> str:
    match = _MESSAGE.fullmatch(message)
    words, steps = (match[1], match[2]) if match else (message, "")
    path = _resolved(steps, data, type_, message)
    place, info = node.nearest(path), _info_at(type_, path)
    head = f"{place.where}: {key_words((*above, *path)) or 'the file'}"
    missing = re.fullmatch(r"Object missing required field `(.+)`", words)
    if missing:
        field = step_into(info, missing[1]) if info is not None else None
        return f'{head}: "{missing[1]}" is missing' + (f"; expected {expected(field)}" if field is not None else "")
    if not words.startswith(("Expected", "Invalid enum value", "Invalid value")) or info is None:
        return f"{head}: {' '.join(words.replace('`', '').split())}"  # a config type's own __post_init__
    got = place.value
    return f"{head}: expected {expected(info)}, got {shown(got)}{_nearest_value(got, info)}"


def _nearest_value(got: Any, info: mi.Type) -> str:
    for inner, _, _ in map(bare, alternatives(info)):
        if isinstance(inner, mi.BoolType) and isinstance(got, str):
            said = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
            return f"; did you mean {said[got.lower()]}?" if got.lower() in said else ""
        if isinstance(inner, (mi.IntType, mi.FloatType)) and isinstance(got, str) and re.fullmatch(r"-?\d{1,18}", got):
            return f"; did you mean {got}, without quotes?"
        if isinstance(inner, mi.StrType) and _is_number(got):
            return f'; did you mean "{got}", in quotes?'
        if isinstance(inner, (mi.LiteralType, mi.EnumType)) and isinstance(got, str):
            return suggestion(got, [value for value in values_of(inner) if isinstance(value, str)])
    return ""


def _info_at(type_: type[Any], path: Path) -> mi.Type | None:
    info: mi.Type | None = info_of(type_)
    for step in path:
        if info is None:
            return None
        info = step_into(info, step)
    return info


def _resolved(steps: str, data: Any, type_: type[Any], message: str) -> Path:
    """Msgspec's ``.timeouts[...]`` as a path. The entry behind ``...`` is found by decoding with each one alone."""
    path: Path = ()
    for name, index, entry in _STEP.findall(steps):
        if not entry:
            path = (*path, name or int(index))
            continue
        candidates = _at(data, path)
        guilty = [key for key in candidates if _fails(_only(data, path, key), type_, message)]
        if not guilty:
            return path
        path = (*path, guilty[0])
    return path


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data if isinstance(data, dict) else {}


def _only(data: Any, path: Path, key: str) -> Any:
    """``data`` with nothing but ``key`` in the mapping at ``path``."""
    if not path:
        return {key: data[key]}
    copy: Any = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = _only(data[path[0]], path[1:], key)
    return copy


def _fails(data: Any, type_: type[Any], message: str) -> bool:
    try:
        msgspec.convert(data, type_)
    except msgspec.ValidationError as error:
        return str(error) == message
    return False
