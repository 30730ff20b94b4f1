"""Promises of both importers for any text, and the printed result."""

from __future__ import annotations

import json
from types import SimpleNamespace

import msgspec
import pytest
import yaml
from holdfast.errors import InvalidArgument
from holdfast.node.importers import imported as module
from holdfast.node.importers.ananicy import from_ananicy
from holdfast.node.importers.cgrules import from_cgrules
from holdfast.node.importers.imported import Imported, as_yaml
from holdfast.node.rule.file import read_rules
from holdfast.node.rule.schema import Rule
from hypothesis import example, given
from hypothesis import strategies as st

_WORDS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "*",
            "re:(",
            "a*",
            "/opt/*",
            "x" * 16,
            "é" * 9,
            "/bin/" + "y" * 16,
            "../x",
            "..",
            "/",
            "1000",
            "1-2",
            "%u",
            "\ud800",
            "a\n- b",
        ]
    ),
)
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _WORDS),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=6,
)
_KEYS = st.sampled_from(["name", "type", "cgroup", "CPUQuota", "oom_score_adj", "cmdlines", "nice", "colour"])
ANANICY = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.dictionaries(_KEYS, st.one_of(_VALUES, st.integers(-1000, 1000)), max_size=5).map(json.dumps),
    ),
    max_size=8,
).map("\n".join)
_FIELDS = st.one_of(
    _WORDS,
    st.sampled_from(
        ["*", "@wheel", "%", "root", "daemon:x", '"*:a b"', "cpu,memory", "ignore", "ignore_rt", "a/b", "\\%u"]
    ),
)
CGRULES = st.lists(st.lists(_FIELDS, max_size=5).map(" ".join), max_size=8).map("\n".join)


def read_cgrules(files):
    """Read them on a machine that knows root alone, and no groups."""
    accounts = SimpleNamespace(uid_of=lambda user: 0 if user == "root" else None, members_of=lambda group: None)
    return from_cgrules(files, accounts)


@pytest.mark.parametrize(("read", "texts"), [(from_ananicy, ANANICY), (read_cgrules, CGRULES)])
def test_any_text_is_refused_in_our_words_or_becomes_rules_that_can_be_used(read, texts):
    @given(texts)
    @example("; \ud800 0")
    def holds(text):
        try:
            imported = read({"f\nname": text})
        except InvalidArgument:
            return
        document = as_yaml(imported, "a\nsource", every=True)
        assert read_rules(document.encode().decode(), "printed").rules == imported.checked()

    holds()


def test_what_is_lost_often_for_one_reason_is_one_line_unless_each_is_asked_for():
    many = "".join(f'{{"name": "p{at}", "nice": {at}, "oom_score_adj": 1}}\n' for at in range(9))
    imported = from_ananicy({"a.rules": many})
    head = as_yaml(imported, "x").splitlines()[:4]
    assert head == [
        "# From x: 9 rules, 9 things left behind.",
        "#   a.rules:1: p0: nice 0, and 8 more: CPU priority is not this daemon's work",
        "# Each of them: holdfast rules import --every-loss …",
        "# Try it before it is used: holdfast preview --rules THIS-FILE",
    ]
    assert sum("nice" in line for line in as_yaml(imported, "x", every=True).splitlines()) == 9


def test_what_a_file_says_cannot_end_the_comment_it_stands_in():
    imported = from_ananicy({"f": json.dumps({"name": "x", "colour": "red\nrules: []\n#", "oom_score_adj": 1})})
    assert [rule["name"] for rule in yaml.safe_load(as_yaml(imported, "a\nb"))["rules"]] == ["x"]


@given(st.lists(st.sampled_from(["a", "A b", "a/b", "é", "-"]), min_size=1, max_size=6))
def test_names_are_legal_and_never_twice(names):
    imported = Imported()
    for name in names:
        imported.add(name, {"match": {"comm": "x"}, "oom_score_adj": 1})
    assert len({rule["name"] for rule in imported.rules}) == len(names)
    assert all(rule["name"] for rule in imported.rules)


def test_a_rule_that_protects_says_that_it_goes_by_a_name(monkeypatch):
    class Trusting(msgspec.Struct):
        trust_claims: bool = False

    monkeypatch.setattr(module, "Rule", Trusting)
    text = "".join(f'{{"name": "p{value}", "oom_score_adj": {value}}}\n' for value in (-5, 0, 5))
    imported = from_ananicy({"f": text})
    assert [rule.get("trust_claims") for rule in imported.rules] == [True, True, None]
    assert "# trust_claims: the tool knows a program by its name" in as_yaml(imported, "f")
    monkeypatch.setattr(module, "Rule", Rule)


def test_a_file_that_is_no_text_is_refused():
    for read in (from_ananicy, read_cgrules):
        with pytest.raises(InvalidArgument, match=r"^f: a NUL character"):
            read({"f": "a\0b"})
