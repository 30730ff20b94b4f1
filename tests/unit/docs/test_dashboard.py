"""The dashboard: one screen of panels that matter, thresholds where the alerts have theirs, legends without a gap."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

HELM = Path(__file__).parents[3] / "helm"
DASHBOARD = json.loads((HELM / "holdfast" / "files" / "dashboard.json").read_text())
ALERTS = (HELM / "holdfast" / "files" / "alerts.yaml").read_text()
OPEN = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
PANELS = [*OPEN, *(panel for row in DASHBOARD["panels"] for panel in row.get("panels", ()))]


@pytest.fixture(scope="module")
def picture():
    sys.path.insert(0, str(HELM))
    try:
        import picture
    finally:
        sys.path.remove(str(HELM))
    return picture


def threshold(title):
    (panel,) = [panel for panel in PANELS if panel["title"] == title]
    return [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]


def test_the_first_screen_has_eight_panels_at_most_and_the_other_rows_are_collapsed():
    assert 1 <= len(OPEN) <= 8
    assert max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in OPEN) <= 20  # of 38 pixels: one screen
    assert [row["title"] for row in DASHBOARD["panels"] if row["type"] == "row" and not row["collapsed"]] == ["Now"]
    assert len(PANELS) >= 30
    assert len({panel["id"] for panel in [*DASHBOARD["panels"], *PANELS]}) == len({*map(id, PANELS)}) + len(
        [row for row in DASHBOARD["panels"] if row["type"] == "row"]
    )


def test_titles_and_descriptions_have_no_template():
    assert [panel["title"] for panel in PANELS if "{{" in panel["title"] + panel["description"]] == []


def test_thresholds_are_those_of_the_alerts():
    for title, alert in (
        ("Memory pressure", "HoldfastMemoryPressure"),
        ("Time from exec to enforced", "HoldfastHeldLate"),
    ):
        expression = ALERTS.partition(f"alert: {alert}\n")[2].partition(" for:")[0]
        assert threshold(title) == [None, float(re.findall(r"> ([0-9.]+)$", expression, re.MULTILINE)[0])]


def test_a_count_that_should_be_zero_has_a_threshold_at_one():
    for title in ("OOM kills, 24 h", "Configurations refused", "Without process events"):
        assert threshold(title) == [None, 1]


def test_the_picture_leaves_out_a_label_that_a_series_does_not_have(picture, monkeypatch):
    found = [{"metric": {"kind": "full"}, "values": [[0, "1"]]}]
    monkeypatch.setattr(picture, "asked", lambda *_, **__: found)
    panel = {"targets": [{"expr": "x", "legendFormat": "{{kind}} {{node}}"}]}
    assert picture.series_of("http://x", panel, 5, 0) == [("full", [(0.0, 1.0)])]


def test_the_picture_in_the_pages_has_every_row_and_panel_and_no_template():
    drawn = (HELM.parent / "docs" / "dashboard.svg").read_text()
    titles = [
        *(panel["title"] for panel in PANELS),
        *(row["title"] for row in DASHBOARD["panels"] if row["type"] == "row"),
    ]
    assert [title for title in titles if f">{title}<" not in drawn and f">▾ {title}<" not in drawn] == []
    assert "{{" not in drawn
