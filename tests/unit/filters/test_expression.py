import contextlib
import re

import pytest
from holdfast.filters import automaton, expression
from holdfast.filters.expression import BadExpression
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
    ],
)
def test_an_expression_means_what_it_means_in_go(pattern, found, missed):
    compiled = expression.compile(pattern)
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
        (r"\p{Greek}", r"invalid character class range: `\p{Greek}`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000}`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?i-)", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("(?P<a-b>c)", "invalid named capture: `(?P<a-b>`"),
        ("a\udcff", "invalid UTF-8"),
        ("(" * 200 + ")" * 200, "expression nests too deeply: `" + "(" * 200 + ")" * 200 + "`"),
        ("(a{1000}){1000}", "expression too large: `(a{1000}){1000}`"),
        ("(((){1000}){1000}){1000}", "expression too large: `(((){1000}){1000}){1000}`"),
    ],
)
def test_what_is_no_expression_is_refused_in_gos_words(pattern, why):
    with pytest.raises(BadExpression) as refused:
        expression.compile(pattern)
    assert str(refused.value) == why


def test_an_expression_that_makes_backtracking_explode_takes_linear_time():
    compiled = expression.compile("^(a|a|aa)+(a+)+$")
    assert not compiled.search("a" * 20_000 + "b")


def test_what_is_kept_for_speed_is_bounded_and_forgetting_it_changes_nothing(monkeypatch):
    monkeypatch.setattr(automaton, "_MAX_KEPT", 10)
    compiled = expression.compile("^(?:[a-c]x|[b-d]y)*$")
    text = "axbxcxbycydyby" * 20
    assert compiled.search(text)
    assert not compiled.search(text + "ay")
    assert len(compiled.automaton._kept) < 20


# Where Python's and RE2's syntax agree, the two engines must agree on every text.
atoms = st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", r"\d", r"\w", r"\b", "^", "(?:a|b)", "(?:ab)", "(?i:B)"])
repeated = st.tuples(atoms, st.sampled_from(["", "*", "+", "?", "{0,2}", "{2}", "*?"])).map(
    lambda pair: f"(?:{pair[0]}){pair[1]}"
)
rows = st.lists(repeated, min_size=1, max_size=4).map("".join)
patterns = st.lists(rows, min_size=1, max_size=3).map("|".join)


@given(patterns, st.text("abcB1 \n", max_size=8))
def test_both_engines_agree_where_their_syntax_does(pattern, text):
    assert expression.compile(pattern).search(text) is (re.search(pattern, text, re.ASCII) is not None)


@given(st.text(st.sampled_from(r"ab(){}[]^$.*+?|\\-,:<>PQEdwpLxi012"), max_size=16))
def test_any_text_is_compiled_or_refused(pattern):
    with contextlib.suppress(BadExpression):
        assert expression.compile(pattern).search("ab-1(Q") in (True, False)
