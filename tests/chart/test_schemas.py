"""Kubernetes' own schemas strictly allow what chart and overlays render, in every supported version.

kubeconform judges, and so does kubernetes-validate; both read the schemas that come with the latter, so no network is
needed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from holdfast.node.rule.annotation import Ask
from holdfast.plugins.node.placement.recorder import event
from holdfast.pods.record import PodRecord

from tests.chart.kit import EXAMPLES, REPOSITORY, ran
from tests.needs import path_of, peer

# Some 200 files, read by each version's schemas: minutes on a busy machine.
pytestmark = [peer("helm4", "kubeconform", "kubernetes-validate", "kustomize"), pytest.mark.timeout(900)]
#: Not Kubernetes' own; their schemas are their operators'.
FOREIGN = "PodMonitor,ServiceMonitor,PrometheusRule,Certificate,SecurityContextConstraints"
OLDEST = (1, 27)
KINDS = (
    "clusterrole-rbac-v1",
    "clusterrolebinding-rbac-v1",
    "configmap-v1",
    "daemonset-apps-v1",
    "event-v1",
    "job-batch-v1",
    "namespace-v1",
    "networkpolicy-networking-v1",
    "pod-v1",
    "role-rbac-v1",
    "rolebinding-rbac-v1",
    "service-v1",
    "serviceaccount-v1",
)


def packaged() -> Path:
    packages = Path(path_of("kubernetes-validate")).resolve().parents[1]
    (found,) = packages.glob("lib/python3.*/site-packages/kubernetes_validate/kubernetes-json-schema")
    return found


def numbers(version):
    return tuple(int(word) for word in version.split(".")[:2])


def versions() -> list[str]:
    named = {path.name.partition("-")[0].removeprefix("v") for path in packaged().glob("v*-local-strict")}
    return sorted((name for name in named if numbers(name) >= OLDEST), key=numbers)


@pytest.fixture(scope="module")
def schemas(tmp_path_factory):
    """The packaged schemas with references that lead somewhere on disk; theirs begin at a web server's root."""
    folder = tmp_path_factory.mktemp("schemas")
    for version in versions():
        (folder / version).mkdir()
        for kind in (*KINDS, "_definitions"):
            text = (packaged() / f"v{version}-local-strict" / f"{kind}.json").read_text()
            schema = json.loads(text.replace('"/api/_definitions.json', '"_definitions.json'))
            schema.pop("$id")  # else references would lead to where that says
            (folder / version / f"{kind}.json").write_text(json.dumps(schema))
    return folder


def judged(schemas, version, *files, ok=True):
    location = f"{schemas}/{version}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    command = [path_of("kubeconform"), "-strict", "-summary", "-kubernetes-version", version, "-skip", FOREIGN]
    command += ["-schema-location", location, *map(str, files)]
    done = ran(*command)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def rendered(helm, tmp_path):
    files = []
    for example in EXAMPLES:
        files.append(tmp_path / example.name)
        files[-1].write_text(yaml.safe_dump_all(helm.template(example)))
    for overlay in sorted((REPOSITORY / "deploy" / "overlays").iterdir()):
        files.append(tmp_path / f"overlay-{overlay.name}.yaml")
        done = ran(path_of("kustomize"), "build", overlay)
        assert done.returncode == 0, done.stderr
        files[-1].write_text(done.stdout)
    return files


def test_everything_rendered_is_valid_in_every_version(rendered, schemas):
    assert versions()[0] == "1.27.0"
    for version in versions():
        said = judged(schemas, version, *rendered)
        assert "Invalid: 0, Errors: 0" in said, version


def test_kubernetes_validate_agrees(rendered, tmp_path):
    together = tmp_path / "together.yaml"
    together.write_text("---\n".join(path.read_text() for path in rendered))
    for version in versions():
        command = [path_of("kubernetes-validate"), "--strict", "--kubernetes-version", version, str(together)]
        done = ran(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ERROR" not in done.stdout + done.stderr


def test_a_misspelt_field_would_have_been_found(helm, schemas, tmp_path):
    found = helm.template()
    for it in found:
        if it["kind"] == "DaemonSet":
            it["spec"]["template"]["spec"]["hostPidd"] = True
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump_all(found))
    assert "hostPidd" in judged(schemas, versions()[-1], wrong, ok=False)


def test_an_event_of_the_daemons_is_one_in_every_version(schemas, tmp_path):
    pod = PodRecord("s", "1d5fb235-0000-4000-8000-000000000000", "db", "pg-0")
    path, wrong = tmp_path / "event.yaml", tmp_path / "wrong.yaml"
    made = event(pod, [Ask("protect", "leader", "not allowed")], "node-7")
    path.write_text(yaml.safe_dump(made))
    wrong.write_text(yaml.safe_dump({**made, "count": "one"}))
    for version in versions():
        judged(schemas, version, path)
        judged(schemas, version, wrong, ok=False)
