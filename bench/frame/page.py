"""The page of figures: ``python -m bench.frame.page`` puts the results that are there into ``docs/performance.md``.

Only what stands between ``<!-- bench:MODULE -->`` and ``<!-- /bench -->`` is written: the module's plot and its table,
or for ``limits`` every limit of the run. The words around it are people's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from bench.frame import plot
from bench.frame.figure import Figure

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "bench" / "results"
_PLACE = re.compile(r"(<!-- bench:(\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def figures_of(result: dict[str, object]) -> list[Figure]:
    """The figures of one module's JSON."""
    given = result["figures"]
    assert isinstance(given, list)
    return [Figure(**{key: value for key, value in figure.items() if key != "ratio"}) for figure in given]


def limits(named: Sequence[tuple[str, Sequence[Figure]]]) -> list[str]:
    """The sentence that counts them, and a table of every limit."""
    limited = [(name, figure) for name, figures in named for figure in figures if figure.must is not None]
    held = sum(bool(figure.held) for _, figure in limited)
    lines = [f"{held} of {len(limited)} limits held.", ""]
    lines += ["| module | figure | is | limit (stretch) | range |", "|---|---|---|---|---|"]
    for name, figure in limited:
        cells = figure.row()
        is_now = cells[3] if figure.peers else cells[1]
        lines.append(f"| {name} | {cells[0]} | {is_now} | {figure.limit} | {cells[4]} |")
    return lines


def filled(page: str, results: Sequence[dict[str, object]]) -> str:
    """The page with what these results say in its places; places of modules that did not run stay as they are."""
    named = [(str(result["name"]), figures_of(result)) for result in results]
    places = {name: [f"![](performance/{name}.svg)", "", *_short(figures)] for name, figures in named}
    places["limits"] = limits(named)

    def put(found: re.Match[str]) -> str:
        lines = places.get(found[2])
        return found[0] if lines is None else found[1] + "\n".join(lines) + "\n" + found[3]

    return _PLACE.sub(put, page)


def _short(figures: Sequence[Figure]) -> list[str]:
    """A table without the columns that the limit says already."""
    lines = ["| figure | holdfast | peer | ratio | range | rounds | limit (stretch) |", "|---|---|---|---|---|---|---|"]
    for figure in figures:
        name, ours, peer, ratio, spread, rounds, _, limit, note = figure.row()
        lines.append(f"| {name} | {ours} | {peer} | {ratio} | {spread} | {rounds} | {limit or note} |")
    return lines


def main() -> None:
    """Fill the page, and draw each module's plot beside it."""
    results = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    PAGE.write_text(filled(PAGE.read_text(), results))
    folder = PAGE.with_suffix("")
    folder.mkdir(exist_ok=True)
    for result in results:
        (folder / f"{result['name']}.svg").write_text(plot.drawn(str(result["title"]), figures_of(result)))
    print(f"{PAGE.relative_to(ROOT)}: {len(results)} modules")


if __name__ == "__main__":
    main()
