import contextlib

import pytest
from holdfast.errors import InvalidArgument
from holdfast.filters.grammar import Comparison, Operator, parse
from hypothesis import given
from hypothesis import strategies as st

EQUAL, NOT_EQUAL, MATCHES, PRESENT = Operator.EQUAL, Operator.NOT_EQUAL, Operator.MATCHES, Operator.PRESENT


@pytest.mark.parametrize(
    ("text", "selectors"),
    [
        ("", ()),
        ("name", (Comparison(("name",)),)),
        ("name==foo", (Comparison(("name",), EQUAL, "foo"),)),
        ("name!=foo,labels.bar", (Comparison(("name",), NOT_EQUAL, "foo"), Comparison(("labels", "bar")))),
        ('labels."very complex label"==something', (Comparison(("labels", "very complex label"), EQUAL, "something"),)),
        ('labels."a.b"', (Comparison(("labels", "a.b")),)),
        ("0._x9", (Comparison(("0", "_x9")),)),
        ("  a  ==  b", (Comparison(("a",), EQUAL, "b"),)),
        ("a, b , c".replace(" ,", ","), (Comparison(("a",)), Comparison(("b",)), Comparison(("c",)))),
        ("a . b".replace(" .", "."), (Comparison(("a", "b")),)),
        ("a==foo.bar/b=c\"d'e", (Comparison(("a",), EQUAL, "foo.bar/b=c\"d'e"),)),
        ("a=='x'", (Comparison(("a",), EQUAL, "'x'"),)),
        ("a==\x01b", (Comparison(("a",), EQUAL, "\x01b"),)),
        ("a==größe€", (Comparison(("a",), EQUAL, "größe€"),)),
        ('a==""', (Comparison(("a",), EQUAL, ""),)),
        (r'a=="\a\b\f\n\r\t\v\\\""', (Comparison(("a",), EQUAL, '\a\b\f\n\r\t\v\\"'),)),
        (r'a=="\x41\101\u00e9\U0001F600"', (Comparison(("a",), EQUAL, "AA\u00e9\U0001f600"),)),
        (r'a=="\xc3\xa9\xff"', (Comparison(("a",), EQUAL, "\u00e9\udcff"),)),
        (r'a=="\ud800"', (Comparison(("a",), EQUAL, "\ufffd"),)),
        (r"a~=/^b\/c|d$/", (Comparison(("a",), MATCHES, "^b/c|d$"),)),
        (r'labels."with \\ and \"".post==b', (Comparison(("labels", 'with \\ and "', "post"), EQUAL, "b"),)),
        ('"leading quote".post==b', (Comparison(("leading quote", "post"), EQUAL, "b"),)),
        (
            "name~=牛,labels.moo==true",
            (Comparison(("name",), MATCHES, "牛"), Comparison(("labels", "moo"), EQUAL, "true")),
        ),
        ("name~=|牛|,moo", (Comparison(("name",), MATCHES, "牛"), Comparison(("moo",)))),
        ("name~=[abc]+,foo", (Comparison(("name",), MATCHES, "[abc]+"), Comparison(("foo",)))),
        (r"name~=[abc]\+", (Comparison(("name",), MATCHES, r"[abc]\+"),)),
        ("name~=/[abc]{0,2}/,foo", (Comparison(("name",), MATCHES, "[abc]{0,2}"), Comparison(("foo",)))),
        (r"a~=|b/c\\d|,e", (Comparison(("a",), MATCHES, r"b/c\d"), Comparison(("e",)))),
    ],
)
def test_what_may_be_written(text, selectors):
    assert parse(text) == selectors


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("bad==", "[bad==]: expected value or quoted"),
        ("labels.", "[labels.]: expected field or quoted"),
        ("image~=,id?=?fbaq", "[image~= >|,|< id?=?fbaq]: expected value or quoted"),
        ("labels.|foo|==a", "[labels. >|||< foo|==a]: invalid quote encountered"),
        ('labels.?"x".post==a', '[labels. >|?|< "x".post==a]: expected field or quoted'),
        ("labels.ns/key==value", "[labels.ns >|/|< key==value]: quoted literal not terminated"),
        ("labels.key==/value", "[labels.key== >|/|< value]: quoted literal not terminated"),
        ('labels."io\nkey"==v', '[labels. >|"|< io\nkey"==v]: quoted literal not terminated'),
        (r'labels."\xaz"', r'[labels. >|"|< \xaz"]: illegal numeric escape sequence'),
        (" ", "[ ]: expected field or quoted"),
        ("a.", "[a.]: expected field or quoted"),
        ("a,", "[a,]: expected field or quoted"),
        (",a", "[ >|,|< a]: expected field or quoted"),
        ("é==x", "[ >|é|< ==x]: expected field or quoted"),
        ("'a'==b", "[ >|'|< a'==b]: expected field or quoted"),
        ("a b", '[a  >|b|< ]: expected an operator ("=="|"!="|"~=")'),
        ("a ", '[a ]: expected an operator ("=="|"!="|"~=")'),
        ("a .b", '[a  >|.|< b]: expected an operator ("=="|"!="|"~=")'),
        ('a "x"==b', '[a  >|"|< x"==b]: expected an operator ("=="|"!="|"~=")'),
        ('a "x', '[a  >|"|< x]: quoted literal not terminated'),
        ("a=b", '[a >|=|< b]: unsupported operator "="'),
        ("a===b", '[a >|=|< ==b]: unsupported operator "==="'),
        ("a!~b", '[a >|!|< ~b]: unsupported operator "!~"'),
        ("a==,b", "[a== >|,|< b]: expected value or quoted"),
        ("a==.b", "[a== >|.|< b]: expected value or quoted"),
        ("a== ==b", "[a==  >|=|< =b]: expected value or quoted"),
        ("a==b c", "[a==b >| |< c]: unexpected input:  "),
        ('a=="b"c', '[a=="b" >|c|< ]: unexpected input: c'),
        ("a==b\0", "[a==b >|\0|< ]: unexpected input: \ufffd"),
        ("a\0", "[a >|\0|< ]: unexpected null"),
        ("a\ufffd", "[a >|\ufffd|< ]: rune error"),
        ("a==/b/", "[a== >|/|< b/]: invalid quote encountered"),
        ("a!=|b|", "[a!= >|||< b|]: invalid quote encountered"),
        ("/a/==b", "[ >|/|< a/==b]: invalid quote encountered"),
        ('"a', '[ >|"|< a]: quoted literal not terminated'),
        ('a=="b\nc"', '[a== >|"|< b\nc"]: quoted literal not terminated'),
        ('a=="\0"', '[a== >|"|< \0"]: unexpected null'),
        (r'a=="\q"', r'[a== >|"|< \q"]: illegal escape sequence'),
        (r"a~=/\d/", r"[a~= >|/|< \d/]: illegal escape sequence"),
        ('a=="\\', '[a== >|"|< \\]: illegal escape sequence'),
        (r'a=="\x4"', r'[a== >|"|< \x4"]: illegal numeric escape sequence'),
        (r'a=="\08"', r'[a== >|"|< \08"]: illegal numeric escape sequence'),
        (r'a=="\777"', r'[a== >|"|< \777"]: unquoting failed: quote syntax error'),
        (r'a=="\U00110000"', r'[a== >|"|< \U00110000"]: unquoting failed: quote syntax error'),
    ],
)
def test_the_rest_is_refused_in_containerds_words_with_the_place_marked(text, error):
    with pytest.raises(InvalidArgument) as refused:
        parse(text)
    assert str(refused.value) == f"filters: parse error: {error}: invalid argument"


@given(st.text(alphabet=st.sampled_from('ab0_.,=!~"/|\\xu0 \n\0é\ufffd') | st.characters(), max_size=20))
def test_any_text_is_parsed_or_refused(text):
    with contextlib.suppress(InvalidArgument):
        assert all(selector.path for selector in parse(text))


def quoted(text):
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
comparisons = st.builds(Comparison, st.tuples(words) | st.tuples(words, words), st.sampled_from(list(Operator)), words)


@given(st.lists(comparisons, min_size=1, max_size=3))
def test_whatever_is_quoted_comes_back(selectors):
    text = ",".join(
        ".".join(map(quoted, each.path)) + (each.operator.value and each.operator.value + quoted(each.value))
        for each in selectors
    )
    expected = tuple(each if each.operator is not PRESENT else Comparison(each.path) for each in selectors)
    assert parse(text) == expected
