from __future__ import annotations

import fnmatch

import pytest
from holdfast.errors import InvalidArgument
from holdfast.node.rule.pattern import UserIndex, ValueIndex, compile_pattern
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("containerd", "containerd", True),
        ("containerd", "containerd-shim", False),
        ("containerd-shim*", "containerd-shim", True),
        ("?at", "cat", True),
        ("?at", "at", False),
        ("a.b", "axb", False),
        ("[ab]", "a", False),
        ("re:postgres: .*", "postgres: writer", True),
        ("re:gres", "postgres", False),
        ("*", "any\nthing", True),
        ("*foo) Z*", "x foo) Z 1", True),
    ],
)
def test_words_globs_and_expressions_fit_the_whole_value(pattern, value, expected):
    assert compile_pattern(pattern).holds(value) is expected


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("/usr/bin/*", "/usr/bin/python3", True),
        ("/usr/*", "/usr/bin/python3", False),
        ("/usr/**", "/usr/bin/python3", True),
        ("/batch.slice/**", "/batch.slice", True),
        ("/batch.slice/**", "/batch.slice/a/b", True),
        ("/batch.slice/**", "/batch.slices/a", False),
        ("**/kubepods*/**", "/a/kubepods.slice/x", True),
        ("/a/?/c", "/a/b/c", True),
        ("/a/?/c", "/a///c", False),
    ],
)
def test_in_paths_one_star_stops_at_a_slash(pattern, value, expected):
    assert compile_pattern(pattern, path=True).holds(value) is expected


@pytest.mark.parametrize("text", ["", "re:(", "re:*", "re:[z-a]"])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(InvalidArgument):
        compile_pattern(text)


@given(st.text(alphabet="ab*?/.", min_size=1, max_size=8), st.text(alphabet="ab/.", max_size=8))
def test_a_plain_glob_means_what_the_shell_means(glob, value):
    assert compile_pattern(glob).holds(value) is fnmatch.fnmatchcase(value, glob)


_PATTERNS = st.lists(st.text(alphabet="ab*?", min_size=1, max_size=4), max_size=3)


@given(st.lists(_PATTERNS, max_size=12), st.lists(st.text(alphabet="abc", max_size=4), max_size=6))
def test_an_index_answers_as_each_rule_alone_would(texts, values):
    rules = [[compile_pattern(text) for text in some] for some in texts]
    index = ValueIndex(rules)
    for value in [*values, *values]:
        expected = sum(1 << at for at, some in enumerate(rules) if not some or any(p.holds(value) for p in some))
        assert index.holding(value) == expected


def test_an_index_with_expressions_of_ones_own_joins_nothing_and_still_answers():
    index = ValueIndex([[compile_pattern("re:(a)(b)")], [compile_pattern("a*")], [compile_pattern("b?")]])
    assert [index.holding(value) for value in ("ab", "bc", "zz")] == [0b011, 0b100, 0]


def test_an_index_forgets_before_it_grows_without_bound():
    index = ValueIndex([[compile_pattern("a*")]])
    assert sum(index.holding(f"{number}") for number in range(10_000)) == 0
    assert len(index._remembered) <= 4096
    assert index.holding("abc") == 1


def test_a_user_index_knows_who_does_not_ask():
    index = UserIndex([None, {0}, range(1000, 2000)])
    assert [index.holding(uid) for uid in (0, 1500, 33)] == [0b011, 0b101, 0b001]
    assert index.asked == 0b110
