"""Values: what is refused and with which words, and what a parent chart may do."""

from __future__ import annotations

import shutil

import pytest
import yaml

from tests.chart.kit import CHART, pod
from tests.needs import peer

pytestmark = peer("helm3", "helm4")

REFUSED = {
    "a misspelt value": ({"dryrun": True}, "dryrun"),
    "a misspelt value in a group": ({"metrics.prot": 1}, "prot"),
    "a misspelt key of the daemon's configuration": ({"config": {"grcp": {}}}, "grcp"),
    "a misspelt key of a rule": ({"rules": [{"name": "a", "match": {"com": "x"}}]}, "com"),
    "an oom_score_adj out of range": (
        {"rules": [{"name": "a", "match": {"comm": "x"}, "oom_score_adj": -1001}]},
        "-1,000",
    ),
    "a word where there are three": ({"probes.mode": "http"}, "grpc"),
    "a port that is none": ({"metrics.port": 70000}, "65,535"),
    "a digest that is none": ({"image.digest": "latest"}, "sha256"),
    "a directory of the chart's": ({"config": {"root": "/x"}}, "config.root: is the chart's"),
    "an address of the chart's": (
        {"config": {"grpc": {"tcp_address": ":1"}}},
        "config.grpc.tcp_address: is the chart's; set tcp.enabled and tcp.port",
    ),
    "rules in two places": (
        {"config": {"plugins": {"io.holdfast.placement.v1.rules": {"rules": []}}}},
        "is the chart's; set rules",
    ),
    "a runtime's socket in two places": (
        {"config": {"plugins": {"io.holdfast.pods.v1.directory": {"cri": {"address": "/x"}}}}},
        "is the chart's; set pods.cri.address",
    ),
    "Kubernetes Events in two places": (
        {"config": {"plugins": {"io.holdfast.placement.v1.rules": {"kubernetes_events": True}}}},
        "is the chart's; set pods.kubernetesEvents.enabled",
    ),
    "events by everybody's account": (
        {"pods.kubernetesEvents.enabled": True, "serviceAccount.create": False},
        "set serviceAccount.create or serviceAccount.name",
    ),
    "TLS without a secret": ({"tcp.enabled": True}, "tcp.tls.secretName: must be given"),
    "cert-manager without an issuer": (
        {"tcp.enabled": True, "tcp.tls.source": "certManager"},
        "tcp.tls.certManager.issuerRef.name: must be given",
    ),
    "grants for clients nobody can know": (
        {"tcp.grants": [{"identities": ["a"], "methods": ["*"]}], "tcp.tls.source": "none"},
        "tcp.grants: need client certificates",
    ),
    "rules beside an own ConfigMap": (
        {"existingConfigMap": "mine", "rules": [{"name": "a", "match": {"comm": "x"}}]},
        "existingConfigMap: replaces rules and config",
    ),
    "two monitors": (
        {"metrics.podMonitor.enabled": True, "metrics.serviceMonitor.enabled": True},
        "would be scraped twice",
    ),
    "a monitor of nothing": ({"metrics.podMonitor.enabled": True, "metrics.enabled": False}, "nobody would answer it"),
    "a built-in rule file that does not exist": ({"builtinRules": ["nginx"]}, "builtinRules"),
    "a namespace of built-in rules by a pattern": (
        {"builtinNamespaces": {"postgresql": ["db-*"]}},
        "builtinNamespaces",
    ),
    "namespaces of a built-in rule file that does not exist": ({"builtinNamespaces": {"nginx": ["db"]}}, "nginx"),
    "namespaces of built-in rules as the daemon's key": (
        {"config": {"plugins": {"io.holdfast.placement.v1.rules": {"builtin_namespaces": {"postgresql": ["db"]}}}}},
        "rules.builtin_namespaces: is the chart's; set builtinNamespaces",
    ),
    "a preset that never was": ({"presets": {"nginx": {"enabled": True}}}, "presets.nginx: there are no such built-in"),
    "built-in rules by both names": (
        {"builtinRules": "all", "presets": {"batch": {"enabled": False}}},
        "presets: the deprecated name of builtinRules, and both are set",
    ),
    "built-in rules by the daemon's old name": (
        {"config": {"plugins": {"io.holdfast.placement.v1.rules": {"shipped": "all"}}}},
        "rules.shipped: is the chart's; set builtinRules",
    ),
    "an alert nobody has": (
        {"metrics.prometheusRule.enabled": True, "metrics.prometheusRule.disabled": ["HoldfastDwon"]},
        'there is no alert "HoldfastDwon"; there are HoldfastDown, ',
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_refuses(each_helm, case):
    values, words = REFUSED[case]
    assert words in each_helm.refusal(values)


def test_an_older_kubernetes_is_refused(each_helm):
    done = each_helm.run("template", "holdfast", CHART, "--kube-version", "1.26", ok=False)
    assert "kubeVersion: >=1.27.0-0" in done.stderr


def test_a_parent_chart_may_set_global_and_enabled(each_helm, tmp_path):
    parent = tmp_path / "parent"
    shutil.copytree(CHART, parent / "charts" / "holdfast")
    dependency = {"name": "holdfast", "version": "0.1.0", "condition": "holdfast.enabled"}
    chart = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(chart))
    values = {"global": {"imageRegistry": "mirror.example.org", "team": "x"}, "holdfast": {"enabled": True}}
    (parent / "values.yaml").write_text(yaml.safe_dump(values))
    found = each_helm.template(chart=parent)
    assert pod(found)["spec"]["containers"][0]["image"] == "mirror.example.org/holdfast/holdfast:0.1.0"


def test_default_values_can_be_taken_away_with_null(each_helm):
    spec = pod(each_helm.template({"affinity": None, "nodeSelector": None, "tolerations": None, "resources": None}))[
        "spec"
    ]
    assert not {"affinity", "nodeSelector", "tolerations"} & spec.keys()
    assert "resources" not in spec["containers"][0]


def test_the_digest_wins_over_the_tag_and_the_global_registry_over_ours(helm):
    digest = "sha256:" + "ab" * 32
    found = helm.template({"image.tag": "x", "image.digest": digest, "global.imageRegistry": "r.example.org"})
    assert pod(found)["spec"]["containers"][0]["image"] == f"r.example.org/holdfast/holdfast@{digest}"
