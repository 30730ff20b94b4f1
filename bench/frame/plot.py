"""A module's figures as one SVG: each ratio a dot with its range on a logarithmic scale, its limit a tick.

A dot is green where the limit is held, red where it is missed, grey where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from bench.frame.figure import Figure

ROW, TOP, LEFT, WIDTH, RIGHT = 18, 44, 330, 420, 150
COLOURS = {True: "#2a7f3f", False: "#b3261e", None: "#6b7280"}


def drawn(title: str, figures: Sequence[Figure]) -> str:
    """The SVG of the figures that have a peer; the others have no ratio to show."""
    shown = [figure for figure in figures if figure.ratio]
    values = [value for figure in shown for value in (*figure.ratios, figure.must or 1.0) if value > 0] or [1.0]
    low, high = min(*values, 0.5) / 1.15, max(*values, 2.0) * 1.15

    def x(value: float) -> float:
        return LEFT + WIDTH * math.log(max(value, low) / low) / math.log(high / low)

    height = TOP + ROW * len(shown) + 26
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + RIGHT}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="8" y="18" font-size="13" font-weight="bold">{escape(title)}</text>',
        '<text x="8" y="34" fill="#6b7280">holdfast ÷ peer, median and range of the rounds; | is the limit</text>',
    ]
    for mark in _marks(low, high):
        line = f'<line x1="{x(mark):.1f}" y1="{TOP}" x2="{x(mark):.1f}" y2="{height - 22}"'
        parts.append(f'{line} stroke="{"#9ca3af" if mark == 1 else "#e5e7eb"}"/>')
        parts.append(f'<text x="{x(mark):.1f}" y="{height - 8}" text-anchor="middle" fill="#6b7280">{mark:g}</text>')
    for number, figure in enumerate(shown):
        parts += _row(figure, TOP + ROW * number + ROW / 2, x)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(figure: Figure, y: float, x) -> list[str]:  # type: ignore[no-untyped-def]
    colour, ratio = COLOURS[figure.held], figure.ratio or 0.0
    least, most = x(min(figure.ratios)), x(max(figure.ratios))
    words = f"{ratio:.2f} of {escape(figure.peer[:14])}"
    row = [
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(figure.name[:56])}</text>',
        f'<line x1="{least:.1f}" y1="{y:.1f}" x2="{most:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="2"/>',
        f'<circle cx="{x(ratio):.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>',
        f'<text x="{LEFT + WIDTH + 8}" y="{y + 4:.1f}" fill="{colour}">{words}</text>',
    ]
    if figure.must is not None:
        at = f'x1="{x(figure.must):.1f}" y1="{y - 7:.1f}" x2="{x(figure.must):.1f}" y2="{y + 7:.1f}"'
        row.append(f'<line {at} stroke="#111827" stroke-width="1.5"/>')
    return row


def _marks(low: float, high: float) -> list[float]:
    steps = [base * 10**power for power in range(-4, 5) for base in (1, 2, 5)]
    return [step for step in steps if low <= step <= high]
