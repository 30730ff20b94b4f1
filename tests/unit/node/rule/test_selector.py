from __future__ import annotations

import contextlib

import pytest
from holdfast.errors import InvalidArgument
from holdfast.node.rule.selector import parse_selector
from hypothesis import given
from hypothesis import strategies as st

LABELS = {"app": "postgres", "tier": "db", "cnpg.io/cluster": "main"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("app=postgres", True),
        ("app==postgres", True),
        ("app = postgres", True),
        ("app=mysql", False),
        ("app!=mysql", True),
        ("missing!=x", True),
        ("app=postgres,tier=web", False),
        ("app=postgres, tier=db", True),
        ("cnpg.io/cluster", True),
        ("missing", False),
        ("!missing", True),
        ("!app", False),
        ("tier in (web, db)", True),
        ("tier notin (web,db)", False),
        ("missing notin (a)", True),
        ("app=post*", True),
        ("app=", False),
    ],
)
def test_a_selector_means_what_kubectl_means(text, expected):
    assert parse_selector(text).holds(LABELS) is expected


@pytest.mark.parametrize("text", ["", " ", "=x", "a in b", "a in (b", "a=b,", ",", "a=b=c(", "!"])
def test_what_is_no_selector_is_refused_with_the_place(text):
    with pytest.raises(InvalidArgument, match="label selector"):
        parse_selector(text)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(InvalidArgument):
        assert parse_selector(text).requirements
