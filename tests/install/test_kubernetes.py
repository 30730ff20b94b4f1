"""Installation into a cluster as the pages have it, as far as it goes without one; `tests/e2e/run` goes on.

The chart is pushed by the release workflow's own lines to a registry that is ``ghcr.io`` on the machine of the test,
and the pages' lines pull it from there. Put in the place of a cluster: ``helm install`` and ``helm upgrade`` are
``helm template`` with the same words; of ``helm test`` and ``helm uninstall`` the words are read, and no more;
``kubectl apply`` is ``kustomize build``, or a check of the file; other lines of kubectl's are written down.
"""

from __future__ import annotations

import re
from contextlib import ExitStack

import pytest
import yaml

from tests.chart.kit import KUBERNETES, config_text, objects, one
from tests.install.machine import Machine, checkout, places
from tests.install.pages import REPOSITORY, block, inline
from tests.needs import BIN, path_of, peer
from tests.running import Running

pytestmark = [
    peer("helm3", "helm4", "kustomize", "registry", "oras", "openssl", "busybox"),
    pytest.mark.root,
    pytest.mark.timeout(600),
]
RELEASE = ".github/workflows/release.yaml"
PLACEMENT = "io.holdfast.placement.v1.rules"
HELM = """#!/bin/sh -e
case $1 in
  install|upgrade) word=$1; shift; exec {program} template --kube-version {kubernetes} "$@" >>"$HOME/$word" ;;
  *) exec {program} "$@" --help >/dev/null ;;
esac
"""
KUBECTL = """#!/bin/sh -e
case "$1 $2" in
  "apply -k") exec {kustomize} build "$3" ;;
  "apply -f") exec cat "$3" ;;
  *) echo "$*" >>"$HOME/kubectl"; cat >/dev/null </dev/null ;;
esac
"""
CERTIFICATE = """
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=ghcr.io \
  -addext subjectAltName=DNS:ghcr.io -keyout key.pem -out certificate.pem
"""


def program(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def pushing():
    """The release workflow's step that pushes the chart and Artifact Hub's file, without the signing."""
    steps = yaml.safe_load((REPOSITORY / RELEASE).read_text())["jobs"]["chart"]["steps"]
    (script,) = [step["run"] for step in steps if step.get("name") == "Push, sign"]
    lines = script.splitlines()
    assert [line for line in lines if "cosign" in line] == ['cosign sign --yes "$charts/holdfast@$digest"']
    return "\n".join(line if "cosign" not in line else 'echo "signed: $digest"' for line in lines)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A machine on which ghcr.io has the chart, and the environment to use it with."""
    home = tmp_path_factory.mktemp("home")
    clone = checkout(tmp_path_factory.mktemp("clone") / "holdfast")
    with places(), ExitStack() as stack:
        machine = Machine(home / "machine", lambda command, **words: stack.enter_context(Running(command, **words)))
        machine.run(CERTIFICATE, home)
        machine.start(f"exec {path_of('registry')} 127.0.0.1:443 certificate.pem key.pem", home).line(":443$")
        variables = {"GITHUB_REPOSITORY_OWNER": "holdfast"}
        trusted = {"SSL_CERT_FILE": str(home / "certificate.pem"), "HOME": str(home)}
        (clone / "tests/peers/bin").symlink_to(BIN)
        (packaging,) = re.findall(r'^"\$HELM" (package .*)$', (clone / "deploy/release").read_text(), re.MULTILINE)
        machine.run(f"{path_of('helm4')} {packaging}", clone)
        said = machine.run(pushing(), clone, variables | trusted)
        assert re.search(r"^signed: sha256:[0-9a-f]{64}$", said, re.MULTILINE)
        assert "Pushed [registry] ghcr.io/holdfast/charts/holdfast:artifacthub.io" in said
        yield machine, clone, trusted


@pytest.fixture(params=["helm3", "helm4"])
def follow(published, request, tmp_path):
    """Types a block in a fresh folder; gives the objects of each word of helm's, and the lines of kubectl's."""
    machine, _, trusted = published
    program(tmp_path / "bin" / "helm", HELM.format(program=path_of(request.param), kubernetes=KUBERNETES))
    program(tmp_path / "bin" / "kubectl", KUBECTL.format(kustomize=path_of("kustomize")))

    def one_block(script):
        path = {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
        machine.run(script, tmp_path, trusted | path)
        made = {word: (tmp_path / word).read_text() for word in ("install", "upgrade") if (tmp_path / word).exists()}
        typed = tmp_path / "kubectl"
        lines = typed.read_text().splitlines() if typed.exists() else []
        return {word: objects(text) for word, text in made.items()}, lines

    return one_block


def dry_run(found):
    """Whether the daemon of these objects would write."""
    return yaml.safe_load(config_text(found))["plugins"][PLACEMENT]["dry_run"]


def test_the_chart_s_page_installs_it(follow):
    made, typed = follow(block("helm/holdfast/README.md", "helm install").script)
    assert one(made["install"], "DaemonSet")["metadata"]["namespace"] == "holdfast"
    assert dry_run(made["install"]) is True
    assert typed[0] == "create namespace holdfast"
    assert "pod-security.kubernetes.io/enforce=privileged" in typed[1]


def test_the_operations_page_installs_a_dry_run_and_switches_it_on(follow):
    made, typed = follow(block("docs/operations.md", "helm install").script)
    assert (dry_run(made["install"]), typed[-1].split(" -- ")[1]) == (True, "holdfast preview")
    made, _ = follow(block("docs/operations.md", "helm upgrade").script)
    assert dry_run(made["upgrade"]) is False


def test_it_is_taken_away(follow):
    _, typed = follow(block("docs/operations.md", "helm uninstall").script)
    assert typed == ["-n holdfast get pods -l app.kubernetes.io/component=daemon -o name"]


def test_without_helm(published, tmp_path):
    """Each overlay that the page has a row for, and the one file, from a fresh clone."""
    machine, clone, _ = published
    program(tmp_path / "bin" / "kubectl", KUBECTL.format(kustomize=path_of("kustomize")))
    path = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
    lines = [line for line in inline("docs/operations.md") if line.startswith("kubectl apply -")]
    assert len(lines) == 2
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    table = page.partition("| overlay | is |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted(overlay.name for overlay in (clone / "deploy" / "overlays").iterdir())
    for line in lines:
        for name in rows:
            found = objects(machine.run(line.replace("NAME", name), clone, path))
            assert one(found, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
            assert one(found, "DaemonSet")["metadata"]["name"] == "holdfast"
