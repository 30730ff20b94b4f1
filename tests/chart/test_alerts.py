"""The alerts as promtool reads them: well-formed, and firing when they should and only then."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.chart.kit import CHART, one
from tests.needs import path_of, peer
from tests.running import PATIENCE_S

pytestmark = peer("helm4", "promtool")
WITH_RULES = {"metrics.prometheusRule.enabled": True}
NODE = 'job="holdfast",node="n1",instance="10.0.0.1:9420"'

#: Alert → series that make it fire, minutes after which it does, series that must not; in promtool's notation.
CASES = {
    "HoldfastDown": ({f"up{{{NODE}}}": "0x20"}, 6, {f"up{{{NODE}}}": "1x20"}),
    "HoldfastNotOnEveryNode": (
        {
            'kube_daemonset_status_desired_number_scheduled{namespace="holdfast",daemonset="holdfast"}': "5x40",
            'kube_daemonset_status_number_ready{namespace="holdfast",daemonset="holdfast"}': "4x40",
        },
        16,
        {
            'kube_daemonset_status_desired_number_scheduled{namespace="holdfast",daemonset="holdfast"}': "5x40",
            'kube_daemonset_status_number_ready{namespace="holdfast",daemonset="holdfast"}': "5x40",
        },
    ),
    "HoldfastRestarting": (
        {f"process_start_time_seconds{{{NODE}}}": "0+10x60"},
        60,
        {f"process_start_time_seconds{{{NODE}}}": "100x60"},
    ),
    "HoldfastConfigRejected": (
        {f"holdfast_config_last_reload_successful{{{NODE}}}": "0x20"},
        6,
        {f"holdfast_config_last_reload_successful{{{NODE}}}": "1x20"},
    ),
    "HoldfastWritesRefused": (
        {f'holdfast_placement_writes_total{{{NODE},field="oom_score_adj",result="refused"}}': "0+1x60"},
        45,
        {f'holdfast_placement_writes_total{{{NODE},field="oom_score_adj",result="done"}}': "0+1x60"},
    ),
    "HoldfastRulesRefused": (
        {f'holdfast_placement_refusals_total{{{NODE},rule="a",reason="cpuset"}}': "0+1x120"},
        70,
        {f'holdfast_placement_refusals_total{{{NODE},rule="a",reason="cpuset"}}': "5x120"},
    ),
    "HoldfastDrift": (
        {f'holdfast_placement_drift_total{{{NODE},rule="a"}}': "0+1x90"},
        60,
        {f'holdfast_placement_drift_total{{{NODE},rule="a"}}': "3x90"},
    ),
    "HoldfastSweepingOnly": (
        {f"holdfast_placement_events_available{{{NODE}}}": "0x40"},
        16,
        {f"holdfast_placement_events_available{{{NODE}}}": "1x40"},
    ),
    "HoldfastEventsLost": (
        {f"holdfast_placement_events_lost_total{{{NODE}}}": "0+1x90"},
        60,
        {f"holdfast_placement_events_lost_total{{{NODE}}}": "2x90"},
    ),
    "HoldfastHeldLate": (
        {
            f'holdfast_placement_exec_to_held_seconds_bucket{{{NODE},field="cgroup",le="0.1"}}': "0x90",
            f'holdfast_placement_exec_to_held_seconds_bucket{{{NODE},field="cgroup",le="1"}}': "0+5x90",
            f'holdfast_placement_exec_to_held_seconds_bucket{{{NODE},field="cgroup",le="+Inf"}}': "0+5x90",
        },
        62,
        {
            f'holdfast_placement_exec_to_held_seconds_bucket{{{NODE},field="cgroup",le="0.1"}}': "0+5x90",
            f'holdfast_placement_exec_to_held_seconds_bucket{{{NODE},field="cgroup",le="+Inf"}}': "0+5x90",
        },
    ),
    "HoldfastMovesStuck": (
        {f"holdfast_placement_moves_waiting{{{NODE}}}": "2x40"},
        25,
        {f"holdfast_placement_moves_waiting{{{NODE}}}": "2 0 2 0 2 0 2 0 2 0 2 0 2 0 2 0 2 0 2 0 2 0 2 0 2 0"},
    ),
    "HoldfastOomKill": (
        {
            f'holdfast_oom_kills_total{{{NODE},cgroup="/a",pod_namespace="db",pod_name="pg-0"}}': "_x12 1x20"
        },  # the first of its cgroup
        15,
        {f'holdfast_oom_kills_total{{{NODE},cgroup="/a"}}': "1x30"},
    ),
    "HoldfastMemoryPressure": (
        {f'holdfast_pressure_waiting_seconds{{{NODE},resource="memory",kind="full"}}': "0+12x40"},
        20,
        {f'holdfast_pressure_waiting_seconds{{{NODE},resource="memory",kind="full"}}': "0+1x40"},
    ),
    "HoldfastPodsUnknown": (
        {f"holdfast_pods_runtime_connected{{{NODE}}}": "1x5 0x40"},
        25,
        {f"holdfast_pods_runtime_connected{{{NODE}}}": "0x40"},  # it never was
    ),
    "HoldfastPodsTooMany": (
        {f"holdfast_pods_refused_total{{{NODE}}}": "0+1x90"},
        60,
        {f"holdfast_pods_refused_total{{{NODE}}}": "3x90"},
    ),
    "HoldfastNriNotConnected": (
        {f"holdfast_nri_connected{{{NODE}}}": "1x5 0x40"},
        18,
        {f"holdfast_nri_connected{{{NODE}}}": "1x5 0x8 1x30"},  # a runtime that was away
    ),
    "HoldfastBundleRejected": (
        {f"holdfast_bundle_rules_last_successful{{{NODE}}}": "0x40"},
        20,
        {f"holdfast_bundle_rules_last_successful{{{NODE}}}": "1x40"},
    ),
    "HoldfastSubscribersDropped": (
        {f'holdfast_events_subscribers_dropped_total{{{NODE},limit="events"}}': "0 0 1x20"},
        4,
        {f'holdfast_events_subscribers_dropped_total{{{NODE},limit="events"}}': "1x20"},
    ),
    "HoldfastRpcErrors": (
        {f'grpc_server_handled_total{{{NODE},grpc_service="s",grpc_method="m",grpc_code="Internal"}}': "0+1x60"},
        30,
        {f'grpc_server_handled_total{{{NODE},grpc_service="s",grpc_method="m",grpc_code="OK"}}': "0+1x60"},
    ),
}


@pytest.fixture
def rules(helm, tmp_path):
    """The rendered groups in a file of Prometheus's own form, and as objects."""
    spec = one(helm.template(WITH_RULES), "PrometheusRule")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    return {rule["alert"]: rule for rule in spec["groups"][0]["rules"]}


