import contextlib
import re

import pytest
from holdfast.errors import InvalidArgument
from holdfast.filters.expression import FilterExpression
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("pattern", "found", "missed"),
    [
        ("", ["", "a"], []),
        ("a.c", ["abc", "xa.cx"], ["a\nc", "ac"]),
        ("(?s)a.c", ["a\nc"], []),
        ("^ab$", ["ab"], ["ab\n", "xab", "x\nab\n"]),
        ("(?m)^ab$", ["ab", "x\nab\ny"], ["abx"]),
        (r"\Aab\z", ["ab"], ["\nab", "ab\n"]),
        (r"\bab\b", ["ab", "x ab-y"], ["xab", "abx", "äbab_"]),
        (r"a\Bb", ["ab"], ["a b"]),
        ("a*?b+?c??$", ["b", "aabbc"], ["a", "c"]),
        ("^a{2}$", ["aa"], ["a", "aaa"]),
        ("^a{2,}$", ["aa", "aaaa"], ["a"]),
        ("^a{1,2}$", ["a", "aa"], ["", "aaa"]),
        ("a{,2}", ["a{,2}"], ["aa"]),
        ("a{01}", ["a{01}"], ["a"]),
        ("^(?:ab|c|)$", ["ab", "c", ""], ["abc"]),
        ("^(?P<name>a)(b)?$", ["a", "ab"], ["b"]),
        ("(?i)straSSe", ["STRASSE", "stra\u017f\u017fe"], ["straße"]),
        ("(?i:a)b", ["Ab", "ab"], ["aB"]),
        ("((?i)a)b", ["Ab"], ["aB"]),
        ("(?i)a(?-i)b", ["Ab"], ["AB"]),
        ("(?i)[^k]", ["j"], ["k", "K", "\u212a"]),
        (r"^[\d\-x-z]+$", ["1-y"], ["a"]),
        ("^[]a]+$", ["]a"], ["b"]),
        ("^[^]a]+$", ["b"], ["]"]),
        ("^[a-]+$", ["-a"], ["b"]),
        ("^[[:alpha:]_[:^ascii:]]+$", ["a_é"], ["1"]),
        (r"^\w\W\s\S\d\D$", ["a-\tb1c"], ["é-\tb1c", "a-\vb1c"]),
        (r"^\pL\p{Lu}\P{Nd}\p{^Z}$", ["éAxx"], ["éaxx", "éA1x", "éAx\u00a0"]),
        (r"^\x41\x{1F600}\101\012\.$", ["A\U0001f600A\n."], []),
        (r"^\Qa.*\E+$", ["a.***"], ["aaa"]),
        (r"^\Qa\E$", ["a"], []),
        (r"\Qa.", ["a."], ["ab"]),
        (r"^\p{Any}$", ["é"], [""]),
        (r"^\p{Greek}$", ["α"], ["a"]),
    ],
)
def test_an_expression_means_what_it_means_in_go(pattern, found, missed):
    compiled = FilterExpression(pattern)
    assert [text for text in [*found, *missed] if compiled.search(text)] == found


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `a)`"),
        ("[a", "missing closing ]: `[a`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("[b-a]", "invalid character class range: `b-a`"),
        ("[[:word:]-[:nix:]]", "invalid character class range: `[:nix:]`"),
        (r"\p{Klingon}", r"invalid character class range: `\p{Klingon}`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?i-)", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("(?P<a-b>c)", "invalid named capture: `(?P<a-b>`"),
        ("(a{1000}){1000}", "invalid repeat count: `{1000}`"),
        (r"[\pL\d]{1000}", r"expression too large: `[\pL\d]{1000}`"),
    ],
)
def test_what_is_no_expression_is_refused_in_gos_words(pattern, why):
    with pytest.raises(InvalidArgument) as refused:
        FilterExpression(pattern)
    assert refused.value.message == why


def test_an_expression_that_makes_backtracking_explode_takes_linear_time():
    compiled = FilterExpression("^(a|a|aa)+(a+)+$")
    assert not compiled.search("a" * 20_000 + "b")


# Where Python's and RE2's syntax agree, the two engines must agree on every text.
atoms = st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", r"\d", r"\w", r"\b", "^", "(?:a|b)", "(?:ab)", "(?i:B)"])
repeated = st.tuples(atoms, st.sampled_from(["", "*", "+", "?", "{0,2}", "{2}", "*?"])).map(
    lambda pair: f"(?:{pair[0]}){pair[1]}"
)
rows = st.lists(repeated, min_size=1, max_size=4).map("".join)
patterns = st.lists(rows, min_size=1, max_size=3).map("|".join)


@given(patterns, st.text("abcB1 \n", max_size=8))
def test_both_engines_agree_where_their_syntax_does(pattern, text):
    assert FilterExpression(pattern).search(text) is (re.search(pattern, text, re.ASCII) is not None)


@given(st.text(st.sampled_from(r"ab(){}[]^$.*+?|\\-,:<>PQEdwpLxi012"), max_size=16))
def test_any_text_is_compiled_or_refused(pattern):
    with contextlib.suppress(InvalidArgument):
        assert FilterExpression(pattern).search("ab-1(Q") in (True, False)
