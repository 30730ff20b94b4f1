from __future__ import annotations

import json

import msgspec
import pytest
import yaml
from holdfast.errors import InvalidArgument
from holdfast.node.importers.foreign import as_yaml, from_ananicy, from_cgrules
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.schema import Rule
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.placement import process

ANANICY = """\
# types
{"type": "Service", "nice": 19, "ioclass": "idle", "oom_score_adj": 300}
{ "cgroup": "cpu80", "CPUQuota": 80 }

{"name": "make", "type": "Service"}            # comment at the end
{"name": "plasmashell", "nice": -3, "oom_score_adj": -100}
{"name": "gcc", "cgroup": "cpu80", "nice": 19}
{"name": "chrome", "nice": 1}
{"name": "unattended-upgrades", "oom_score_adj": -1000}
{"name": "x", "type": "Missing", "colour": "red"}
{"name": "y", "cgroup": "nowhere"}
{"name": "z", "oom_score_adj": "low"}
"""


def test_ananicys_rules_become_ours_and_the_rest_is_listed():
    imported = from_ananicy({"a": ANANICY})
    assert imported.rules == [
        {"name": "make", "match": {"comm": "make"}, "oom_score_adj": 300},
        {
            "name": "plasmashell",
            "match": {"comm": "plasmashell"},
            "oom_score_adj": -100,
            "trust_claims": True,
        },
        {"name": "gcc", "match": {"comm": "gcc"}, "cgroup": {"path": "/ananicy/cpu80", "controllers": ["cpu"]}},
        {
            "name": "unattended-upgrades",
            "match": {"exe": "**/unattended-upgrades"},
            "oom_score_adj": -999,
            "trust_claims": True,
        },
        {"name": "y", "match": {"comm": "y"}, "cgroup": {"path": "/ananicy/nowhere", "controllers": ["cpu"]}},
    ]
    assert [(int(lost.where.removeprefix("a:")), lost.what) for lost in imported.lost] == [
        (5, "make: nice 19"),
        (5, "make: ioclass idle"),
        (6, "plasmashell: nice -3"),
        (6, "oom_score_adj -100"),
        (7, "gcc: nice 19"),
        (7, "cpu80: CPUQuota 80"),
        (8, "chrome: nice 1"),
        (9, "oom_score_adj -1000"),
        (9, "oom_score_adj -1000"),
        (10, 'type "Missing"'),
        (10, "x: colour red"),
        (11, 'cgroup "nowhere"'),
        (12, "oom_score_adj low"),
    ]


CGRULES = """\
# <user>  <controllers>  <destination>
peter        cpu            test1/
%            memory         test1
%            pids           test2/
student:cp   devices        usergroup/students/cp   # copying
*:/usr/bin/firefox-long-name * browsers
*:a-program-with-a-long-name memory long
@admin       *              admingroup/
*            cpu            default/%u
*:top        cpu            x   ignore
*            *              /
*            *              default
"""


def test_cgrules_become_ours_and_the_rest_is_listed():
    imported = from_cgrules({"c": CGRULES})
    assert imported.rules == [
        {"name": "peter", "match": {"user": "peter"}, "cgroup": {"path": "/test1", "controllers": ["cpu"]}},
        {
            "name": "student-cp",
            "match": {"user": "student", "comm": "cp"},
            "cgroup": {"path": "/usergroup/students/cp", "controllers": ["devices"]},
        },
        {"name": "firefox-long-name", "match": {"exe": "/usr/bin/firefox-long-name"}, "cgroup": {"path": "/browsers"}},
        {
            "name": "a-program-with-a-long-name",
            "match": {"exe": "**/a-program-with-a-long-name"},
            "cgroup": {"path": "/long", "controllers": ["memory"]},
        },
        {"name": "rule", "match": {"comm": "*"}, "cgroup": {"path": "/default"}},
    ]
    assert [lost.where for lost in imported.lost] == ["c:3", "c:4", "c:8", "c:9", "c:10", "c:11"]


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


@pytest.mark.parametrize(
    ("read", "text"), [(from_ananicy, "\n{name: x}"), (from_ananicy, "\n[1]"), (from_cgrules, "# x\nuser cpu")]
)
def test_what_is_not_such_a_file_is_refused_with_the_line(read, text):
    with pytest.raises(InvalidArgument, match=r"^f:2: "):
        read({"f": text})


def test_what_is_written_is_read_back_as_rules_that_compile():
    for read, text in ((from_ananicy, ANANICY), (from_cgrules, CGRULES)):
        imported = read({"f": text})
        document = as_yaml(imported, "somewhere.rules")
        assert document.startswith(f"# From somewhere.rules: {len(imported.rules)} rules, {len(imported.lost)} things")
        given = yaml.safe_load(document)["rules"]
        book = compile_rules(msgspec.convert(given, tuple[Rule, ...]))
        assert list(book.names) == [rule["name"] for rule in imported.rules]
        assert msgspec.convert(given, tuple[Rule, ...]) == imported.checked()


def test_an_imported_rule_matches_what_the_tool_matched():
    book = compile_rules(from_ananicy({"a": ANANICY}).checked())
    assert book.own_match(process(comm="make")).name == "make"
    long = process(comm="unattended-upgr", exe="/usr/bin/unattended-upgrades")
    assert book.own_match(long).name == "unattended-upgrades"


@given(st.lists(st.sampled_from(["a", "A b", "a/b", "é", "-"]), min_size=1, max_size=6))
def test_names_are_legal_and_never_twice(names):
    imported = from_ananicy({"f": "\n".join(json.dumps({"name": name, "oom_score_adj": 1}) for name in names)})
    assert len({rule["name"] for rule in imported.rules}) == len(names)
    assert all(rule["name"] for rule in imported.rules)
