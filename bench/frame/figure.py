"""A figure: samples of ours beside samples of a peer, and the ratio between the two.

The machines this runs on are shared and drift by tens of percent within minutes, so an absolute figure of one run
is only good beside the peer's figure from the same rounds. That is why a ratio is taken round by round, and why its
range is printed with it.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a report. ``ours[i]`` and ``peers[i]`` were taken in the same round ``i``."""

    name: str
    unit: str
    ours: Sequence[float]
    peers: Sequence[float] = ()
    peer: str = ""
    better: Better = "lower"
    note: str = ""
    must: float | None = None
    """The limit it is held against: of the ratio where there is a peer, else of the figure itself."""
    stretch: float | None = None
    """What it should become."""

    @property
    def held(self) -> bool | None:
        """Whether the limit is met; None without one."""
        if self.must is None:
            return None
        got = self.ratio if self.ratio is not None else statistics.median(self.ours)
        return got >= self.must if self.better == "higher" else got <= self.must

    @property
    def limit(self) -> str:
        """``≤ 3.5 (2.5): ok``; empty without one."""
        if self.must is None:
            return ""
        sign = "≥" if self.better == "higher" else "≤"
        stretch = f" ({self.stretch:g})" if self.stretch is not None else ""
        return f"{sign} {self.must:,g}{stretch}: {'ok' if self.held else 'MISSED'}"

    @property
    def ratios(self) -> list[float]:
        """ours / peer's of each round; empty without a peer."""
        return [mine / theirs for mine, theirs in zip(self.ours, self.peers, strict=True)] if self.peers else []

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios."""
        return statistics.median(self.ratios) if self.peers else None

    def row(self) -> list[str]:
        """The cells of this figure's line, in the order of `HEAD`."""
        return [
            self.name,
            _value(statistics.median(self.ours), self.unit),
            _value(statistics.median(self.peers), self.unit) + f" ({self.peer})" if self.peers else "-",
            f"{self.ratio:.2f}" if self.ratio is not None else "-",
            f"{min(self.ratios):.2f}–{max(self.ratios):.2f}" if self.ratios else "-",
            str(len(self.ours)),
            self.better,
            self.limit,
            self.note,
        ]


HEAD = ["figure", "holdfast", "peer", "ratio", "range", "rounds", "better", "limit (stretch)", "note"]


@dataclass(frozen=True, slots=True)
class Options:
    """The request of the command line."""

    quick: bool = False
    json: Path | None = None
    title: str = ""
    extra: dict[str, object] = field(default_factory=dict)

    def rounds(self, full: int, quick: int = 2) -> int:
        """Return how often to measure."""
        return quick if self.quick else full


def options(argv: Sequence[str], doc: str | None) -> Options:
    """Parse ``--quick`` and ``--json FILE``; ``doc`` is the module's docstring, its first line the report's title."""
    title = (doc or "").strip().partition("\n")[0]
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="fewer rounds of the same code")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the samples there")
    given = parser.parse_args(argv)
    return Options(quick=given.quick, json=given.json, title=title)


def interleaved(measures: dict[str, Callable[[], float]], rounds: int, seed: int = 1) -> dict[str, list[float]]:
    """Take each measure once a round, in an order drawn anew each round, so that no one always runs first."""
    draw = random.Random(seed)
    samples: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name in draw.sample(list(measures), len(measures)):
            samples[name].append(measures[name]())
    return samples


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table, which is readable on a terminal too."""
    rows = [HEAD, *(figure.row() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def publish(name: str, figures: Sequence[Figure], given: Options) -> int:
    """Print the table, write the JSON if asked for, and give the exit status: 0 when there is something to show."""
    print(f"\n{given.title}\n\n{table(figures)}", flush=True)
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        shown = [{**asdict(figure), "ratio": figure.ratio} for figure in figures]
        words = {"name": name, "title": given.title, "quick": given.quick, "figures": shown}
        given.json.write_text(json.dumps(words, indent=1) + "\n")
    return 0 if figures else 1


def _value(number: float, unit: str) -> str:
    digits = 0 if abs(number) >= 1000 else 1 if abs(number) >= 10 else 3
    return f"{number:,.{digits}f} {unit}".strip()
