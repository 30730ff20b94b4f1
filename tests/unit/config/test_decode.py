# ruff: noqa: E501 (a row of a table stays a row)
import enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from holdfast.config.decode import decode, shown, suggestion
from holdfast.config.document import Source
from holdfast.config.quantity import Bytes, Duration
from holdfast.config.yamldoc import read_yaml
from holdfast.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

STRICT, LENIENT = Source("c.yaml"), Source("c.toml", lenient=True)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Inner(Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1)]
    size: Bytes = 0
    share: Annotated[float, Meta(ge=0, le=1)] | None = 0.5


class At(Struct, frozen=True, forbid_unknown_fields=True):
    at_least: Annotated[int, Meta(ge=-1000, le=1000)]


class File(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="file"):
    path: str


class Socket(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="socket"):
    wait: Duration


class Outer(Struct, frozen=True, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=1, le=10)] = 1
    on: bool = False
    mode: Literal["fast", "slow"] = "fast"
    colour: Colour = Colour.RED
    wait: Annotated[Duration, Meta(ge=1, le=60)] = 1.0
    inner: Inner = Inner("x")
    items: tuple[Inner, ...] = ()
    table: dict[str, Inner] = {}
    tables: dict[str, dict[str, int]] = {}
    score: Annotated[int, Meta(ge=-1000, le=1000)] | At = 0
    place: File | Socket | None = None
    labels: dict[str, str] = {}
    anything: Any = None
    renamed: str = msgspec.field(name="re-named", default="")

    def __post_init__(self):
        if self.count == 7:
            raise ValueError("seven is unlucky")


def read(text, source=STRICT, warnings=None):
    return decode(read_yaml(text, source), Outer, (), warnings)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("count: 11", "c.yaml:1: count: expected an integer between 1 and 10, got 11"),
        ("\ncount: many", 'c.yaml:2: count: expected an integer between 1 and 10, got "many"'),
        (
            "count: '5'",
            'c.yaml:1: count: expected an integer between 1 and 10, got "5"; did you mean 5, without quotes?',
        ),
        ("count: true", "c.yaml:1: count: expected an integer between 1 and 10, got true"),
        ("count: []", "c.yaml:1: count: expected an integer between 1 and 10, got a list"),
        ("count: 7", "c.yaml:1: the file: seven is unlucky"),
        ("on: yes", 'c.yaml:1: on: expected true or false, got "yes"; did you mean true?'),
        ("on: Off", 'c.yaml:1: on: expected true or false, got "Off"; did you mean false?'),
        ("on: maybe", 'c.yaml:1: on: expected true or false, got "maybe"'),
        ("mode: fats", 'c.yaml:1: mode: expected "fast" or "slow", got "fats"; did you mean "fast"?'),
        ("colour: gred", 'c.yaml:1: colour: expected "blue" or "red", got "gred"; did you mean "red"?'),
        (
            "wait: soon",
            'c.yaml:1: wait: unable to parse soon into a time duration; expected a duration such as "30s" or "1h2m" between 1s and 1m',
        ),
        (
            "wait: 5",
            'c.yaml:1: wait: expected a duration such as "30s" or "1h2m" between 1s and 1m, got 5; did you mean "5s"?',
        ),
        ("wait: 2m", 'c.yaml:1: wait: expected a duration such as "30s" or "1h2m" between 1s and 1m, got "2m"'),
        ("inner:\n  size: 1\n", 'c.yaml:1: inner: "name" is missing; expected a string that is not empty'),
        ("inner:\n  name: ''\n", 'c.yaml:2: inner.name: expected a string that is not empty, got ""'),
        (
            "inner:\n  name: 5\n",
            'c.yaml:2: inner.name: expected a string that is not empty, got 5; did you mean "5", in quotes?',
        ),
        (
            "inner: {name: x, size: lots}",
            'c.yaml:1: inner.size: expected a size in bytes such as 4096 or "256Mi", got "lots"',
        ),
        ("inner: {name: x, share: 2}", "c.yaml:1: inner.share: expected a number between 0 and 1, got 2"),
        ("inner: 5", "c.yaml:1: inner: expected a mapping, got 5"),
        ("items:\n- name: a\n- nmae: b\n", 'c.yaml:3: items[1].nmae: unknown key; did you mean "name"?'),
        ("items:\n- name: a\n- {}\n", 'c.yaml:3: items[1]: "name" is missing; expected a string that is not empty'),
        ("items: 5", "c.yaml:1: items: expected a list of mappings, got 5"),
        ("items: [null]", "c.yaml:1: items[0]: expected a mapping, got nothing"),
        (
            "table:\n  a: {name: x}\n  b: {name: 5}\n",
            'c.yaml:3: table.b.name: expected a string that is not empty, got 5; did you mean "5", in quotes?',
        ),
        ("tables:\n  a: {x: 1}\n  b:\n    x: 1\n    y: z\n", 'c.yaml:5: tables.b.y: expected an integer, got "z"'),
        ("score: 1001", "c.yaml:1: score: expected an integer between -1000 and 1000 or a mapping, got 1001"),
        ("score: {at_least: 1001}", "c.yaml:1: score.at_least: expected an integer between -1000 and 1000, got 1001"),
        ("score: {at_lest: 1}", 'c.yaml:1: score.at_lest: unknown key; did you mean "at_least"?'),
        ("place: {kind: file, pth: x}", 'c.yaml:1: place.pth: unknown key; did you mean "path"?'),
        ("labels:\n  a: b\n  c: 5\n", 'c.yaml:3: labels.c: expected a string, got 5; did you mean "5", in quotes?'),
        (
            "zzz: 1",
            "c.yaml:1: zzz: unknown key; known here: count, on, mode, colour, wait, inner, items, table, tables, score, place, labels, anything, re-named",
        ),
        ("Count: 1", 'c.yaml:1: Count: unknown key; did you mean "count"?'),
        ("re-named: 5", 'c.yaml:1: re-named: expected a string, got 5; did you mean "5", in quotes?'),
        (
            "count: 99999999999999999999999999",
            "c.yaml:1: count: expected an integer between 1 and 10, got 99999999999999999999999999",
        ),
    ],
)
def test_a_mistake_is_one_line_with_place_key_expectation_and_the_nearest_right_thing(text, line):
    with pytest.raises(ConfigError) as refused:
        read(text)
    assert str(refused.value) == line


