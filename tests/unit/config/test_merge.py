import pytest
from holdfast.config.document import Source, node_of
from holdfast.config.merge import filled, merged, over, overridden
from hypothesis import given
from hypothesis import strategies as st

A, B = Source("a.yaml"), Source("b.yaml")


def joined(first, second):
    return over(node_of(first, A, 1), node_of(second, B, 2)).plain()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 7}, {"a": 0}, {"a": 0}),
        ({"a": True}, {"a": False}, {"a": False}),
        ({"a": "x"}, {"a": ""}, {"a": ""}),
        ({"a": "x"}, {"a": None}, {"a": None}),
        ({"a": {"x": 1, "y": {"p": 1}}}, {"a": {"y": {"q": 2}}}, {"a": {"x": 1, "y": {"p": 1, "q": 2}}}),
        ({"a": [1, 2]}, {"a": [2, 3]}, {"a": [1, 2, 3]}),
        ({"a": [1]}, {"a": [True, 1.0, "1"]}, {"a": [1, True, 1.0, "1"]}),
        ({"a": [{"n": 1}]}, {"a": [{"n": 1}, {"n": 2}]}, {"a": [{"n": 1}, {"n": 2}]}),
        ({"a": [1, 1]}, {"a": []}, {"a": [1, 1]}),
        ({"a": {"x": 1}}, {"a": 5}, {"a": 5}),
        ({"a": 5}, {"a": {"x": 1}}, {"a": {"x": 1}}),
    ],
)
def test_what_a_later_file_says_about_what_an_earlier_one_said(first, second, expected):
    result = joined(first, second)
    assert repr(result) == repr(expected)


def test_a_value_keeps_the_place_of_the_file_that_decided_it():
    tree = over(node_of({"a": 1, "b": {"x": 1}}, A, 1), node_of({"b": {"y": 2}}, B, 2))
    assert [tree.at(path).where for path in (("a",), ("b", "x"), ("b", "y"))] == ["a.yaml:1", "a.yaml:1", "b.yaml:2"]


def test_no_file_is_nothing_and_three_are_joined_in_order():
    assert merged([]) is None
    assert merged([node_of({"a": n}, A) for n in (1, 2, 3)]).plain() == {"a": 3}


def test_defaults_fill_what_is_absent_or_null_and_nothing_else():
    given_ = node_of({"root": None, "grpc": {"address": ""}, "debug": 5}, A)
    defaults = node_of({"root": "/r", "state": "/s", "grpc": {"address": "/a", "uid": 1}, "debug": {"level": "x"}}, B)
    assert filled(given_, defaults).plain() == {
        "root": "/r",
        "state": "/s",
        "grpc": {"address": "", "uid": 1},
        "debug": 5,
    }


def test_the_command_line_does_not_hide_a_section_of_the_wrong_type():
    flags = node_of({"root": "/flag", "grpc": {"address": "/flag"}, "debug": {"level": "info"}}, B)
    tree = overridden(node_of({"root": "/file", "grpc": 5, "debug": None}, A), flags)
    assert tree.plain() == {"root": "/flag", "grpc": 5, "debug": {"level": "info"}}


trees = st.recursive(
    st.integers(0, 3) | st.booleans() | st.text("ab", max_size=1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


@given(mappings)
def test_a_file_over_itself_changes_nothing(tree):
    assert repr(joined(tree, tree)) == repr(tree)


@given(mappings, mappings, mappings)
def test_joining_is_associative_so_that_imports_of_imports_mean_one_thing(a, b, c):
    a, b, c = (node_of(one, A) for one in (a, b, c))
    if any(type(left.value) is not type(right.value) for left, right in _pairs(a, b, c)):
        return  # a value that changes its kind midway is replaced, and what came before it is gone
    assert over(over(a, b), c).plain() == over(a, over(b, c)).plain()


def _pairs(*nodes):
    by_path = {}
    for node in nodes:
        for path, one in _walk(node, ()):
            for other in by_path.setdefault(path, []):
                yield other, one
            by_path[path].append(one)


def _walk(node, path):
    yield path, node
    for key, one in node.mapping().items():
        yield from _walk(one, (*path, key))
