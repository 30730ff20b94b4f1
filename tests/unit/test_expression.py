import contextlib
import re

import pytest
from holdfast.errors import InvalidArgument
from holdfast.expression import MEMORY_BYTES, searcher
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
        (r"^\p{Greek}+$", ["αβγ"], ["abc"]),
        ("^a.c$", ["a\udcffc"], []),
    ],
)
def test_an_expression_means_what_it_means_in_go(pattern, found, missed):
    search = searcher(pattern, MEMORY_BYTES)
    assert [text for text in [*found, *missed] if search(text)] == found


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(a", "missing ): (a"),
        ("a)", "unexpected ): a)"),
        ("[a", "missing ]: [a"),
        ("*a", "no argument for repetition operator: *"),
        ("a**", "bad repetition operator: **"),
        ("a{1001}", "invalid repetition size: {1001}"),
        ("a{2,1}", "invalid repetition size: {2,1}"),
        ("[b-a]", "invalid character class range: b-a"),
        ("[[:word:]-[:nix:]]", "invalid character class range: [:nix:]"),
        (r"\p{Nothing}", r"invalid character class range: \p{Nothing}"),
        (r"\1", r"invalid escape sequence: \1"),
        (r"\Z", r"invalid escape sequence: \Z"),
        (r"\x{110000}", r"invalid escape sequence: \x{110000"),
        ("a\\", "trailing \\"),
        ("(?=a)", "invalid perl operator: (?="),
        ("(?P<n", "invalid named capture group: (?P<n"),
        ("a\udcff", "invalid UTF-8"),
        ("(a{1000}){1000}", "invalid repetition size: {1000}"),
        (r"\pL{1000}", "pattern too large - compile failed"),
    ],
)
def test_what_is_no_expression_is_refused_in_re2s_words(pattern, why):
    with pytest.raises(InvalidArgument) as refused:
        searcher(pattern, MEMORY_BYTES)
    assert refused.value.message == why


def test_an_expression_that_makes_backtracking_explode_takes_linear_time():
    assert not searcher("^(a|a|aa)+(a+)+$", MEMORY_BYTES)("a" * 20_000 + "b")


def test_an_expression_whose_states_do_not_fit_its_memory_finds_the_same():
    search = searcher("^(?:[ab]*a[ab]{11}c)+$", 4096)
    text = "".join("ab"[number.bit_count() & 1] for number in range(4000))
    assert search(f"{text}a{'b' * 11}c")
    assert not search(f"{text}b{'b' * 11}c")


# Where Python's and RE2's syntax agree, the two engines must agree on every text.
atoms = st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", r"\d", r"\w", r"\b", "^", "(?:a|b)", "(?:ab)", "(?i:B)"])
repeated = st.tuples(atoms, st.sampled_from(["", "*", "+", "?", "{0,2}", "{2}", "*?"])).map(
    lambda pair: f"(?:{pair[0]}){pair[1]}"
)
rows = st.lists(repeated, min_size=1, max_size=4).map("".join)
patterns = st.lists(rows, min_size=1, max_size=3).map("|".join)


@given(patterns, st.text("abcB1 \n", max_size=8))
def test_both_engines_agree_where_their_syntax_does(pattern, text):
    assert searcher(pattern, MEMORY_BYTES)(text) is (re.search(pattern, text, re.ASCII) is not None)


@given(st.text(st.sampled_from(r"ab(){}[]^$.*+?|\\-,:<>PQEdwpLxi012"), max_size=16))
def test_any_text_is_compiled_or_refused(pattern):
    with contextlib.suppress(InvalidArgument):
        assert searcher(pattern, MEMORY_BYTES)("ab-1(Q") in (True, False)
