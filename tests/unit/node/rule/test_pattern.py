from __future__ import annotations

import fnmatch
import re

import pytest
from holdfast.errors import InvalidArgument
from holdfast.expression import Expression, literal
from holdfast.node.rule.pattern import UserIndex, ValueIndex, compile_pattern, compile_patterns
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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "matches nothing"),
        ("re:(", r"of RE2: missing \)"),
        ("re:*", "no argument for repetition operator"),
        ("re:[z-a]", "invalid character class range: z-a"),
        ("re:(?=a)b", r"invalid perl operator: \(\?="),
        (r"re:(a)\1", "invalid escape sequence"),
        (r"re:a\Z", "invalid escape sequence"),
        (r"re:\pL{1000}", "pattern too large"),
        ("*" + "?" * 10_000, "pattern too large"),
        ("re:(?!kube-system$).*", "not:PATTERN fits what PATTERN does not"),
        ("not:", "matches nothing"),
        ("not:not:a", "twice"),
        ("not:re:(", "of RE2: missing"),
    ],
)
def test_what_is_no_pattern_is_refused_with_the_reason(text, reason):
    with pytest.raises(InvalidArgument, match=reason):
        compile_pattern(text)


NAMES = st.text(alphabet=st.one_of(st.sampled_from("ab/\n\udcff\udc80é𝒜"), st.characters()), max_size=8)


@given(st.text(alphabet="ab*?/é\n", min_size=1, max_size=8), NAMES)
def test_a_glob_means_the_same_for_names_of_any_bytes(glob, value):
    assert compile_pattern(glob).holds(value) is (re.fullmatch(_python(glob, "."), value, re.DOTALL) is not None)
    if not glob.endswith("/**") and "**" not in glob:
        expected = re.fullmatch(_python(glob, "[^/]"), value, re.DOTALL) is not None
        assert compile_pattern(glob, path=True).holds(value) is expected


def _python(glob, one):
    return "".join({"*": f"{one}*", "?": one}.get(letter, re.escape(letter)) for letter in glob)


@given(NAMES)
def test_a_name_fits_the_pattern_that_spells_it_and_one_of_as_many_question_marks(value):
    assert Expression(literal(value)).fits(value)
    assert compile_pattern("?" * len(value) + "*").holds(value)


# `.*java.*-jar.*app.*` over 32 KiB of it is some 10^12 steps for an engine that goes back; a deadline would time the
# machine, the test's own timeout ends what is not linear.
@pytest.mark.parametrize("pattern", ["*java*-jar*app*", "re:(.*)*x", "re:(a|aa)+$", "re:(?:java-?|jar)+app"])
def test_a_long_value_that_nearly_fits_is_no_work(pattern):
    index = ValueIndex([[compile_pattern(pattern)]])
    for value in ("java-jar" * 131_072, "a" * 1_048_576 + "b"):
        assert index.holding(value) == 0
        assert not compile_pattern(pattern).holds(value)


def test_an_index_keeps_no_long_values():
    index = ValueIndex([[compile_pattern("a*")]])
    assert [index.holding(f"a{number:04096}") for number in range(3)] == [1, 1, 1]
    assert not index._remembered


@given(st.text(alphabet="ab*?/.", min_size=1, max_size=8), st.text(alphabet="ab/.", max_size=8))
def test_a_plain_glob_means_what_the_shell_means(glob, value):
    assert compile_pattern(glob).holds(value) is fnmatch.fnmatchcase(value, glob)


def test_not_fits_every_other_value_and_stands_alone():
    patterns = [compile_pattern(text) for text in ("not:kube-system", "not:kube-*", "not:re:a|b")]
    assert [[some.holds(value) for value in ("kube-system", "kube-x", "a", "db")] for some in patterns] == [
        [False, True, True, True],
        [False, False, True, True],
        [True, True, False, True],
    ]
    assert not compile_pattern("not:/a/**", path=True).holds("/a/b")
    with pytest.raises(InvalidArgument, match=r'"not:a" stands alone, not in a list; not:re:A\|B excludes two'):
        compile_patterns(["not:a", "b"])


_ONE = st.text(alphabet="ab*?", min_size=1, max_size=4)
_PATTERNS = st.one_of(st.lists(_ONE, max_size=3), _ONE.map(lambda text: [f"not:{text}"]))


@given(st.lists(_PATTERNS, max_size=12), st.lists(st.text(alphabet="abc", max_size=4), max_size=6))
def test_an_index_answers_as_each_rule_alone_would(texts, values):
    rules = [[compile_pattern(text) for text in some] for some in texts]
    index = ValueIndex(rules)
    for value in [*values, *values]:
        expected = sum(1 << at for at, some in enumerate(rules) if not some or any(p.holds(value) for p in some))
        assert index.holding(value) == expected


def test_an_index_with_expressions_of_ones_own_answers_as_with_globs():
    index = ValueIndex([[compile_pattern("re:(a)(b)")], [compile_pattern("a*")], [compile_pattern("b?")]])
    assert [index.holding(value) for value in ("ab", "bc", "zz")] == [0b011, 0b100, 0]


def test_groups_of_one_name_in_two_expressions_are_no_trouble():
    index = ValueIndex([[compile_pattern("re:(?P<x>a)b")], [compile_pattern("re:a(?P<x>b)")]])
    assert index.holding("ab") == 0b11


def test_rules_too_large_for_one_set_are_asked_one_by_one():
    large = [[compile_pattern(f"re:.*{number}.{{300}}")] for number in range(90)]
    index = ValueIndex([*large, [compile_pattern("x*")]])
    assert index.holding("x") == 1 << 90
    assert index.holding("7" + "y" * 300) == 1 << 7
    assert index._expressions._set is index._expressions


def test_an_index_forgets_before_it_grows_without_bound():
    index = ValueIndex([[compile_pattern("a*")]])
    assert sum(index.holding(f"{number}") for number in range(10_000)) == 0
    assert len(index._remembered) <= 4096
    assert index.holding("abc") == 1


def test_a_user_index_knows_who_does_not_ask():
    index = UserIndex([None, {0}, range(1000, 2000)])
    assert [index.holding(uid) for uid in (0, 1500, 33)] == [0b011, 0b101, 0b001]
    assert index.asked == 0b110
