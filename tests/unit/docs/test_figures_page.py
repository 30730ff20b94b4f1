"""The page of figures: results fill their places, and nothing else of the page changes."""

from __future__ import annotations

import re

from bench.frame.page import PAGE, filled

PLACES = "<!-- bench:rpc -->\nstale\n<!-- /bench -->\nbetween\n<!-- bench:store -->\nkept\n<!-- /bench -->\n"
WORDS = f"before\n{PLACES}after\n"
MODULES = {path.stem for path in (PAGE.parents[1] / "bench").glob("[a-z]*.py")}


def result(ratio: float, must: float) -> dict[str, object]:
    figure = {"name": "calls", "unit": "/s", "ours": [ratio], "peers": [1.0], "peer": "bare", "better": "higher"}
    return {"name": "rpc", "title": "RPC", "figures": [{**figure, "must": must, "ratio": ratio}]}


def test_a_module_that_ran_fills_its_place_and_the_others_stay() -> None:
    page = filled(WORDS, [result(0.9, 0.95)])
    assert "stale" not in page
    assert "![](performance/rpc.svg)" in page
    assert "| calls | 0.900 /s | 1.000 /s (bare) | 0.90 | 0.90–0.90 | 1 | ≥ 0.95: MISSED |" in page
    assert page.startswith("before\n<!-- bench:rpc -->\n")
    assert page.endswith("<!-- /bench -->\nbetween\n<!-- bench:store -->\nkept\n<!-- /bench -->\nafter\n")


def test_filling_twice_changes_nothing() -> None:
    once = filled(WORDS, [result(1.0, 0.95)])
    assert filled(once, [result(1.0, 0.95)]) == once


def test_limits_are_counted() -> None:
    page = filled("<!-- bench:limits -->\n<!-- /bench -->\n", [result(1.0, 0.95)])
    assert "1 of 1 limits held.\n" in page
    assert "| rpc | calls | 1.00 | ≥ 0.95: ok | 1.00–1.00 |" in page


def test_the_page_has_a_place_for_every_module_and_a_plot_in_each() -> None:
    text = PAGE.read_text()
    places = set(re.findall(r"<!-- bench:(\w+) -->", text))
    assert places == MODULES | {"limits"}
    for name in sorted(MODULES):
        assert f"![](performance/{name}.svg)" in text
        assert (PAGE.with_suffix("") / f"{name}.svg").is_file()
