"""Words for the values of a type: for messages, for the printed default configuration and for the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct
from msgspec import inspect as mi

from holdfast.config.document import Path
from holdfast.config.quantity import FORMATTERS, WORDS

HIDDEN = "<hidden>"  # in place of a secret

_CACHE: dict[Any, mi.Type] = {}


def info_of(type_: Any) -> mi.Type:
    """Msgspec's description of a type."""
    if type_ not in _CACHE:
        _CACHE[type_] = mi.type_info(type_)
    return _CACHE[type_]


def bare(info: mi.Type) -> tuple[mi.Type, dict[str, Any], dict[str, Any]]:
    """A type without its metadata, our metadata (``Meta.extra``), and JSON Schema's (description, examples)."""
    if isinstance(info, mi.Metadata):
        return info.type, info.extra or {}, info.extra_json_schema or {}
    return info, {}, {}


def alternatives(info: mi.Type) -> list[mi.Type]:
    """The members of a union without None; a type that is no union is its only member."""
    inner, _, _ = bare(info)
    members = inner.types if isinstance(inner, mi.UnionType) else (info,)
    return [member for member in members if not isinstance(bare(member)[0], mi.NoneType)]


def takes_none(info: mi.Type) -> bool:
    """Whether null is a value of this type."""
    inner, _, _ = bare(info)
    if isinstance(inner, mi.UnionType):
        return any(takes_none(member) for member in inner.types)
    return isinstance(inner, (mi.NoneType, mi.AnyType))


def step_into(info: mi.Type, step: str | int) -> mi.Type | None:
    """The type of an element: a struct's field, a mapping's value, a list's item; None where nothing fits."""
    for member in alternatives(info):
        inner, _, _ = bare(member)
        if isinstance(inner, mi.StructType) and isinstance(step, str):
            found = fields_of(inner).get(step)
            if found is not None:
                return found.type
        elif isinstance(inner, mi.DictType) and isinstance(step, str):
            return inner.value_type
        elif isinstance(inner, mi.CollectionType) and isinstance(step, int):
            return inner.item_type
    return None


def fields_of(struct: mi.StructType) -> dict[str, mi.Field]:
    """A struct's fields by the name they have in a file."""
    return {one.encode_name: one for one in struct.fields}


def expected(info: mi.Type) -> str:
    """``an integer between 0 and 100``, ``"text" or "json"``, ``a list of strings``."""
    members = [_expected(member) for member in alternatives(info)]
    return " or ".join(dict.fromkeys(members)) or "nothing"


_SIMPLE: tuple[tuple[type[mi.Type], str], ...] = (
    (mi.BoolType, "true or false"),
    (mi.StrType, "a string"),
    (mi.StructType, "a mapping"),
    (mi.DictType, "a mapping"),
    (mi.DateTimeType, "a time"),
)


def _expected(info: mi.Type) -> str:
    inner, extra, _ = bare(info)
    if "expected" in extra and not isinstance(inner, mi.CollectionType):
        return str(extra["expected"])
    if isinstance(inner, (mi.IntType, mi.FloatType)):
        return _number(inner, extra)
    if isinstance(inner, (mi.LiteralType, mi.EnumType)):
        return _choices(values_of(inner))
    if isinstance(inner, mi.StrType) and inner.min_length:
        return "a string that is not empty"
    if isinstance(inner, mi.CollectionType):
        return _list(inner, extra)
    return next((words for kind, words in _SIMPLE if isinstance(inner, kind)), "another value")


def values_of(inner: mi.LiteralType | mi.EnumType) -> list[Any]:
    """The values a choice has in a file."""
    return list(inner.values) if isinstance(inner, mi.LiteralType) else [member.value for member in inner.cls]


def _choices(values: Any) -> str:
    words = [f'"{value}"' if isinstance(value, str) else str(value) for value in sorted(values, key=str)]
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _list(inner: mi.CollectionType, extra: dict[str, Any]) -> str:
    item = bare(inner.item_type)[0]
    words = extra.get("expected") or ("strings" if isinstance(item, mi.StrType) else "")
    if isinstance(item, (mi.StructType, mi.DictType)):
        words = "mappings"
    return "a list" + (f" of {words}" if words else "") + (", not empty" if inner.min_length else "")


def _number(inner: mi.IntType | mi.FloatType, extra: dict[str, Any]) -> str:
    quantity = extra.get("quantity")
    words = WORDS[quantity] if quantity else "an integer" if isinstance(inner, mi.IntType) else "a number"
    low, high = _bounds(inner)
    if low == high is not None:
        return number_words(low, extra)
    bounds = range_words(info_range=(low, high), extra=extra)
    return f"{words} {bounds}" if bounds and not (quantity and low == 0 and high is None) else words


def _bounds(inner: mi.IntType | mi.FloatType) -> tuple[float | None, float | None]:
    low = inner.ge if inner.ge is not None else inner.gt
    high = inner.le if inner.le is not None else inner.lt
    return low, high


