"""The generated reference: each command, family, topic, alert and method has its place and its words."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

import click
import pytest
import yaml
from holdfast.cli.commands import COMMANDS
from holdfast.node.model.placement import Happening

ROOT = Path(__file__).parents[3]
DOCS, SERVICE = ROOT / "docs", ROOT / "service" / "holdfast"


@pytest.fixture(scope="module")
def reference():
    sys.path.insert(0, str(DOCS))
    try:
        import reference
    finally:
        sys.path.remove(str(DOCS))
    return reference


@pytest.fixture(scope="module")
def page():
    return {name: (DOCS / f"{name}.md").read_text() for name in ("cli", "metrics", "events", "alerts", "api")}


def rows(text):
    """The cells of each row of a page's tables, without the heads."""
    found = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| `")
    ]
    assert found
    return found


def test_each_command_has_a_section_and_each_option_its_words(page):
    headings = re.findall(r"^## `holdfast ([a-z-]+)(?: [a-z-]+)*`$", page["cli"], re.MULTILINE)
    assert set(headings) == set(COMMANDS)
    assert [row for row in rows(page["cli"]) if len(row[-1]) < 5] == []


def test_connection_options_are_printed_once(page):
    assert page["cli"].count("`--tls-server-name TEXT`") == 1


def test_the_help_of_a_command_keeps_its_lines_only_where_click_does(reference):
    @click.command()
    def made():
        """Do it.

        One sentence
        goes on.

        \b
          a  b
          c  d
        """

    assert [one for one in reference._help(made) if one] == [
        "Do it.",
        "One sentence goes on.",
        "```\n  a  b\n  c  d\n```",
    ]


def test_each_family_that_a_query_uses_is_among_the_metrics(page):
    named = {row[0].strip("`") for row in rows(page["metrics"])}
    dashboard = json.loads((ROOT / "helm/holdfast/files/dashboard.json").read_text())
    panels = [one for panel in dashboard["panels"] for one in (panel, *panel.get("panels", ()))]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    queries.append((ROOT / "helm/holdfast/files/alerts.yaml").read_text())
    used = {name for query in queries for name in re.findall(r"\b((?:holdfast|grpc_server|process)_[a-z0-9_]+)", query)}
    assert {re.sub(r"_bucket$", "", name) for name in used if not name.startswith("holdfast_daemon")} - named == set()


def test_each_family_has_a_meaning(page):
    assert [row for row in rows(page["metrics"]) if len(row) != 4 or len(row[3]) < 10] == []
    names = [row[0] for row in rows(page["metrics"])]
    assert len(names) == len(set(names)) > 60


def test_each_topic_that_the_daemon_publishes_for_itself_is_among_the_events(reference, page):
    topics = {f"/placement/{one}" for one in Happening}
    for path in [*(SERVICE / "server").rglob("*.py"), *(SERVICE / "plugins" / "node").rglob("*.py")]:
        topics |= {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"/(config|bundle|nri|placement|pods|oom)/[a-z-]+", node.value)
        }
    assert set(reference.TOPICS) == topics
    assert {row[0].strip("`") for row in rows(page["events"]) if row[0].startswith("`/")} == topics


def test_each_alert_has_a_row_an_expression_and_a_section_in_the_runbook(page):
    groups = yaml.safe_load((ROOT / "helm/holdfast/files/alerts.yaml").read_text())["groups"]
    names = [rule["alert"] for group in groups for rule in group["rules"]]
    operations = (DOCS / "operations.md").read_text()
    for name in names:
        assert f"| {name} |" in page["alerts"]
        assert f"### {name}\n" in page["alerts"]
        assert f"### {name}\n" in operations
    assert "{{" not in page["alerts"].partition("## Expressions")[0]


def test_each_method_of_our_services_has_its_words(page):
    methods = [row for row in rows(page["api"]) if len(row) == 4]
    assert len(methods) >= 15
    assert [row for row in methods if len(row[3].removeprefix("*reads*; ")) < 10] == []


def test_a_map_and_an_optional_field_are_printed_as_proto3_writes_them(page):
    assert "| `cgroups` | `map<string, string>` |" in page["api"]
    assert "| `points` | `optional int64` |" in page["api"]
