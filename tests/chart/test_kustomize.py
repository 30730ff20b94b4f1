"""deploy/: each overlay has the objects that the chart has with the matching values, and the one file is an overlay."""

from __future__ import annotations

import msgspec
import pytest
from holdfast import config

from tests.chart.kit import NAMESPACE, REPOSITORY, config_text, objects, one, pod, ran
from tests.needs import path_of, peer

pytestmark = peer("helm4", "kustomize")
OVERLAYS = REPOSITORY / "deploy" / "overlays"

MONITORED = {
    "metrics.podMonitor.enabled": True,
    "metrics.prometheusRule.enabled": True,
    "metrics.dashboard.enabled": True,
}
MTLS = {"tcp.enabled": True, "tcp.tls.secretName": "holdfast-tls"}
SAME = {
    "default": {},
    "enforce": {"dryRun": False, "builtinRules": "all"},
    "monitored": MONITORED,
    "v1-hosts": {"hostPaths.mountPropagation": "None"},
    "fleet": {**MONITORED, **MTLS},
}


def built(folder):
    done = ran(path_of("kustomize"), "build", folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def bare(found):
    """Objects without what only one side has: Helm's labels and checksums, the test hook, the Namespace, the config."""
    kept = []
    for it in found:
        metadata = it["metadata"]
        if it["kind"] == "Namespace" or "helm.sh/hook" in metadata.get("annotations", {}):
            continue
        metadata.pop("labels", None)
        if it["kind"] == "DaemonSet":
            notes = it["spec"]["template"]["metadata"]["annotations"]
            for key in [key for key in notes if key.startswith("checksum/")]:
                del notes[key]
            for part in ("volumes", "containers"):
                it["spec"]["template"]["spec"][part].sort(key=lambda entry: entry["name"])
            for container in it["spec"]["template"]["spec"]["containers"]:
                container["ports"].sort(key=lambda entry: entry["name"])
                container["volumeMounts"].sort(key=lambda entry: entry["name"])
        if (it["kind"], metadata["name"]) == ("ConfigMap", "holdfast"):
            it["data"] = {}
        kept.append(it)
    return kept


def settings(found, folder):
    """Return the settings that the daemon reads from the ConfigMap, all its files together."""
    folder.mkdir()
    for name, text in one(found, "ConfigMap", "holdfast")["data"].items():
        (folder / name).write_text(text)
    found_settings = config.load(str(folder / "config.yaml"), config.Overrides()).settings
    tree = msgspec.to_builtins(found_settings)
    tree.pop("imports")  # how the parts come together differs, what they come to does not
    section = tree["plugins"]["io.holdfast.placement.v1.rules"]
    section["rules"] = section.get("rules", [])
    return tree


@pytest.mark.parametrize("overlay", SAME)
def test_an_overlay_is_the_chart_with_these_values(helm, overlay):
    assert bare(objects(built(OVERLAYS / overlay))) == bare(helm.template(SAME[overlay]))


@pytest.mark.parametrize("overlay", SAME)
def test_the_daemon_s_configuration_is_the_same(helm, overlay, tmp_path):
    kustomized = settings(objects(built(OVERLAYS / overlay)), tmp_path / "kustomize")
    charted = settings(helm.template(SAME[overlay]), tmp_path / "chart")
    assert kustomized == charted


def test_every_overlay_is_compared():
    assert {path.name for path in OVERLAYS.iterdir()} == set(SAME)


def test_the_one_file_manifest_is_the_default_overlay():
    """Made by ``tests/peers/bin/kustomize build deploy/overlays/default > deploy/holdfast.yaml``."""
    assert (REPOSITORY / "deploy" / "holdfast.yaml").read_text() == built(OVERLAYS / "default")


def test_the_namespace_says_what_pod_security_must_let_pass():
    labels = one(objects(built(OVERLAYS / "default")), "Namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
    assert pod(objects(built(OVERLAYS / "default")))["spec"]["hostPID"] is True
    assert "health_address" in config_text(objects(built(OVERLAYS / "default")))