def range_words(info_range: tuple[float | None, float | None], extra: dict[str, Any]) -> str:
    """``between 0 and 100``, ``of at least 1s``; empty without bounds."""
    low, high = info_range
    if low is not None and high is not None:
        return f"between {number_words(low, extra)} and {number_words(high, extra)}"
    if low is not None:
        return f"of at least {number_words(low, extra)}"
    return f"of at most {number_words(high, extra)}" if high is not None else ""


def number_words(number: float | None, extra: dict[str, Any]) -> str:
    """A number in the unit its key is written in."""
    if number is None:
        return ""
    formatter = FORMATTERS.get(extra.get("quantity", ""))
    return str(formatter(number)) if formatter and extra.get("quantity") == "duration" else f"{number:.15g}"


class Key(Struct, frozen=True):
    """One row of the documentation. ``path`` has ``*`` for an entry's name and ``[]`` for a list's items."""

    path: Path
    info: mi.Type
    default: Any  # a plain value as in a file; `REQUIRED` for none
    description: str
    examples: list[Any]
    unit: str  # "duration", "bytes" or nothing
    range: str
    section: bool  # a struct whose own keys follow


REQUIRED = object()


def keys_of(struct: type[msgspec.Struct], prefix: Path = ()) -> Iterator[Key]:
    """Every key of a struct in order, each section's before its own keys."""
    info = info_of(struct)
    assert isinstance(info, mi.StructType)
    for one in info.fields:
        path = (*prefix, one.encode_name)
        inner, extra, schema = bare(one.type)
        nested = _struct_in(one.type)
        yield Key(
            path,
            one.type,
            _default(one),
            schema.get("description", ""),
            schema.get("examples", []),
            next((own["quantity"] for _, own, _ in map(bare, alternatives(one.type)) if "quantity" in own), ""),
            extra.get("range") or _range(one.type),
            isinstance(inner, mi.StructType),
        )
        if nested is not None:
            yield from keys_of(nested.cls, (*path, *_steps(inner)))


def _range(info: mi.Type) -> str:
    for member in alternatives(info):
        inner, extra, _ = bare(member)
        if isinstance(inner, (mi.IntType, mi.FloatType)):
            low, high = _bounds(inner)
            if extra.get("quantity") == "duration" and low == 0 and high is None:
                return ""  # no duration is below 0
            words = number_words(low, extra) if low == high else range_words((low, high), extra)
            return words.removeprefix("between ").replace(" and ", " to ").removeprefix("of ")
        if isinstance(inner, (mi.LiteralType, mi.EnumType)):
            return _expected(member).replace('"', "").replace(" or ", ", ")
    return ""


def _struct_in(info: mi.Type) -> mi.StructType | None:
    """The struct a field holds, lists or maps to; None for a scalar, or a choice of several structs."""
    found = []
    for member in alternatives(info):
        inner, _, _ = bare(member)
        if isinstance(inner, mi.CollectionType):
            inner, _, _ = bare(inner.item_type)
        elif isinstance(inner, mi.DictType):
            inner, _, _ = bare(inner.value_type)
        if isinstance(inner, mi.StructType):
            found.append(inner)
    return found[0] if len(found) == 1 else None


def _steps(inner: mi.Type) -> Path:
    if isinstance(inner, mi.CollectionType):
        return ("[]",)
    return ("*",) if isinstance(inner, mi.DictType) else ()


def _default(field: mi.Field) -> Any:
    if field.required:
        return REQUIRED
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return as_written(value, field.type)


def as_written(value: Any, info: mi.Type) -> Any:
    """A decoded value as plain data a file would hold: durations and sizes as text, structs as mappings."""
    members = alternatives(info)
    inner, extra, _ = bare(members[0]) if len(members) == 1 else (info, {}, {})
    if isinstance(value, msgspec.Struct):
        own = info_of(type(value))
        assert isinstance(own, mi.StructType)
        tag = {own.tag_field: own.tag} if own.tag_field else {}
        return tag | {one.encode_name: as_written(getattr(value, one.name), one.type) for one in own.fields}
    if isinstance(value, dict):
        of = inner.value_type if isinstance(inner, mi.DictType) else mi.AnyType()
        return {str(key): as_written(one, of) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        of = inner.item_type if isinstance(inner, mi.CollectionType) else mi.AnyType()
        return [as_written(one, of) for one in value]
    if extra.get("quantity") and isinstance(value, (int, float)) and not isinstance(value, bool):
        return FORMATTERS[extra["quantity"]](value)
    return msgspec.to_builtins(value)


def hidden(data: Any, info: mi.Type | None) -> Any:
    """Plain data of a type without its secrets: values with ``extra={"secret": True}`` in their Meta become
    `HIDDEN`.
    """
    if info is None:
        return data
    if data not in (None, "") and any(bare(member)[1].get("secret") for member in (info, *alternatives(info))):
        return HIDDEN
    if isinstance(data, dict):
        return {key: hidden(one, step_into(info, key)) for key, one in data.items()}
    if isinstance(data, list):
        return [hidden(one, step_into(info, at)) for at, one in enumerate(data)]
    return data
