"""The hooks of the site: a link that is right in the repository is right in the site."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def site():
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("link", "source", "here", "expected"),
    [
        ("docs/placement.md", "README.md", "index.md", "placement.md"),
        ("pods.md", "docs/placement.md", "placement.md", "pods.md"),
        ("../README.md", "docs/design.md", "design.md", "index.md"),
        ("../../docs/placement.md", "examples/jvm/README.md", "examples/jvm/index.md", "../../placement.md"),
        ("../batch/README.md", "examples/jvm/README.md", "examples/jvm/index.md", "../batch/index.md"),
        ("../../helm/holdfast/README.md", "docs/decisions/one-loop.md", "decisions/one-loop.md", "../chart.md"),
        ("docs/overview.svg", "README.md", "index.md", "overview.svg"),
        ("LICENSE", "README.md", "index.md", "https://github.com/holdfast/holdfast/blob/main/LICENSE"),
    ],
)
def test_a_link_leads_to_the_page_or_to_the_repository(site, link, source, here, expected):
    assert site.target(link, source, here) == expected


def test_a_link_to_no_file_is_a_warning(site, caplog):
    with caplog.at_level(logging.WARNING, "mkdocs.hooks.site"):
        site.target("nothing.md", "README.md", "index.md")
    assert [record.getMessage() for record in caplog.records] == ["README.md: the link nothing.md leads to no file"]


def test_code_and_links_of_other_kinds_stay(site):
    text = "`[a](docs/b.md)` [a](https://x/y.md) [a](#b)\n```\n[a](docs/b.md)\n```\n[a](docs/pods.md#rules)"

    class Page:
        class file:  # noqa: N801 (as mkdocs has it)
            src_uri = "index.md"

    made = site.on_page_markdown(text, Page, None, None)
    assert made == text.replace("[a](docs/pods.md#rules)", "[a](pods.md#rules)")
