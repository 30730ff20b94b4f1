import json
import tomllib

import pytest
from holdfast.config.document import Source
from holdfast.config.tomldoc import read_toml
from holdfast.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st

SOURCE = Source("c.toml", lenient=True)

TEXT = '''# first
version = 2
root = """
two
lines"""

[grpc]
  address = '/x' # [no] = table
  "quoted key" = 1
  sizes = [
    1, # one
    [2, 3],
    { a = 1, b.c = 2 },
  ]
  when = 1979-05-27 07:32:00

[plugins."io.containerd.gc.v1.scheduler"]
  x.y = { z = [ "]", "}" ] }

[[table]]
  n = 1
[[table]]
  n = 2
  [table.inner]
    m = 3
[[table.deep]]
  k = 4
[[table.deep]]
  k = 5
'''


def test_every_value_has_its_line():
    node = read_toml(TEXT, SOURCE)
    uri = "io.containerd.gc.v1.scheduler"
    lines = {
        ("version",): 2,
        ("root",): 3,
        ("grpc",): 7,
        ("grpc", "address"): 8,
        ("grpc", "quoted key"): 9,
        ("grpc", "sizes"): 10,
        ("grpc", "sizes", 0): 11,
        ("grpc", "sizes", 1): 12,
        ("grpc", "sizes", 1, 1): 12,
        ("grpc", "sizes", 2, "b", "c"): 13,
        ("grpc", "when"): 15,
        ("plugins", uri): 17,
        ("plugins", uri, "x", "y", "z", 1): 18,
        ("table",): 20,
        ("table", 0, "n"): 21,
        ("table", 1): 22,
        ("table", 1, "n"): 23,
        ("table", 1, "inner", "m"): 25,
        ("table", 1, "deep", 0, "k"): 27,
        ("table", 1, "deep", 1, "k"): 29,
    }
    assert {path: node.at(path).line for path in lines} == lines


def test_the_values_are_tomllibs():
    expected = tomllib.loads(TEXT)
    expected["grpc"]["when"] = "1979-05-27T07:32:00"
    assert read_toml(TEXT, SOURCE).plain() == expected


def test_windows_line_ends_count_as_one():
    assert read_toml('a = 1\r\nb = """x\r\ny"""\r\nc = 2\r\n', SOURCE).at(("c",)).line == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[grpc", "failed to load TOML: c.toml:1: Expected ']'"),
        ("a = 1\n[grpc]\n[grpc]\n", "failed to load TOML: c.toml:3: Cannot declare ('grpc',) twice (column 6)"),
        ("a = 1\na = 2\n", "failed to load TOML: c.toml:2: Cannot overwrite a value (column 6)"),
        ("a = ", "failed to load TOML: c.toml:1: Invalid value"),
        ("a = " + "[" * 100_000, "failed to load TOML: c.toml: nested deeper than 64 levels"),
        (
            "a = " + "9" * 5000,
            "failed to load TOML: c.toml: Exceeds the limit (4300 digits) for integer string conversion",
        ),
        ('a = "\\u0000"', "c.toml:1: a NUL character"),
        ("a = [" + "1," * 10 + "]\n" + "[" * 100_001, "failed to load TOML: c.toml: more than 100000 values"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(text, words):
    with pytest.raises(ConfigError) as refused:
        read_toml(text, SOURCE)
    assert str(refused.value).startswith(words)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=100) | st.text(alphabet="ab=[]{}'\"#., \n\\0-", max_size=60))
def test_any_text_is_a_document_or_one_line_of_refusal(text):
    try:
        words = str(read_toml(text, SOURCE).plain())
    except ConfigError as error:
        words = str(error)
    assert words.startswith(("{", "c.toml", "failed to load TOML: c.toml"))
    assert "\n" not in words


keys = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=5)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | keys
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


def inline(value):
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {inline(one)}" for key, one in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(inline, value)) + "\n]"
    return json.dumps(value, ensure_ascii=False)


@given(st.dictionaries(keys, values, max_size=6), st.integers(0, 3))
def test_the_line_of_each_top_key_is_where_it_was_written(data, blank):
    text, lines = "", {}
    for key, value in data.items():
        text += "\n" * blank
        lines[key] = text.count("\n") + 1
        text += f"{json.dumps(key, ensure_ascii=False)} = {inline(value)}\n"
    node = read_toml(text, SOURCE)
    assert node.plain() == data
    assert {key: one.line for key, one in node.mapping().items()} == lines
