import json
import math
import sys

import pytest
import yaml
from holdfast.config.document import MAX_DEPTH, MAX_VALUES, Source
from holdfast.config.yamldoc import plain_scalar, read_yaml
from holdfast.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st

SOURCE = Source("c.yaml")


def read(text):
    node = read_yaml(text, SOURCE)
    return None if node is None else node.plain()


def refusal(text):
    with pytest.raises(ConfigError) as refused:
        read_yaml(text, SOURCE)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("on", "on"),
        ("12", 12),
        ("-7", -7),
        ("0750", 750),
        ("0o750", 0o750),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("30s", "30s"),
        ("127.0.0.1", "127.0.0.1"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says(text, value):
    found = plain_scalar(text)
    assert (type(found), found) == (type(value), value)


def test_not_a_number_is_a_number():
    assert math.isnan(plain_scalar(".nan"))


def test_quotes_make_text_of_anything():
    assert read("a: '12'\nb: \"true\"\nc: |\n  12\n") == {"a": "12", "b": "true", "c": "12\n"}


def test_keys_are_text_whatever_they_look_like():
    assert read("1: a\ntrue: b\n~: c\n'<<': d") == {"1": "a", "true": "b", "~": "c", "<<": "d"}


def test_every_value_has_the_line_of_its_key_or_of_itself_in_a_list():
    node = read_yaml("a:\n  b: 1\n\n  c:\n    - x\n    - y: 2\n      z:\n        3\n", SOURCE)
    paths = [("a",), ("a", "b"), ("a", "c"), ("a", "c", 0), ("a", "c", 1), ("a", "c", 1, "z")]
    assert [node.at(path).line for path in paths] == [1, 2, 4, 5, 6, 7]


def test_core_tags_are_understood():
    assert read("a: !!str 5\nb: !!int '5'\nc: !!map {x: 1}\nd: !!seq [1]") == {
        "a": "5",
        "b": 5,
        "c": {"x": 1},
        "d": [1],
    }


def test_only_comments_are_no_value():
    assert read_yaml("# nothing\n---\n", SOURCE).value is None
    assert read_yaml("# nothing\n", SOURCE) is None


def test_aliases_and_merge_keys_stand_for_what_they_name():
    text = "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\none: {<<: *b, x: 9}\ntwo: {<<: [*b, *o]}\nthree: *b\n"
    assert read(text) | {"base": 0, "other": 0} == {
        "base": 0,
        "other": 0,
        "one": {"x": 9, "y": 2},
        "two": {"x": 1, "y": 2, "z": 4},
        "three": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 2\na: 3", 'c.yaml:3: key "a" is given twice, first in line 1'),
        ("a:\n  x: 1\n  'x': 2", 'c.yaml:3: key "x" is given twice, first in line 2'),
        ("a: 1\n---\nb: 2", "c.yaml:2: a second document begins here; one file is one document"),
        ("a: !!python/object:os.system x", "c.yaml:1: tag tag:yaml.org,2002:python/object:os.system is not supported"),
        ("a: !mine {}", "c.yaml:1: tag !mine is not supported"),
        ("a: &a [*a]", "c.yaml:1: alias *a before its anchor has a value"),
        ("a: *nobody", "c.yaml:1: alias *nobody before its anchor has a value"),
        ("x: &x y\n*x : 1", "c.yaml:2: an alias cannot be a key"),
        ("? [a]\n: 1", "c.yaml:1: a mapping or list cannot be a key"),
        ("a: 1\n<<: 5", "c.yaml:2: << takes an alias of a mapping, or a list of them"),
        ('a: "\\0"', "c.yaml:1: a NUL character"),
        ("a: 1\nb: \x01", "c.yaml:2: not YAML: character U+0001 is not allowed"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(text, line):
    assert refusal(text) == line


@pytest.mark.parametrize(
    "text", ["a: [1,", "\tx: 1", 'a: "open', "a: b: c", "{", "- a\nb: c", "%YAML 9.9\n---\na", "a: |2x"]
)
def test_half_written_yaml_names_its_line(text):
    words = refusal(text)
    assert words.startswith("c.yaml:")
    assert ": not YAML: " in words
    assert "\n" not in words


def test_depth_is_limited_far_below_any_stack():
    assert refusal("a: " + "[" * 200_000) == f"c.yaml:1: nested deeper than {MAX_DEPTH} levels"


def test_an_alias_bomb_is_refused_before_it_is_unfolded():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert refusal("\n".join(lines)).endswith(f"more than {MAX_VALUES} values, aliases included")


def outcome(text):
    """The document, or the refusal."""
    try:
        return read(text)
    except ConfigError as error:
        return error


@given(st.text(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"#%,? \n\t<~0", max_size=60))
def test_any_text_is_a_document_or_one_line_of_refusal(text):
    found = outcome(text.encode(errors="replace").decode())
    assert not isinstance(found, ConfigError) or (str(found).startswith("c.yaml") and "\n" not in str(found))


# JSON carries raw some characters that are line breaks or nothing at all to YAML.
PRINTABLE = st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(PRINTABLE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(PRINTABLE, max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_json_would_say_yaml_says_too(value):
    assert read(json.dumps({"v": value}, ensure_ascii=False)) == {"v": value}


def test_the_same_is_read_without_libyaml(monkeypatch):
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert read("a: &x {b: [1, yes]}\nc: *x\n") == {"a": {"b": [1, "yes"]}, "c": {"b": [1, "yes"]}}
    assert refusal("a: 1\na: 2") == 'c.yaml:2: key "a" is given twice, first in line 1'
    assert refusal("[" * (sys.getrecursionlimit() * 2)).startswith("c.yaml")


def test_importing_the_package_reads_no_parser():
    import subprocess

    code = "import sys, holdfast.config; sys.exit(bool({'yaml', 'tomllib', 'ctypes', 'difflib'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
