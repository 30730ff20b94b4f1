"""The rendered configuration is one the daemon takes, and only what needs a restart restarts."""

from __future__ import annotations

import pytest
import yaml
from holdfast import config
from holdfast.node.rule import builtin
from holdfast.plugins import shipped as shipped_plugins

from tests.chart.kit import EXAMPLES, config_text, one, pod
from tests.needs import peer

pytestmark = peer("helm4")
PLACEMENT = "io.holdfast.placement.v1.rules"
OWN = [path for path in EXAMPLES if path.name != "existing-configmap-values.yaml"]


def loaded(found, tmp_path):
    """The settings and the placement section, as the daemon reads them."""
    file = tmp_path / "config.yaml"
    file.write_text(config_text(found))
    settings = config.load(str(file), config.Overrides()).settings
    plugins = {plugin.uri: plugin for plugin in shipped_plugins()}
    warnings = [*config.check_sections(settings, {uri: plugin.config for uri, plugin in plugins.items()})]
    plugin = plugins[PLACEMENT]
    placement = config.decode_section(settings, PLACEMENT, plugin.config, warnings)
    config.placed(settings, PLACEMENT, plugin.remarks_on(placement))
    assert not warnings
    return settings, placement


@pytest.mark.parametrize("example", OWN, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_the_daemon_takes_every_example_s_configuration(helm, example, tmp_path):
    found = helm.template(example)
    sections = set(yaml.safe_load(config_text(found))["plugins"])
    if absent := sections - {plugin.uri for plugin in shipped_plugins()}:
        pytest.skip(f"this daemon is built without {', '.join(sorted(absent))}")
    settings, _ = loaded(found, tmp_path)
    container = pod(found)["spec"]["containers"][0]
    listening = {
        address.rpartition(":")[2]
        for address in (settings.grpc.health_address, settings.grpc.tcp_address, settings.metrics.address)
        if address
    }
    assert listening == {str(port["containerPort"]) for port in container.get("ports", [])}


@pytest.mark.parametrize("value", ["all", "none", "preview", ["all", "sidecars"], list(builtin.known()), []])
def test_the_built_in_rules_are_named_as_in_the_daemon_s_configuration(helm, tmp_path, value):
    _, placement = loaded(helm.template({"builtinRules": value}), tmp_path)
    assert placement.builtin_rules == (value if isinstance(value, str) else tuple(value))


def test_the_namespaces_of_built_in_rules_reach_the_daemon_and_without_any_it_has_its_own(helm, tmp_path):
    named = {"node-daemons": ["kube-system", "calico-system"], "postgresql": ["db"]}
    given = loaded(helm.template({"builtinNamespaces": named}), tmp_path)[1].builtin_namespaces
    assert given == {name: tuple(namespaces) for name, namespaces in named.items()}
    assert loaded(helm.template(), tmp_path)[1].builtin_namespaces == {}


def test_the_deprecated_presets_name_the_rule_files_they_always_did(helm, tmp_path):
    def named(presets):
        return set(loaded(helm.template({"presets": presets}), tmp_path)[1].builtin_rules)

    usual = named({"batch": {"enabled": True}})
    assert usual <= set(builtin.names())
    assert named({"nodeDaemons": {"enabled": False}}) == usual - {"node-daemons"}
    optional = {"batchPods": "batch-pods", "cloudnativePg": "cloudnative-pg", "sidecars": "sidecars"}
    optional |= {"singleProcessOomKill": "single-process-oom-kill"}
    assert set(optional.values()) <= set(builtin.optional())
    for preset, file in optional.items():
        assert named({preset: {"enabled": True}}) == usual | {file}


def test_values_reach_the_placement_section(helm, tmp_path):
    rules = [{"name": "a", "match": {"comm": "x"}, "oom_score_adj": 500}]
    values = {
        "rules": rules,
        "dryRun": False,
        "onStop": "restore",
        "config": {"plugins": {PLACEMENT: {"rescan": "10s"}}},
    }
    _, placement = loaded(helm.template(values), tmp_path)
    assert [rule.name for rule in placement.rules] == ["a"]
    assert (placement.dry_run, placement.on_stop, placement.rescan) == (False, "restore", 10.0)


PODS, NRI = "io.holdfast.pods.v1.directory", "io.holdfast.nri.v1.plugin"


def test_the_runtime_s_sockets_are_mounted_as_asked_and_said_only_where_the_daemon_would_not_know(helm):
    def asked(values):
        found = helm.template(values)
        mounts = pod(found)["spec"]["containers"][0]["volumeMounts"]
        places = {mount["mountPath"]: mount for mount in mounts if mount["name"].startswith(("cri-", "nri"))}
        assert all(place["readOnly"] and place["mountPropagation"] == "HostToContainer" for place in places.values())
        return set(places), {uri: yaml.safe_load(config_text(found))["plugins"].get(uri) for uri in (PODS, NRI)}

    assert asked({}) == ({"/run/containerd", "/run/crio"}, {PODS: None, NRI: None})
    assert asked({"pods.cri.enabled": False}) == (set(), {PODS: {"cri": {"enabled": False}}, NRI: None})
    places, sections = asked({"pods.nri": {"enabled": True, "directory": "/var/run/nri"}})
    assert places == {"/run/containerd", "/run/crio", "/run/nri"}
    assert sections[NRI] == {"enabled": True, "socket_path": "/run/nri/nri.sock"}


def annotations(helm, values):
    return pod(helm.template(values))["metadata"]["annotations"]


HOT = {
    "rules": [{"name": "a", "match": {"comm": "x"}}],
    "dryRun": False,
    "onStop": "restore",
    "builtinRules": ["kubelet"],
    "builtinNamespaces": {"postgresql": ["db"]},
    "config": {"debug": {"level": "debug"}, "tracing": {"ratio": 0.5}},
}
COLD = {
    "config": {"oom_score": -999},
    "config.debug": {"format": "json"},
    "config.plugins": {PLACEMENT: {"rescan": "10s"}},
    "metrics.port": 9421,
    "tcp": {"enabled": True, "tls": {"source": "none"}},
    "probes.mode": "exec",
    "pods.cri.enabled": False,
}


@pytest.mark.parametrize("key", HOT)
def test_a_change_the_daemon_follows_leaves_the_pods_alone(helm, key):
    assert annotations(helm, {key: HOT[key]}) == annotations(helm, {})
    assert config_text(helm.template({key: HOT[key]})) != config_text(helm.template())


@pytest.mark.parametrize("key", COLD)
def test_a_change_that_needs_a_restart_restarts_the_pods(helm, key):
    assert annotations(helm, {key: COLD[key]}) != annotations(helm, {})


def test_every_change_restarts_the_pods_where_that_is_asked_for(helm):
    asked = {"reload.rolloutOnChange": True}
    assert annotations(helm, asked) != annotations(helm, {**asked, "dryRun": False})


def test_the_configuration_is_mounted_as_a_directory(helm):
    spec = pod(helm.template())["spec"]
    (mount,) = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "config"]
    assert mount == {"name": "config", "mountPath": "/etc/holdfast", "readOnly": True}


