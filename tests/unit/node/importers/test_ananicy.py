from __future__ import annotations

import json

import pytest
from holdfast.errors import InvalidArgument
from holdfast.node.importers.ananicy import MAX_CMDLINES, from_ananicy
from holdfast.node.rule.compile import compile_rules

from tests.fakes.placement import process

ANANICY = """\
# types
{"type": "Service", "nice": 19, "ioclass": "idle", "oom_score_adj": 300}
{ "cgroup": "cpu80", "CPUQuota": 80 }

{"name": "make", "type": "Service"}            # comment at the end
{"name": "plasmashell", "nice": -3, "oom_score_adj": 100}
{"name": "gcc", "cgroup": "cpu80", "nice": 19}
{"name": "chrome", "nice": 1}
{"name": "unattended-upgrades", "oom_score_adj": 1000}
{"name": "x", "type": "Missing", "colour": "red"}
{"name": "y", "cgroup": "nowhere"}
{"name": "z", "oom_score_adj": "low"}
"""


def test_its_rules_become_ours_and_the_rest_is_listed():
    imported = from_ananicy({"a": ANANICY})
    assert imported.rules == [
        {"name": "make", "match": {"comm": "make"}, "oom_score_adj": 300},
        {"name": "plasmashell", "match": {"comm": "plasmashell"}, "oom_score_adj": 100},
        {"name": "gcc", "match": {"comm": "gcc"}, "cgroup": {"path": "/ananicy/cpu80", "controllers": ["cpu"]}},
        {
            "name": "unattended-upgrades",
            "match": {"exe": "**/unattended-upgrades"},
            "oom_score_adj": 1000,
        },
    ]
    assert [(int(lost.where.removeprefix("a:")), lost.what) for lost in imported.lost] == [
        (5, "make: nice 19"),
        (5, "make: ioclass idle"),
        (6, "plasmashell: nice -3"),
        (7, "gcc: nice 19"),
        (7, "cpu80: CPUQuota 80"),
        (8, "chrome: nice 1"),
        (10, 'type "Missing"'),
        (10, "x: colour red"),
        (11, 'cgroup "nowhere"'),
        (12, "oom_score_adj low"),
    ]


def decided(text, **given):
    """The value the imported rules give a process, None for none."""
    rules = from_ananicy({"f": text})
    match = compile_rules(rules.checked()).own_match(process(**given))
    return next((rule["oom_score_adj"] for rule in rules.rules if match and rule["name"] == match.name), None)


def lines(*rules):
    return "\n".join(json.dumps(rule) for rule in rules)


@pytest.mark.parametrize(
    ("rules", "value"),
    [
        ([{"oom_score_adj": 1}, {"oom_score_adj": 2}], 2),  # the last definition
        ([{"oom_score_adj": 1}, {}], None),  # without properties: switched off
        ([{"oom_score_adj": 1}, {"nice": 5}], None),
        ([{"oom_score_adj": 1}, {"oom_score_adj": None}], None),
        ([{"oom_score_adj": 1}, {"cmdlines": [], "oom_score_adj": 2}], 2),
    ],
)
def test_the_last_definition_of_a_name_is_in_force(rules, value):
    assert decided(lines(*({"name": "rustc", **rule} for rule in rules)), comm="rustc") == value


def test_what_an_overridden_definition_lacks_is_not_told():
    imported = from_ananicy({"a": '{"name": "x", "nice": 1}', "b": '{"name": "x", "oom_score_adj": 1}'})
    assert imported.lost == []


def test_the_types_last_definition_counts_wherever_it_stands():
    text = lines({"name": "x", "type": "T"}, {"type": "T", "oom_score_adj": 1}, {"type": "T", "oom_score_adj": 2})
    assert decided(text, comm="x") == 2


def test_cmdlines_narrow_a_rule_to_processes_with_all_of_these_arguments():
    text = lines({"name": "java", "cmdlines": ["Main", "--batch"], "oom_score_adj": 800})
    for words, value in {
        "java Main --batch": 800,
        "java --batch -cp x Main": 800,
        "java Main": None,
        "java Mainly --batch": None,
        "java --batchMain": None,
        "java -jar server.jar": None,
    }.items():
        assert decided(text, comm="java", cmdline=tuple(words.split())) == value, words
    assert decided(text, comm="python", cmdline=("Main", "--batch")) is None


