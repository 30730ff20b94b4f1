"""The commands of the pages, word by word; the chart is this checkout's in place of the registry's."""

from __future__ import annotations

import re

import pytest

from tests.chart.kit import CHART
from tests.cluster.kit import becomes
from tests.cluster.release import DAEMONS
from tests.cluster.state import REPOSITORY

PUBLISHED = "oci://ghcr.io/holdfast/charts/holdfast"
OPERATIONS, CHART_README = REPOSITORY / "docs" / "operations.md", CHART / "README.md"

BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page, heading):
    """The shell blocks of a page below a heading, without those below the next one of its rank or above."""
    rank = len(heading.partition(" ")[0])
    _, _, below = page.read_text().partition(f"\n{heading}\n")
    assert below, f"{page.name} has no heading {heading!r}"
    section = re.split(rf"\n#{{1,{rank}}} ", below)[0]
    return re.findall(BLOCK, section)


@pytest.fixture
def shell(uninstalled):
    """A shell in the cluster, with kubectl and helm; nothing of the release is there, and no namespace."""
    cluster = uninstalled.namespace.cluster
    cluster.kubectl("delete", "namespace", uninstalled.namespace.name)

    def run(text):
        script = f'helm() {{ {uninstalled.program} "$@"; }}\n{text.replace(PUBLISHED, str(CHART))}'
        return cluster.run(["bash", "-euo", "pipefail", "-c", script]).stdout

    yield run
    if uninstalled.installed():
        uninstalled.uninstall()


def test_the_chart_s_page_installs_as_the_operator_s_page_does():
    chart = re.search(BLOCK, CHART_README.read_text())[1]
    assert chart.splitlines()[-1].startswith("helm install ")
    assert commands(OPERATIONS, "### Kubernetes, with Helm")[0].startswith(chart)


def test_installed_switched_on_and_removed_by_the_page(shell, uninstalled):
    install, switch_on = commands(OPERATIONS, "### Kubernetes, with Helm")
    assert "Nothing was written" in shell(install)
    (before,) = uninstalled.daemons()
    assert "Phase:          Succeeded" in shell(switch_on)
    (at_once,) = commands(OPERATIONS, "## Change rules")
    assert "annotated" in shell(at_once)
    becomes(True, lambda: "builtin_rules: all" in config(uninstalled) and "dry_run: false" in config(uninstalled))
    (after,) = uninstalled.daemons()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    (remove,) = commands(OPERATIONS, "## Uninstall")
    assert " 0 left" in shell(remove)
    uninstalled.namespace.wait_gone(DAEMONS)


def config(release):
    return release.namespace.get("configmap/holdfast")["data"]["config.yaml"]
