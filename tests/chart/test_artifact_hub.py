"""Metadata for Artifact Hub: the annotations of Chart.yaml, and the file about the repository."""

import re

import pytest
import yaml

from tests.chart.kit import REPOSITORY

CHART = yaml.safe_load((REPOSITORY / "helm/holdfast/Chart.yaml").read_text())
NOTES = {
    name.removeprefix("artifacthub.io/"): yaml.safe_load(text)
    for name, text in CHART["annotations"].items()
    if name.startswith("artifacthub.io/")
}
#: https://artifacthub.io/docs/topics/annotations/helm/
KNOWN = {
    *("alternativeName", "category", "changes", "containsSecurityUpdates", "images", "license", "links", "maintainers"),
    *("operator", "operatorCapabilities", "prerelease", "recommendations", "screenshots", "signKey"),
}
CATEGORIES = {
    *("ai-machine-learning", "database", "integration-delivery", "monitoring-logging", "networking", "security"),
    *("storage", "streaming-messaging", "skip-prediction"),
}
KINDS = {"added", "changed", "deprecated", "removed", "fixed", "security"}


def test_it_knows_each_annotation():
    assert set(NOTES) - KNOWN == set()
    assert all(isinstance(text, str) for text in CHART["annotations"].values())
    assert NOTES["category"] in CATEGORIES
    assert {one["kind"] for one in NOTES["changes"]} <= KINDS


def test_the_image_is_that_of_the_version():
    (image,) = NOTES["images"]
    assert image["image"].endswith(f":{CHART['appVersion']}")
    assert image["platforms"] == ["linux/amd64", "linux/arm64"]


@pytest.mark.parametrize("url", [one["url"] for name in ("links", "screenshots") for one in NOTES[name]])
def test_a_link_leads_to_a_file_of_the_repository(url):
    found = re.fullmatch(r"https://(?:github|raw.githubusercontent).com/holdfast/holdfast/(?:blob/)?main/(.+)", url)
    assert (REPOSITORY / found[1]).is_file()


def test_the_repository_file_has_its_keys():
    assert set(yaml.safe_load((REPOSITORY / "helm/artifacthub-repo.yml").read_text())) == {"repositoryID", "owners"}
