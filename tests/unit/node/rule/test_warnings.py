"""Rules that cannot be meant: they decide for no process, or name values that are not written or unknown users."""

from __future__ import annotations

import msgspec
import pytest
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import Match, PlacementConfig
from holdfast.node.rule.warnings import covers, warnings_of
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.placement import process


def config(*rules, **more):
    named = [{"name": f"r{at}", "oom_score_adj": 1, **rule} for at, rule in enumerate(rules)]
    return msgspec.convert({"rules": named, **more}, PlacementConfig)


def warned(*rules, users=None):
    known = {"root": 0} if users is None else users
    return warnings_of(config(*rules), known.get)


def match(**keys):
    return msgspec.convert(keys, Match)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ({"comm": "*"}, {"comm": "x", "user": 0}),
        ({"comm": "post*"}, {"comm": "postgres"}),
        ({"comm": ["a", "b"]}, {"comm": "b"}),
        ({"comm": "a"}, {"comm": "a", "cmdline": "*x*"}),
        ({"exe": "/usr/bin/*"}, {"exe": "/usr/bin/x"}),
        ({"cgroup": "/batch.slice/**"}, {"cgroup": "/batch.slice/a*/b"}),
        ({"cgroup": "/batch.slice/**"}, {"cgroup": "/batch.slice"}),
        ({"user": "1000-2000"}, {"user": ["1500", "1600-1700"]}),
        ({"user": ["www", 0]}, {"user": "www"}),
        ({"pod": True}, {"pod": {"namespace": "db"}}),
        ({"pod": {"namespace": "db*"}}, {"pod": {"namespace": "db", "labels": "a=b"}}),
        ({"pod": {"labels": ["a=b", "c"]}}, {"pod": {"labels": "c"}}),
        ({"comm": "a", "descendants": True}, {"comm": "a"}),
        ({"comm": "a"}, {"comm": "a", "leader": True}),
    ],
)
def test_a_match_covers_a_narrower_one(wide, narrow):
    assert covers(match(**wide), match(**narrow))
    assert not covers(match(**narrow), match(**wide))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"comm": "a*"}, {"comm": "*b"}),
        ({"comm": "a"}, {"exe": "/a"}),
        ({"exe": "/usr/*"}, {"exe": "/usr/bin/x"}),
        ({"cgroup": "/*/a/**"}, {"cgroup": "/b/a/*"}),
        ({"comm": "re:a.*"}, {"comm": "re:ab"}),
        ({"user": "1000-2000"}, {"user": "1500-2500"}),
        ({"pod": {"namespace": "db"}}, {"pod": {"labels": "a=b"}}),
        ({"pod": True}, {"comm": "x"}),
        ({"pod": False, "comm": "x"}, {"pod": True, "comm": "x"}),
        ({"comm": "a", "leader": True}, {"comm": "a", "leader": False}),
    ],
)
def test_what_is_not_certain_is_not_covered(one, other):
    assert not covers(match(**one), match(**other))
    assert not covers(match(**other), match(**one))


def test_a_rule_that_an_earlier_one_covers_is_named_with_it():
    ((path, words),) = warned({"match": {"comm": "a*"}}, {"match": {"comm": "b"}}, {"match": {"comm": "ab"}})
    assert path == ("rules", 2, "match")
    assert words.startswith('rule "r2" decides for no process: rule "r0" before it')


def test_two_values_for_one_file_of_one_group_are_named():
    def rule(comm, path="/x", **settings):
        return {"match": {"comm": comm}, "cgroup": {"path": path, "settings": settings}}

    big, small = {"memory.max": "1Gi"}, {"memory.max": "1Mi", "pids.max": 5}
    ((path, words),) = warned(rule("a", **big), rule("b", **small), rule("c", "/y", **small))
    assert path == ("rules", 1, "cgroup", "settings", "memory.max")
    assert 'rule "r0" before it has another value for the same file of /x' in words
    assert warned(rule("a", **big), rule("b", **{"memory.max": 1 << 30})) == ()
    assert warned(rule("a", **{"io.max": "8:0 rbps=5"}), rule("b", **{"io.max": "8:16 rbps=6"})) == ()


def test_users_that_hold_for_nobody_are_named():
    found = warned({"match": {"user": ["2000-1000", "nosuch", "root", 5, "1-2"]}})
    assert [path for path, _ in found] == [("rules", 0, "match", "user")] * 2
    assert "write 1000-2000" in found[0][1]
    assert 'no user "nosuch"' in found[1][1]
    assert warnings_of(config({"match": {"user": "nosuch"}})) == ()


WORDS = st.sampled_from(["a", "ab", "b", "a*", "*", "?b", "**", "/a", "/a/b", "/a/**", "/a/*", "/**", "**/b"])
MATCHES = st.fixed_dictionaries(
    {"comm": st.just("x*") | WORDS.filter(lambda word: not word.startswith("/"))},
    optional={
        "exe": WORDS,
        "cgroup": st.sampled_from(["/a", "/a/b", "/a/**", "/a/*", "/**", "**/b"]),
        "user": st.sampled_from([0, "0-5", "3-4", "5", ("1", "2-9")]),
        "pod": st.just(False),
    },
)
PROCESSES = st.builds(
    lambda comm, exe, group, uid: process(comm=comm, exe=exe, cgroups={"": group}, uid=uid),
    st.sampled_from(["a", "ab", "b", "xb"]),
    st.sampled_from(["", "/a", "/a/b", "/b"]),
    st.sampled_from(["/", "/a", "/a/b", "/a/b/c"]),
    st.integers(0, 9),
)


@given(MATCHES, MATCHES, PROCESSES)
def test_a_rule_is_called_unreachable_only_if_it_is(wide, narrow, some):
    if not covers(match(**wide), match(**narrow)):
        return
    rules = config({"match": wide}, {"match": narrow}).rules
    found = compile_rules(rules).find(some)
    assert found is None or found.rule.name == "r0"
