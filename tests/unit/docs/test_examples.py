"""The gallery: each example's file is a good configuration, and each process it names gets the decision it names."""

from __future__ import annotations

import pwd
import re
from types import SimpleNamespace

import pytest
from holdfast.cli.main import call
from holdfast.node.rule.schema import INTERLOCKS

from tests.fakes.examples import FOLDER, NAMES, USERS, build, claims, decided, rules

EACH = pytest.mark.parametrize("name", NAMES)
CLAIMS = [pytest.param(name, claim, id=f"{name}: {claim.process}") for name in NAMES for claim in claims(name)]


def test_there_are_fifteen_and_the_index_lists_each():
    index = (FOLDER / "README.md").read_text()
    assert len(NAMES) == 15
    assert re.findall(r"^\| \[.*?\]\(([a-z-]+)/README.md\)", index, re.MULTILINE) == sorted(NAMES)


@EACH
def test_config_check_accepts_it_without_a_warning(name, capsys, monkeypatch):
    """On a node that has the users it names, and with the plugins that come with holdfast."""
    monkeypatch.setattr(pwd, "getpwnam", lambda user: SimpleNamespace(pw_uid=USERS[user]))
    assert call(["config", "check", "--strict", str(FOLDER / name / "holdfast.yaml")]) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith(", 0 warnings)\n"), printed


@EACH
def test_it_is_a_dry_run_and_lifts_no_interlock_but_one_it_explains(name):
    text, page = ((FOLDER / name / file).read_text() for file in ("holdfast.yaml", "README.md"))
    assert re.findall(r"^ +dry_run: (\w+)", text, re.MULTILINE) == ["true"]
    assert [key for key in INTERLOCKS if f"{key}:" in text and f"`{key}: true`" not in page] == []


@EACH
def test_every_rule_of_it_decides_for_one_of_its_processes_and_is_explained(name):
    own = re.findall(r"^ +- name: (\S+)", (FOLDER / name / "holdfast.yaml").read_text(), re.MULTILINE)
    page = (FOLDER / name / "README.md").read_text()
    assert [rule for rule in own if f"`{rule}`" not in page and len(own) > 1] == []
    assert {*own} <= {claim.rule for claim in claims(name)}


@pytest.mark.parametrize(("name", "claim"), CLAIMS)
def test_its_process_gets_the_decision_it_names(name, claim):
    assert decided(name, build(claim)) == (claim.rule, claim.writes, ())


@pytest.mark.parametrize(("name", "claim"), CLAIMS)
def test_explain_names_the_rule(name, claim):
    """The trace that `holdfast explain` prints: the first rule that matches, among those without `children`."""
    first = next((trace.rule for trace in rules(name).consider(build(claim)) if trace.holds), None)
    assert first == claim.rule or claim.parent is not None


@pytest.mark.parametrize(("name", "claim"), CLAIMS)
def test_protection_ends_where_the_facts_do(name, claim):
    """The same process, with the same words and no evidence: nothing that protects is written."""
    some = build(claim)
    _, writes, reasons = decided(name, build(claim.without_facts()))
    if claim.writes.get("oom_score_adj", some.oom_score_adj) < some.oom_score_adj and claim.parent is None:
        assert "oom_score_adj" not in writes
        assert "claim" in reasons
