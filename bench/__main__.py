"""``python -m bench [--quick] [MODULE…]``: run the modules one after another and write one report and its plots."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from bench.frame import page, plot
from bench.frame.figure import table

HERE = Path(__file__).parent
RESULTS = HERE / "results"
#: Seconds a module may take; all of them together take some 40 minutes at most.
LIMIT_S = 960


def modules() -> list[str]:
    """Every module of this folder that is a subject."""
    return sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def run(name: str, quick: bool) -> dict[str, object] | None:
    """Run one module in a process of its own, so that none inherits another's heap; None when it failed."""
    out = RESULTS / f"{name}.json"
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"bench.{name}", "--json", str(out), *(["--quick"] if quick else [])]
    print(f"bench: {name}", flush=True)
    began = time.monotonic()
    try:
        status = subprocess.run(command, cwd=HERE.parent, check=False, timeout=LIMIT_S).returncode
    except subprocess.TimeoutExpired:
        print(f"bench: {name}: not done after {LIMIT_S} s", file=sys.stderr, flush=True)
        return None
    print(f"bench: {name}: {time.monotonic() - began:.0f} s", flush=True)
    if status or not out.exists():
        print(f"bench: {name}: exit status {status}", file=sys.stderr, flush=True)
        return None
    return dict(json.loads(out.read_text()))


def report(results: list[dict[str, object]]) -> str:
    """The report as Markdown: where it ran, then a table a module."""
    load = " ".join(f"{number:.2f}" for number in os.getloadavg())
    lines = [
        "# Figures of one run",
        "",
        f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} CPUs, load now {load}.",
        "A ratio is holdfast's figure over the peer's, the median of the rounds; the range is over the rounds.",
    ]
    named = [(str(result["name"]), str(result["title"]), page.figures_of(result)) for result in results]
    lines += ["", "## Limits", "", *page.limits([(name, figures) for name, _, figures in named])]
    for _, title, figures in named:
        lines += ["", f"## {title}", "", table(figures)]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run what was named, or all; 1 when one of them failed."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds of the same code")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"default: {' '.join(modules())}")
    given = parser.parse_args(argv)
    unknown = sorted(set(given.modules) - set(modules()))
    if unknown:
        parser.error(f"no such module: {' '.join(unknown)}; there are: {' '.join(modules())}")
    RESULTS.mkdir(exist_ok=True)
    results = [run(name, given.quick) for name in given.modules or modules()]
    good = [result for result in results if result is not None]
    (RESULTS / "report.md").write_text(report(good))
    for result in good:
        (RESULTS / f"{result['name']}.svg").write_text(plot.drawn(str(result["title"]), page.figures_of(result)))
    print(f"\nbench: wrote {(RESULTS / 'report.md').relative_to(HERE.parent)}")
    return int(len(good) != len(results))


if __name__ == "__main__":
    raise SystemExit(main())
