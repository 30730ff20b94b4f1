"""The alerts as promtool reads them: well-formed, and firing when they should and only then."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.chart.alert_cases import CASES
from tests.chart.kit import CHART, REPOSITORY, one, ran
from tests.needs import path_of, peer

pytestmark = peer("helm4", "promtool")
WITH_RULES = {"metrics.prometheusRule.enabled": True}


@pytest.fixture
def rules(helm, tmp_path):
    """The rendered groups in a file of Prometheus's own form, and as objects."""
    spec = one(helm.template(WITH_RULES), "PrometheusRule")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    return {rule["alert"]: rule for rule in spec["groups"][0]["rules"]}


def promtool(*words):
    return ran(path_of("promtool"), *words)


def test_promtool_finds_the_rules_sound(rules, tmp_path):
    done = promtool("check", "rules", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CASES)} rules found" in done.stdout


def test_every_alert_has_a_case(rules):
    assert set(rules) == set(CASES)


def test_each_alert_fires_when_it_should_and_not_otherwise(rules, tmp_path):
    tests = [
        {
            "name": f"{name}: {case.says}",
            "interval": "1m",
            "input_series": [{"series": key, "values": values} for key, values in case.series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)',
                    "eval_time": f"{case.minutes}m",
                    "exp_samples": [{"labels": "{}", "value": case.firing}],
                }
            ],
        }
        for name, cases in CASES.items()
        for case in cases
    ]
    (tmp_path / "tests.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests})
    )
    done = promtool("test", "rules", tmp_path / "tests.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_cases_in_which_it_fires_and_one_in_which_it_is_silent():
    for name, cases in CASES.items():
        assert {bool(case.firing) for case in cases} == {True, False}, name


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in CASES.items() for case in cases if case.firing], ids=str
)
def test_an_alert_s_words_name_only_labels_that_its_expression_leaves(rules, tmp_path, name, case):
    """Promtool prints a summary with a label that is not there as an empty space; here every alert is printed."""
    test = {
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in case.series.items()],
        "alert_rule_test": [{"alertname": name, "eval_time": f"{case.minutes}m", "exp_alerts": []}],
    }
    (tmp_path / "words.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]})
    )
    said = promtool("test", "rules", tmp_path / "words.yaml").stderr
    words = re.findall(r'(?:summary|description)="((?:[^"\\]|\\.)*)"', said)
    assert len(words) >= 2, said
    for line in words:
        assert not re.search(r"  | [.,;:)]|\(\)|^ | $|<no value>", line.replace("\\n", "")), line


def test_every_alert_has_a_section_of_the_operations_page_behind_its_runbook_url(rules):
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for name, rule in rules.items():
        where, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert where == "https://github.com/holdfast/holdfast/blob/main/docs/operations.md"
        assert anchor in anchors, name
    assert {heading for heading in headings if heading.startswith("Holdfast")} == set(rules)


def test_an_alert_can_be_left_out_and_labelled(helm):
    values = {**WITH_RULES, "metrics.prometheusRule.disabled": ["HoldfastDown"]}
    found = one(helm.template({**values, "metrics.prometheusRule.alertLabels": {"team": "node"}}), "PrometheusRule")
    left = found["spec"]["groups"][0]["rules"]
    assert {rule["alert"] for rule in left} == set(CASES) - {"HoldfastDown"}
    assert {rule["labels"]["team"] for rule in left} == {"node"}


def test_the_alerts_follow_the_release_s_names(helm):
    values = {**WITH_RULES, "fullnameOverride": "guard", "namespaceOverride": "kube-system", "nameOverride": "hf"}
    rules = one(helm.template(values), "PrometheusRule")["spec"]["groups"][0]["rules"]
    words = " ".join(rule["expr"] for rule in rules)
    assert 'daemonset="guard"' in words
    assert 'namespace="kube-system"' in words
    assert 'job="hf"' in words
    assert "@" not in words


def test_the_file_is_the_chart_s_one_source():
    groups = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    assert {rule["alert"] for group in groups for rule in group["rules"]} == set(CASES)