def test_an_unknown_tag_of_a_union_is_refused_with_its_place():
    with pytest.raises(ConfigError, match=r"^c\.yaml:2: place"):
        read("on: true\nplace: {kind: pipe}")


def test_good_values_become_the_struct():
    text = (
        "count: 2\non: true\nmode: slow\ncolour: blue\nwait: 30s\ninner: {name: i, size: 4Ki, share: null}\n"
        "items: [{name: a}]\ntable: {k: {name: b}}\nscore: {at_least: 5}\nplace: {kind: socket, wait: 3s}\n"
        "anything: {a: [1, null]}\nre-named: z\n"
    )
    assert read(text) == Outer(
        2, True, "slow", Colour.BLUE, 30.0, Inner("i", 4096, None), (Inner("a"),), {"k": Inner("b")}, {},
        At(5), Socket(3.0), {}, {"a": [1, None]}, "z",
    )  # fmt: skip


def test_null_means_the_default_where_null_is_no_value():
    assert read("count:\nwait: null\nlabels:\n  a: null\n") == Outer()


def test_an_unknown_key_of_a_lenient_source_is_a_warning():
    warnings = []
    assert read("cuont: 1\ninner:\n  name: x\n  z: 1\n", LENIENT, warnings) == Outer()
    assert list(map(str, warnings)) == [
        'c.toml:1: cuont: unknown key, ignored; did you mean "count"?',
        "c.toml:4: inner.z: unknown key, ignored",
    ]


def test_the_path_above_a_section_is_part_of_the_key():
    with pytest.raises(ConfigError) as refused:
        decode(read_yaml("cuont: 1", STRICT), Outer, ("plugins", "io.a.v1.b"))
    assert str(refused.value) == 'c.yaml:1: plugins."io.a.v1.b".cuont: unknown key; did you mean "count"?'


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing"),
        ({}, "a mapping"),
        ([], "a list"),
        (True, "true"),
        ("a\nb", '"a\\nb"'),
        ("x" * 100, '"' + "x" * 58 + "…"),
    ],
)
def test_a_value_is_shown_in_one_short_line(value, words):
    assert shown(value) == words


def test_a_far_word_gets_no_suggestion():
    assert (suggestion("adress", ["address", "uid"]), suggestion("qq", ["address"])) == (
        '; did you mean "address"?',
        "",
    )


texts = st.text("abx5-: []{},'\n", max_size=12)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*Outer.__struct_encode_fields__, "name", "size", "at_least", "kind", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


class Renamed(Struct, frozen=True, forbid_unknown_fields=True):
    limit: Annotated[int | tuple[int, ...], Meta(extra={"was": "bound"})] = 1


def renamed(text, warnings=None):
    return decode(read_yaml(text, STRICT), Renamed, ("plugins", "p"), warnings)


def test_a_key_by_its_old_name_is_taken_with_one_warning_that_names_the_new_one():
    warnings = []
    assert renamed("bound: 2", warnings) == Renamed(2) == renamed("limit: 2")
    assert list(map(str, warnings)) == ["c.yaml:1: plugins.p.bound: deprecated; the key is called limit now"]
    with pytest.raises(ConfigError, match=r'c\.yaml:1: plugins\.p\.limit: expected an integer or a list, got "x"'):
        renamed("bound: x")


def test_a_key_by_both_its_names_is_refused_with_both_places():
    with pytest.raises(ConfigError) as refused:
        renamed("bound: 2\nlimit: 3")
    words = "c.yaml:2: plugins.p.limit: c.yaml:1 has bound, the old name of the same key; remove that line"
    assert str(refused.value) == words


@given(st.dictionaries(st.sampled_from([*Outer.__struct_encode_fields__, "odd"]), plain, max_size=6), st.booleans())
def test_any_data_becomes_the_struct_or_one_line(data, lenient):
    from holdfast.config.document import node_of

    try:
        words = repr(decode(node_of(data, LENIENT if lenient else STRICT, 1), Outer))
    except ConfigError as error:
        words = str(error)
    assert words.startswith(("Outer(", "c.yaml:1: ", "c.toml:1: "))
    assert "\n" not in words
