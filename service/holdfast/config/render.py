"""Configurations as YAML text: a commented one of defaults, and the effective one. No dependency, no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from math import isnan
from typing import Any

import msgspec
from msgspec import inspect as mi

from holdfast.config.describe import REQUIRED, Key, as_written, bare, hidden, keys_of
from holdfast.config.migrate import meanings
from holdfast.config.schema import TIMEOUT_PREFIX, TIMEOUTS, Settings

# Unquoted for readers of YAML 1.1 and 1.2 alike: begins with a letter or a slash, and is no word with a meaning.
_PLAIN = re.compile(r"[A-Za-z/_][A-Za-z0-9_./@+-]*")
_QUANTITY = re.compile(r"[0-9][0-9.]*(ns|us|ms|s|m|h|Ki|Mi|Gi|Ti|Pi|Ei)([0-9.]+(ns|us|ms|s|m|h))*")
_MEANINGS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"}
_WIDTH = 100
_URI_PARTS = 4


def effective(settings: Settings, sections: Mapping[str, msgspec.Struct], known: Iterable[str]) -> str:
    """Settings as a file that gives the same settings again; the imports are merged into it.

    ``sections`` are the plugins' decoded configurations; a disabled plugin's section stays as it was written. A version
    1 file's short ids become the URIs among ``known`` they stand for.
    """
    data = _whole(settings, sections, known)
    given = as_written(settings.plugins, mi.AnyType())
    data["plugins"] = {uri: one for uri, one in given.items() if len(uri.split(".")) >= _URI_PARTS} | data["plugins"]
    return text(data)


def in_force(settings: Settings, sections: Mapping[str, msgspec.Struct], known: Iterable[str]) -> dict[str, Any]:
    """Settings as plain data to show: as `effective`, without sections that no plugin reads, secrets as `HIDDEN`."""
    data = hidden(_whole(settings, {}, known), mi.type_info(Settings))
    data["plugins"] = {
        uri: hidden(as_written(one, (info := mi.type_info(type(one)))), info) for uri, one in sections.items()
    }
    return dict(data)


def text(data: dict[str, Any]) -> str:
    """Plain data as YAML."""
    return "\n".join(_mapping(data, 0)) + "\n"


def _whole(settings: Settings, sections: Mapping[str, msgspec.Struct], known: Iterable[str]) -> dict[str, Any]:
    data: dict[str, Any] = as_written(settings, mi.type_info(Settings))
    data["imports"] = []
    for key in ("required_plugins", "disabled_plugins"):
        data[key] = [uri for name in data[key] for uri in _uris(name, known)]
    data["plugins"] = {uri: as_written(section, mi.type_info(type(section))) for uri, section in sections.items()}
    return data


def commented_defaults(settings: Settings, known: Mapping[str, type[msgspec.Struct] | None]) -> str:
    """Every key with its meaning, unit, range and default, plugins' included, as a file that can be used as it is."""
    lines = ["# The configuration of holdfast, with every key at its default.", ""]
    data = as_written(settings, mi.type_info(Settings))
    for key in keys_of(Settings):
        if len(key.path) == 1:
            lines += [*_commented_key(key, data[str(key.path[0])]), ""]
    sections = [(uri, type_) for uri, type_ in known.items() if type_ is not None]
    if sections:
        lines[-2:] = ["plugins:"]
    for uri, type_ in sections:
        lines += [f"  {scalar(uri)}:", *_struct(type_, _defaults_of(type_), 4)]
    return "\n".join(lines).rstrip() + "\n"


def migrated_text(tree: Any, notes: Iterable[str], origin: str) -> str:
    """Text of a migrated file: its origin, notes on what was not taken over, and the content."""
    lines = [f"# From {one_line(origin)}"]
    lines += [f"#   {one_line(note)}" for note in notes]
    return "\n".join([*lines, "version: 2", *_mapping(tree, 0)]) + "\n"


def scalar(value: Any) -> str:
    """One scalar, quoted if it could be read as something else."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, int):
        return str(value)
    if (_PLAIN.fullmatch(value) and value.lower() not in _MEANINGS) or _QUANTITY.fullmatch(value):
        return str(value)
    return '"' + "".join(map(_escaped, value)) + '"'


def _uris(name: str, known: Iterable[str]) -> list[str]:
    return [name] if len(name.split(".")) >= _URI_PARTS else meanings(name, known)


def one_line(text: str) -> str:
    """``text`` without the characters that could end a comment."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _float(value: float) -> str:
    if isnan(value):
        return ".nan"
    if value in (float("inf"), float("-inf")):
        return ".inf" if value > 0 else "-.inf"
    return repr(value)


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable() and character != "\ufeff":
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _mapping(data: dict[str, Any], indent: int) -> Iterator[str]:
    for key, value in data.items():
        yield from _entry(f"{' ' * indent}{scalar(key)}:", value, indent)


def _entry(head: str, value: Any, indent: int) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield head
        yield from _mapping(value, indent + 2)
    elif isinstance(value, list) and any(isinstance(one, (dict, list)) and one for one in value):
        yield head
        for one in value:
            yield from _item(one, indent + 2)
    else:
        yield f"{head} {_flow(value)}"


def _item(value: Any, indent: int) -> Iterator[str]:
    if not isinstance(value, dict) or not value:
        yield f"{' ' * indent}- {_flow(value)}"
        return
    lines = list(_mapping(value, indent + 2))
    yield f"{' ' * indent}- {lines[0].lstrip(' ')}"
    yield from lines[1:]


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(value)


def _commented_key(key: Key, value: Any, indent: int = 0) -> list[str]:
    name = key.path[-1]
    lines = _comment(key, indent)
    inner = bare(key.info)[0]
    if name == "timeouts":
        lines.append(f"{' ' * indent}timeouts:")
        for timeout, (_, meaning) in TIMEOUTS.items():
            full = TIMEOUT_PREFIX + timeout
            lines += [f"{' ' * indent}  # {meaning}", f"{' ' * indent}  {full}: {scalar(value[full])}"]
    elif isinstance(inner, mi.StructType):
        lines += [f"{' ' * indent}{name}:", *_struct(inner.cls, value, indent + 2)]
    elif value is REQUIRED:
        lines.append(f"{' ' * indent}# {name}:")
    else:
        lines += _entry(f"{' ' * indent}{name}:", value, indent)
    return lines


def _struct(struct: type[msgspec.Struct], value: dict[str, Any], indent: int) -> list[str]:
    lines: list[str] = []
    for key in keys_of(struct):
        if len(key.path) == 1:
            lines += _commented_key(key, value[str(key.path[0])], indent)
    return lines or [f"{' ' * indent}{{}}"]


def _defaults_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {str(key.path[0]): key.default for key in keys_of(struct) if len(key.path) == 1}


def _comment(key: Key, indent: int) -> list[str]:
    limits = ", ".join(filter(None, (key.unit, key.range)))
    words = key.description + (f" ({limits})" if limits else "")
    lines = list(_wrapped(words, indent)) if words else []
    for example in key.examples:
        lines.append(f"{' ' * indent}# e.g. {key.path[-1]}: {_flow(example)}")
    return lines


def _wrapped(words: str, indent: int) -> Iterator[str]:
    from textwrap import wrap

    head = f"{' ' * indent}# "
    yield from (head + line for line in wrap(" ".join(words.split()), _WIDTH - len(head)))