def promtool(*words):
    return subprocess.run(
        [path_of("promtool"), *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_promtool_finds_the_rules_sound(rules, tmp_path):
    done = promtool("check", "rules", tmp_path / "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CASES)} rules found" in done.stdout


def test_every_alert_has_a_case(rules):
    assert set(rules) == set(CASES)


def test_each_alert_fires_when_it_should_and_not_otherwise(rules, tmp_path):
    tests = []
    for name, (bad, minutes, good) in CASES.items():
        for series, fires in ((bad, True), (good, False)):
            tests.append(
                {
                    "name": f"{name} {'fires' if fires else 'is silent'}",
                    "interval": "1m",
                    "input_series": [{"series": key, "values": values} for key, values in series.items()],
                    "promql_expr_test": [
                        {
                            "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)',
                            "eval_time": f"{minutes}m",
                            "exp_samples": [{"labels": "{}", "value": int(fires)}],
                        }
                    ],
                }
            )
    (tmp_path / "tests.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests})
    )
    done = promtool("test", "rules", tmp_path / "tests.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_s_words_name_only_labels_that_its_expression_leaves(rules, tmp_path):
    """Promtool prints a summary with a label that is not there as an empty space; here every alert is printed."""
    for name, rule in rules.items():
        bad, minutes, _ = CASES[name]
        alerts = {"alertname": name, "eval_time": f"{minutes}m", "exp_alerts": []}
        test = {
            "interval": "1m",
            "input_series": [{"series": key, "values": values} for key, values in bad.items()],
            "alert_rule_test": [alerts],
        }
        (tmp_path / "words.yaml").write_text(
            yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]})
        )
        said = promtool("test", "rules", tmp_path / "words.yaml").stderr
        assert rule["annotations"]["summary"].partition("{{")[0].strip('"') in said
        assert "on  " not in said, name


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
