"""A fresh install writes nothing that its operator did not name, and opens only the ports in use."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml

from tests.chart.kit import CHART, EXAMPLES, NAMESPACE, config_text, one, pod
from tests.needs import peer

pytestmark = peer("helm4")
PLACEMENT = "io.holdfast.placement.v1.rules"
#: Values → the words of `--set` that NOTES gives as the next step.
NEXT = [
    ({}, ["dryRun=false", "builtinRules=all"]),
    ({"builtinRules": ["kubelet"]}, ["dryRun=false"]),
    ({"dryRun": False}, ["builtinRules=all"]),
    ({"dryRun": False, "builtinRules": "none"}, []),
]


def placement(found):
    """The placement section of the rendered configuration."""
    return yaml.safe_load(config_text(found))["plugins"][PLACEMENT]


def notes(helm, values):
    """Return the notes of an install; Helm 4 asks no cluster for a dry run of the client."""
    given = [word for key, value in values.items() for word in ("--set-json", f"{key}={json.dumps(value)}")]
    done = helm.run("install", "holdfast", CHART, "--namespace", NAMESPACE, "--dry-run=client", *given)
    return done.stdout.partition("\nNOTES:\n")[2]


@pytest.mark.parametrize(("values", "words"), NEXT, ids=str)
def test_the_notes_give_the_command_that_switches_the_rules_on(helm, tmp_path, values, words):
    said = notes(helm, values)
    assert ("as a dry run" in said) is (values.get("dryRun") is not False)
    assert f"kubectl -n {NAMESPACE} exec daemonset/holdfast -- holdfast preview" in said
    typed = re.findall(r"^  (helm upgrade .*)$", said, re.MULTILINE)
    assert len(typed) == bool(words)
    if not typed:
        return
    *command, rest = typed[0].partition(" --reuse-values ")
    assert command[0] == (
        f"helm upgrade holdfast oci://ghcr.io/holdfast/charts/holdfast --version 0.1.0 -n {NAMESPACE}"
    )
    assert [word for word in shlex.split(rest) if word != "--set"] == words
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    done = helm.run("template", "holdfast", CHART, "--kube-version", "1.34", "-f", file, *shlex.split(rest))
    switched = placement(list(yaml.safe_load_all(done.stdout)))
    assert (switched["dry_run"], switched["builtin_rules"]) == (False, values.get("builtinRules", "all"))


def test_the_defaults_are_the_bare_daemon_s(helm):
    section = placement(helm.template())
    assert (section["dry_run"], section["builtin_rules"], section["rules"]) == (True, "preview", [])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_the_network_policy_opens_each_listener_and_nothing_else(helm, example):
    found = helm.template(example)
    policy = one(found, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == one(found, "DaemonSet")["spec"]["selector"]["matchLabels"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    doors = {rule["ports"][0]["port"]: rule for rule in policy.get("ingress", [])}
    assert all(len(rule["ports"]) == 1 for rule in doors.values())
    assert set(doors) == {port["name"] for port in pod(found)["spec"]["containers"][0].get("ports", [])}


def test_the_kubelet_is_let_in_by_any_address_the_monitor_by_its_pod_and_clients_by_their_namespace(helm):
    found = helm.template({"tcp": {"enabled": True, "tls": {"secretName": "x"}}})
    doors = {rule["ports"][0]["port"]: rule.get("from") for rule in one(found, "NetworkPolicy")["spec"]["ingress"]}
    assert doors == {"health": None, "metrics": [{"namespaceSelector": {}}], "grpc": [{"podSelector": {}}]}


def test_the_daemon_connects_to_nothing_but_the_api_server_and_only_for_events(helm):
    assert "egress" not in one(helm.template(), "NetworkPolicy")["spec"]
    asked = one(helm.template({"pods.kubernetesEvents.enabled": True}), "NetworkPolicy")["spec"]["egress"]
    assert [port["port"] for rule in asked for port in rule["ports"]] == [443, 6443]


def test_the_service_account_may_make_events_and_count_them_and_nothing_else(helm):
    assert not [one for one in helm.template() if one["kind"] == "ClusterRole"]
    role = one(helm.template({"pods.kubernetesEvents.enabled": True}), "ClusterRole")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}]


def test_the_notes_name_a_trace_collector_that_the_policy_would_cut_off(helm):
    env = [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4317"}]
    assert "networkPolicy.egress" in notes(helm, {"env": env})
    assert "networkPolicy.egress" not in notes(helm, {"env": env, "networkPolicy.enabled": False})
    assert "networkPolicy.egress" not in notes(helm, {})
