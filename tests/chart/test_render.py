"""Every example of ``ci/`` through both helms: lint, render, package; the same objects, four of them in ``golden/``.

``HOLDFAST_UPDATE_GOLDEN=1`` writes the golden files again; the diff is what a reviewer reads.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
import yaml

from tests.chart.kit import CHART, EXAMPLES, Helm
from tests.needs import peer

pytestmark = peer("helm3", "helm4")
GOLDEN = Path(__file__).parent / "golden"
#: The examples that differ the most; what the others change is in a test of its own, or in one of these.
KEPT = [
    path
    for path in EXAMPLES
    if path.name.removesuffix("-values.yaml") in ("default", "everything", "existing-configmap", "socket-only")
]
EACH = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name.removesuffix("-values.yaml"))


def abridged(found):
    """Objects as text; long data (dashboard, scripts) by its digest, so that a golden file stays readable."""
    for one in found:
        for key, text in one.get("data", {}).items():
            if len(text) > 3000:
                one["data"][key] = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return yaml.safe_dump_all(found, width=120, sort_keys=True)


@pytest.mark.parametrize("example", KEPT, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_an_example_renders_to_its_golden_file(helm, example):
    rendered = abridged(helm.template(example))
    golden = GOLDEN / f"{example.name.removesuffix('-values.yaml')}.yaml"
    if os.environ.get("HOLDFAST_UPDATE_GOLDEN") == "1":
        golden.write_text(rendered)
    assert rendered == golden.read_text()


def test_there_is_no_golden_file_without_an_example():
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == {path.name.removesuffix("-values.yaml") for path in KEPT}


@EACH
def test_both_helms_render_the_same_objects(helm, example):
    assert Helm("helm3").template(example) == helm.template(example)


@EACH
def test_an_example_passes_strict_lint(each_helm, example):
    each_helm.run("lint", CHART, "--strict", "--values", example)


def test_the_packaged_chart_renders_what_the_folder_does_and_leaves_its_examples_out(each_helm, tmp_path):
    said = each_helm.run("package", CHART, "--destination", tmp_path).stdout
    package = Path(re.search(r"(/.*\.tgz)", said)[1])
    assert each_helm.template(chart=package) == each_helm.template()
    listed = each_helm.run("show", "readme", package).stdout
    assert listed.startswith("# holdfast")