@pytest.mark.parametrize(
    ("text", "batch", "server"),
    [
        (lines({"name": "java", "cmdlines": ["B"], "oom_score_adj": 8}, {"name": "java", "oom_score_adj": 1}), 8, 1),
        (lines({"name": "java", "oom_score_adj": 1}, {"name": "java", "cmdlines": ["B"], "oom_score_adj": 8}), 1, 1),
        (lines({"name": "java"}, {"name": "java", "cmdlines": ["B"], "oom_score_adj": 8}), None, None),
    ],
)
def test_of_the_rules_of_one_name_the_first_defined_decides(text, batch, server):
    assert decided(text, comm="java", cmdline=("java", "B")) == batch
    assert decided(text, comm="java", cmdline=("java", "S")) == server


def test_a_rule_with_cmdlines_that_does_nothing_keeps_its_processes_from_the_next():
    text = lines({"name": "java", "cmdlines": ["B"]}, {"name": "java", "oom_score_adj": 8})
    assert decided(text, comm="java", cmdline=("java", "B")) == {"at_least": -1000}  # which changes nothing
    assert decided(text, comm="java", cmdline=("java", "S")) == 8


def test_more_cmdlines_than_we_can_write_leave_the_name_out_and_it_is_told():
    many = [f"a{at}" for at in range(MAX_CMDLINES + 1)]
    imported = from_ananicy(
        {"f": lines({"name": "j", "cmdlines": many, "oom_score_adj": 8}, {"name": "j", "oom_score_adj": 1})}
    )
    assert (imported.rules, [lost.what for lost in imported.lost]) == ([], ["j: 4 cmdlines"])


@pytest.mark.parametrize("name", ["*", "?", "re:.*", "post*"])
def test_a_name_is_compared_exactly_whatever_our_patterns_mean(name):
    text = lines({"name": name, "oom_score_adj": 1})
    assert decided(text, comm="postgres") is None
    assert decided(text, comm=name) == 1


@pytest.mark.parametrize("name", ["", 5, None, ["x"], "a\0", "\ud800", "bin/a-name-of-many-letters"])
def test_a_name_that_no_program_has_is_no_rule(name):
    assert from_ananicy({"f": lines({"name": name, "oom_score_adj": 1})}).rules == []


@pytest.mark.parametrize("value", [True, 1.5, "300", 1001, [1], 10**400])
def test_a_value_that_is_no_adjustment_is_told(value):
    imported = from_ananicy({"f": lines({"name": "x", "oom_score_adj": value})})
    assert (imported.rules, [lost.why for lost in imported.lost]) == ([], ["not a whole number between -1000 and 1000"])


@pytest.mark.parametrize("group", ["..", "a/../b", "", "/", "a\0"])
def test_a_group_that_is_none_is_told(group):
    imported = from_ananicy({"f": lines({"cgroup": group, "CPUQuota": 5}, {"name": "x", "cgroup": group})})
    assert (imported.rules, [lost.why for lost in imported.lost]) == ([], ["no group below the root"])


def test_a_line_that_is_no_rule_is_skipped_as_ananicy_skips_it():
    imported = from_ananicy({"f": '\ufeff{"name": "x", "oom_score_adj": 1}\r\nnot json\n[1]\n' + "[" * 5000})
    assert [rule["name"] for rule in imported.rules] == ["x"]
    assert [lost.where for lost in imported.lost] == ["f:2", "f:3", "f:4"]


@pytest.mark.parametrize("text", ["\n{name: x}", "\n[1]", "# x\nuser cpu"])
def test_a_file_without_any_rule_is_refused_with_the_line(text):
    with pytest.raises(InvalidArgument, match=r"^f:2: .*: not an ananicy rule"):
        from_ananicy({"f": text})


def test_a_long_name_is_matched_by_the_programs_file():
    book = compile_rules(from_ananicy({"a": ANANICY}).checked())
    long = process(comm="unattended-upgr", exe="/usr/bin/unattended-upgrades")
    assert book.own_match(long).name == "unattended-upgrades"
    assert book.own_match(process(comm="unattended-upgr", exe="/usr/bin/unattended-upgrader")) is None
