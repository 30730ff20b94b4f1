import re
from typing import Annotated

import msgspec
import pytest
from holdfast.config.jsonschema import json_schema
from holdfast.config.quantity import Bytes, Duration, parse_bytes, parse_duration
from holdfast.config.schema import Settings
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits."""

    pause: Annotated[Duration, Meta(ge=0, description="a pause")] = 1.5
    sizes: dict[str, Bytes] = {}
    maybe: Bytes | None = None
    waits: tuple[Duration, ...] = (60.0,)
    word: Annotated[str, Meta(description="a word", extra={"was": "term"})] = "x"


KNOWN = {"io.a.v1.limits": Limits, "io.a.v1.none": None}
SCHEMA = json_schema(KNOWN)
DURATION = SCHEMA["$defs"]["Limits"]["properties"]["pause"]["anyOf"][0]["pattern"]
SIZE = SCHEMA["$defs"]["Limits"]["properties"]["sizes"]["additionalProperties"]["anyOf"][0]["pattern"]


def test_the_root_is_the_settings_and_every_key_is_in_it():
    assert SCHEMA["$ref"] == "#/$defs/Settings"
    root = SCHEMA["$defs"]["Settings"]
    assert list(root["properties"]) == list(Settings.__struct_fields__)
    assert root["additionalProperties"] is False
    assert root["properties"]["root"]["default"] == "/var/lib/holdfast"


def test_plugins_that_are_known_and_take_a_configuration_have_their_section():
    plugins = SCHEMA["$defs"]["Settings"]["properties"]["plugins"]
    assert plugins["properties"] == {"io.a.v1.limits": {"$ref": "#/$defs/Limits"}}
    assert plugins["additionalProperties"] is False
    assert "properties" not in json_schema()["$defs"]["Settings"]["properties"]["plugins"]


def test_the_old_name_of_a_key_is_allowed_and_marked():
    properties = SCHEMA["$defs"]["Limits"]["properties"]
    assert properties["word"] == {"description": "a word", "type": "string", "default": "x"}
    old = {"description": "deprecated: the key is called word now", "type": "string", "deprecated": True}
    assert properties["term"] == old


def test_quantities_are_text_with_a_pattern_wherever_they_stand():
    properties = SCHEMA["$defs"]["Limits"]["properties"]
    text = {"type": "string", "pattern": DURATION}
    size = {"anyOf": [{"type": "string", "pattern": SIZE}, {"type": "integer"}]}
    assert properties["pause"] == {"description": "a pause", "anyOf": [text, {"const": 0}], "default": "1.5s"}
    assert properties["sizes"]["additionalProperties"] == size
    assert properties["maybe"]["anyOf"] == [size, {"type": "null"}]
    assert properties["waits"]["items"] == {"anyOf": [text, {"const": 0}]}
    assert properties["waits"]["default"] == ["1m"]


def test_a_size_keeps_its_bounds_as_a_number():
    size = SCHEMA["$defs"]["Grpc"]["properties"]["max_recv_message_size"]
    assert size["anyOf"][1] == {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
    assert size["default"] == "16Mi"


def test_it_is_plain_json():
    assert msgspec.json.decode(msgspec.json.encode(SCHEMA)) == SCHEMA


def test_two_plugins_whose_types_share_a_name_keep_their_own():
    other = msgspec.defstruct("Limits", [("x", Duration, 1.0)], module="other", frozen=True, forbid_unknown_fields=True)
    schema = json_schema({**KNOWN, "io.a.v1.other": other})
    sections = schema["$defs"]["Settings"]["properties"]["plugins"]["properties"]
    names = {uri: section["$ref"].removeprefix("#/$defs/") for uri, section in sections.items()}
    assert schema["$defs"][names["io.a.v1.other"]]["properties"]["x"]["default"] == "1s"
    assert schema["$defs"][names["io.a.v1.limits"]]["properties"]["pause"]["default"] == "1.5s"


@pytest.mark.parametrize("text", ["30s", "1h2m", "0", "0s", ".5s", "5", "soon", "", "1s "])
def test_the_pattern_of_a_duration_agrees_with_the_reader(text):
    assert bool(re.search(DURATION, text)) is _reads(parse_duration, text)


@given(st.text(alphabet="0123456789.hmsun", max_size=6))
def test_the_pattern_of_a_duration_agrees_with_the_reader_on_any_text(text):
    assert bool(re.search(DURATION, text)) is _reads(parse_duration, text)


@given(st.text(alphabet="0123456789KMGTPEikB", max_size=6))
def test_whatever_the_reader_takes_for_a_size_matches_the_pattern(text):
    assert bool(re.search(SIZE, text)) or not _reads(parse_bytes, text)


def _reads(parse, text):
    try:
        parse(text)
    except ValueError:
        return False
    return True