def test_the_configmap_of_somebody_else_is_mounted_and_none_is_made(helm):
    found = helm.template({"existingConfigMap": "mine"})
    assert [it for it in found if it["kind"] == "ConfigMap"] == []
    volumes = {volume["name"]: volume for volume in pod(found)["spec"]["volumes"]}
    assert volumes["config"]["configMap"] == {"name": "mine"}


def test_only_the_daemons_are_behind_selectors(helm):
    values = {"tests.enabled": True, "uninstall.restore": True, "tcp": {"enabled": True, "tls": {"source": "none"}}}
    found = helm.template(values)
    selector = one(found, "Service")["spec"]["selector"]
    assert selector == one(found, "DaemonSet")["spec"]["selector"]["matchLabels"]
    for labels in (
        one(found, "Pod")["metadata"]["labels"],
        one(found, "Job")["spec"]["template"]["metadata"]["labels"],
    ):
        assert not selector.items() <= labels.items()


def test_the_page_is_on_the_pods_own_loopback_interface_and_only_when_it_is_enabled(helm):
    assert yaml.safe_load(config_text(helm.template()))["web"] == {"address": ""}
    found = yaml.safe_load(config_text(helm.template({"web.enabled": True, "web.port": 9500})))
    assert found["web"] == {"address": "127.0.0.1:9500"}


def test_the_chart_s_configuration_is_yaml_that_says_no_more_than_it_must(helm):
    assert yaml.safe_load(config_text(helm.template())) == {
        "version": 2,
        "grpc": {"health_address": ":7421"},
        "metrics": {"address": ":9420", "grpc_zero_series": False},
        "web": {"address": ""},
        "plugins": {PLACEMENT: {"dry_run": True, "on_stop": "keep", "rules": [], "builtin_rules": "preview"}},
    }
