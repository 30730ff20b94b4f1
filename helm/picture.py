"""Draw the dashboard as an SVG: ``python helm/picture.py http://127.0.0.1:9090 [MINUTES] > FILE.svg``.

Every panel's own queries, sent to a Prometheus that scrapes daemons; for the documents, which are written without a
Grafana. All rows are open. ``helm/scene.py`` draws ``docs/dashboard.svg`` with it.
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from html import escape
from typing import Any

from dashboard import rows

UNIT, ROW = 54, 30  # pixels: a column of the dashboard's 24, a row of its grid
POINTS = 120
COLOURS = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300")
LEVELS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}
FILLED = {"$job": ".*", "$node": ".*"}
Series = tuple[str, list[tuple[float, float]]]


def asked(base: str, path: str, **words: Any) -> list[dict[str, Any]]:
    """The result of one query."""
    url = f"{base}/api/v1/{path}?{urllib.parse.urlencode(words)}"
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 (its user's own Prometheus)
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found


def series_of(base: str, panel: dict[str, Any], minutes: float, end: float) -> list[Series]:
    """Every line of a panel: its name by the legend, its points."""
    step = minutes * 60 / POINTS
    lines: list[Series] = []
    for target in panel["targets"]:
        query = target["expr"].replace("$__rate_interval", "30s").replace("[24h]", f"[{minutes * 60:.0f}s]")
        for word, value in FILLED.items():
            query = query.replace(word, value)
        for one in asked(base, "query_range", query=query, start=end - minutes * 60, end=end, step=step):
            name = target["legendFormat"]
            for label, value in one["metric"].items():
                name = name.replace("{{" + label + "}}", value)
            name = re.sub(r"{{\w+}}", "", name).strip()  # a label that the series does not have, as in Grafana
            values = [(float(at), float(text)) for at, text in one["values"] if text not in ("NaN", "+Inf")]
            if values:
                lines.append((name, values))
    return lines


def in_unit(value: float, unit: str) -> str:
    """A number as Grafana would print it, nearly."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return f"{value / 2**20:.1f} MiB"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    return f"{value:.3g}{' /s' if unit in ('cps', 'wps', 'reqps') else ''}"


def text(x: float, y: float, words: str, size: int = 11, colour: str = "#9fa7b3", extra: str = "") -> str:
    """A line of text."""
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" {extra}>{escape(words)}</text>'


def drawn(panel: dict[str, Any], lines: list[Series]) -> Iterator[str]:
    """A panel's pieces."""
    at = panel["gridPos"]
    x, y, w, h = at["x"] * UNIT, at["y"] * ROW, at["w"] * UNIT - 6, at["h"] * ROW - 6
    if panel["type"] == "row":
        yield text(x + 4, y + 20, f"▾ {panel['title']}", 14, "#d8d9da")
        return
    yield f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="3" fill="#1f2329"/>'
    yield text(x + 8, y + 18, panel["title"], 13, "#d8d9da")
    unit = panel["fieldConfig"]["defaults"]["unit"]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    if panel["type"] == "stat":
        last = lines[0][1][-1][1] if lines else 0
        colour = [step["color"] for step in steps if step["value"] is None or step["value"] <= last][-1]
        words = ", ".join(name for name, _ in lines) if panel["options"]["textMode"] == "name" else ""
        words = words or (in_unit(round(last), unit) if lines else "–")
        yield text(x + w / 2, y + h / 2 + 20, words, 26, LEVELS[colour], 'text-anchor="middle"')
        return
    if not lines:
        yield text(x + w / 2, y + h / 2, "no such event in this time", 12, "#6e7681", 'text-anchor="middle"')
        return
    box = (x + 60, y + 30, w - 72, h - 30 - 16 * ((min(len(lines), 9) + 2) // 3) - 14)
    yield from curves(lines, unit, box, steps[1:])
    for number, (name, values) in enumerate(lines[:9]):
        left, low = x + 10 + number % 3 * (w / 3), y + h - 16 * ((min(len(lines), 9) + 2) // 3) + 10 + number // 3 * 16
        words = f"{name}: {in_unit(values[-1][1], unit)}"
        yield f'<rect x="{left:.0f}" y="{low - 7:.0f}" width="10" height="3" fill="{COLOURS[number % 10]}"/>'
        yield text(left + 14, low, words if len(words) < 26 else words[:25] + "…", 10)


def curves(
    lines: list[Series], unit: str, box: tuple[float, float, float, float], steps: list[dict[str, Any]]
) -> Iterator[str]:
    """The lines over a scale from nothing to the greatest value; a threshold that is on the scale is dashed."""
    x, y, w, h = box
    top = max((value for _, values in lines for _, value in values), default=0) or 1
    first, last = min(v[0][0] for _, v in lines), max(v[-1][0] for _, v in lines)
    for share in (0, 0.5, 1):
        level = y + h - share * h
        yield f'<line x1="{x}" y1="{level:.0f}" x2="{x + w}" y2="{level:.0f}" stroke="#2c3235"/>'
        yield text(x - 6, level + 4, in_unit(top * share, unit), 10, extra='text-anchor="end"')
    for step in steps:
        if step["value"] <= top:
            level = y + h - step["value"] / top * h
            style = f'stroke="{LEVELS[step["color"]]}" stroke-dasharray="6 4"'
            yield f'<line x1="{x}" y1="{level:.0f}" x2="{x + w}" y2="{level:.0f}" {style}/>'
    for number, (_, values) in enumerate(lines):
        points = " ".join(
            f"{x + (at - first) / max(last - first, 1) * w:.1f},{y + h - value / top * h:.1f}" for at, value in values
        )
        yield f'<polyline points="{points}" fill="none" stroke="{COLOURS[number % 10]}" stroke-width="1.5"/>'


def picture(base: str, minutes: float) -> str:
    """The whole dashboard."""
    panels = [one for header, row in rows() for one in (header, *row)]
    end = time.time()
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * ROW
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * UNIT} {bottom}" font-family="sans-serif">',
        f'<rect width="{24 * UNIT}" height="{bottom}" fill="#111217"/>',
    ]
    for panel in panels:
        pieces += drawn(panel, series_of(base, panel, minutes, end) if panel["type"] != "row" else [])
    return "\n".join([*pieces, "</svg>\n"])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python helm/picture.py http://127.0.0.1:9090 [MINUTES] > FILE.svg")
    sys.stdout.write(picture(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 30))
