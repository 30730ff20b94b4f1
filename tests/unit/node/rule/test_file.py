from __future__ import annotations

import msgspec
import pytest
from holdfast.errors import ConfigError
from holdfast.node.rule.file import read_bundle, read_rules
from holdfast.node.rule.schema import INTERLOCKS, Rule

RULE = "{name: x, match: {comm: a}, oom_score_adj: 5}"


@pytest.mark.parametrize(
    ("text", "builtin_rules"),
    [
        (f"- {RULE}", "none"),
        (f"rules: [{RULE}]", "preview"),
        (f"plugins:\n  io.holdfast.placement.v1.rules:\n    rules: [{RULE}]\n    builtin_rules: [batch]", ("batch",)),
    ],
)
def test_a_list_a_section_and_a_configuration_are_read(text, builtin_rules):
    config = read_rules(text, "my.yaml")
    assert [rule.name for rule in config.rules] == ["x"]
    assert config.builtin_rules == builtin_rules


def test_the_old_name_of_builtin_rules_means_the_same_and_both_are_refused():
    assert read_rules("shipped: [batch]", "f").builtin_rules == ("batch",)
    with pytest.raises(ConfigError, match=r"^f:2: builtin_rules: f:1 has shipped, the old name of the same key"):
        read_rules("shipped: all\nbuiltin_rules: all", "f")


def test_nothing_is_the_defaults():
    assert read_rules("", "my.yaml").rules == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "- name: x\n  match: {comm: 're:('}\n  oom_score_adj: 1",
            'my.yaml:1: rules[0]: rule "x": match.comm: "re:(" is not a regular expression',
        ),
        (
            "- {name: x, match: {com: a}, oom_score_adj: 1}",
            'my.yaml:1: rules[0].match.com: unknown key; did you mean "comm"?',
        ),
        ("- {name: x, match: {comm: a}, oom_score_adj: 2000}", "my.yaml:1: rules[0].oom_score_adj: expected"),
        (f"- {RULE}\n- {RULE}", "my.yaml:2: rules[1].name: there is a rule x already"),
        (
            f"- {RULE}\n- {{name: y, match: {{comm: b}}, cgroup: {{path: ../b}}}}",
            'my.yaml:2: rules[1]: rule "y": cgroup.path: "../b" must name a group below the root',
        ),
        (
            "- {name: annotation, match: {comm: x}, oom_score_adj: 1}",
            "my.yaml:1: rules[0].name: annotation stands for what pods ask for by annotation; take another",
        ),
        (
            "- {name: hold, match: {comm: x}, oom_score_adj: 1}",
            'my.yaml:1: rules[0]: rule "hold": name: hold stands for overrides (`holdfast hold`); take another',
        ),
        (
            "rules: []\nbuiltin_rules: [nginx]",
            'my.yaml:2: builtin_rules: there are no built-in rules "nginx"; there are batch, ',
        ),
        (
            "builtin_namespaces:\n  pg: [db]",
            'my.yaml:2: builtin_namespaces.pg: there are no built-in rules "pg"; there are batch, ',
        ),
        (
            'builtin_namespaces:\n  postgresql: ["team-*"]',
            'my.yaml:2: builtin_namespaces.postgresql: "team-*" is not the exact name of a namespace',
        ),
        (
            "annotations:\n- namespaces: a\n- namespaces: 're:('",
            'my.yaml:3: annotations[1].namespaces: "re:(" is not a regular expression',
        ),
        (
            'annotations:\n- namespaces: [db, "team-*"]\n  oom_score_adj: {min: 1}',
            'my.yaml:2: annotations[0].namespaces: "team-*" is not the exact name of a namespace',
        ),
        (
            "annotations:\n- namespaces: re:team\n  oom_score_adj: {min: 1}",
            'my.yaml:2: annotations[0].namespaces: "re:team" is not the exact name of a namespace: any user that '
            "may create one that fits would get these values; name each, or say trust_claims: true",
        ),
        ("rules: [", "my.yaml:2: not YAML"),
    ],
)
def test_a_bad_file_is_one_line_with_the_place(text, message):
    with pytest.raises(ConfigError) as refused:
        read_rules(text, "my.yaml")
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def bundle(**more):
    rule = {"name": "x", "match": {"exe": "/usr/bin/a", "user": 0}, "cgroup": {"path": "/a"}, **more}
    return [("rules.yaml", msgspec.json.encode([rule]).decode())]


@pytest.mark.parametrize("key", INTERLOCKS)
def test_a_bundle_lifts_an_interlock_only_where_the_node_lets_it(key):
    with pytest.raises(ConfigError) as refused:
        read_bundle(bundle(**{key: True}), ())
    assert str(refused.value).startswith(f'rules.yaml: rule "x": {key}: this node does not let a bundle lift it: add')
    assert [rule.name for rule in read_bundle(bundle(**{key: True}), (key,))] == ["x"]
    assert [rule.name for rule in read_bundle(bundle(**{key: False}), ())] == ["x"]


def test_a_bundle_does_not_end_a_dry_run_of_the_node():
    with pytest.raises(ConfigError, match=r'rules.yaml: rule "x": dry_run: false'):
        read_bundle(bundle(dry_run=False))
    assert [rule.dry_run for rule in read_bundle(bundle(dry_run=True))] == [True]


def test_every_switch_of_a_rule_is_an_interlock_or_known_to_lift_nothing():
    switches = {field.name for field in msgspec.structs.fields(Rule) if field.default is False}
    assert switches - {"only_if_inherited", "yields_to_annotations"} == set(INTERLOCKS)
