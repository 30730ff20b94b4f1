"""The JSON Schema of a YAML configuration (https://json-schema.org/draft/2020-12), plugins' sections included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import inspect as mi

from holdfast.config.describe import alternatives, as_written, bare, info_of
from holdfast.config.schema import Settings

_DURATION = r"^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$"
_SIZE = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|Ei|k|K|M|G|T|P|E)?B?$"


def json_schema(known: Mapping[str, type[msgspec.Struct] | None] | None = None) -> dict[str, Any]:
    """Return the schema of `Settings`, with the config type of each known plugin under ``plugins``.

    With ``known`` given, a section of any other plugin is an error, as it is for the daemon.
    """
    types = {uri: type_ for uri, type_ in (known or {}).items() if type_ is not None and _can_be_used(type_)}
    (root, *sections), definitions = msgspec.json.schema_components([Settings, *types.values()])
    for struct in _structs([Settings, *types.values()]):
        _fit(struct, _definition(struct, definitions))
    settings = _definition(_struct_info(Settings), definitions)
    if known is not None:
        plugins = settings["properties"]["plugins"]
        plugins["properties"] = dict(zip(types, sections, strict=True))
        # A proxy plugin's section would be named after its id; no code decodes one.
        plugins["additionalProperties"] = False
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "holdfast configuration",
        **root,
        "$defs": definitions,
    }


def _can_be_used(type_: type[msgspec.Struct]) -> bool:
    """Whether msgspec can build the type; a plugin whose config type it cannot build does not start."""
    try:
        mi.type_info(type_)
    except Exception:  # an author's annotations may raise anything
        return False
    return True


def _struct_info(type_: type[msgspec.Struct]) -> mi.StructType:
    info = info_of(type_)
    assert isinstance(info, mi.StructType)
    return info


def _definition(struct: mi.StructType, definitions: dict[str, Any]) -> dict[str, Any]:
    """The definition of a struct: msgspec names it after its class, with the module only if two classes
    share a name.
    """
    name = struct.cls.__name__
    full = f"{struct.cls.__module__}.{struct.cls.__qualname__}"
    found: dict[str, Any] = definitions[full if full in definitions else name]
    return found


def _structs(types: list[type[msgspec.Struct]]) -> list[mi.StructType]:
    found: dict[type, mi.StructType] = {}

    def visit(info: mi.Type) -> None:
        for member in alternatives(info):
            inner, _, _ = bare(member)
            if isinstance(inner, mi.StructType) and inner.cls not in found:
                found[inner.cls] = inner
                for one in inner.fields:
                    visit(one.type)
            elif isinstance(inner, mi.DictType):
                visit(inner.value_type)
            elif isinstance(inner, mi.CollectionType):
                visit(inner.item_type)

    for type_ in types:
        visit(info_of(type_))
    return list(found.values())


def _fit(struct: mi.StructType, definition: dict[str, Any]) -> None:
    """Replace what msgspec says of values in memory by what a file may hold: quantities as text, null for a default."""
    for one in struct.fields:
        schema = definition["properties"][one.encode_name]
        _quantities(one.type, schema)
        if old := bare(one.type)[1].get("was"):
            replaced = {"deprecated": True, "description": f"deprecated: the key is called {one.encode_name} now"}
            definition["properties"][old] = {**schema, **replaced}
            definition["properties"][old].pop("default", None)
        if "default" in schema:
            default = one.default if one.default is not msgspec.NODEFAULT else one.default_factory()
            schema["default"] = as_written(default, one.type)


def _quantities(info: mi.Type, schema: dict[str, Any]) -> None:
    inner, extra, _ = bare(info)
    quantity = extra.get("quantity")
    if quantity is not None:
        number = {key: schema.pop(key) for key in ("type", "minimum", "maximum") if key in schema}
        pattern = _DURATION if quantity == "duration" else _SIZE
        text = {"type": "string", "pattern": pattern}
        schema["anyOf"] = [text, {"const": 0} if quantity == "duration" else number]
    elif isinstance(inner, mi.UnionType):
        for member, part in zip(_ordered(inner), schema.get("anyOf", ()), strict=False):
            _quantities(member, part)
    elif isinstance(inner, mi.DictType) and "additionalProperties" in schema:
        _quantities(inner.value_type, schema["additionalProperties"])
    elif isinstance(inner, mi.CollectionType) and "items" in schema:
        _quantities(inner.item_type, schema["items"])


def _ordered(union: mi.UnionType) -> list[mi.Type]:
    """Members in the order msgspec prints them: first those that are no struct, null last."""
    return [one for one in union.types if not isinstance(bare(one)[0], (mi.StructType, mi.NoneType))]
