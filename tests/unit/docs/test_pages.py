"""Every page is true: its commands exist, its configurations can be used, its links lead somewhere."""

import inspect
import re
from pathlib import Path

import pytest
from holdfast.config import load
from holdfast.node.rule.compile import compile_rules
from holdfast.node.rule.file import read_rules

ROOT = Path(__file__).parents[3]
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "helm/holdfast/README.md")
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def without_code(text):
    return re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", one) for one in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EACH
def test_the_links_lead_to_files_and_headings(page):
    links = re.findall(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)", without_code(page.read_text()))
    lost = [path for path, _ in links if not (page.parent / path).exists()]
    lost += [
        f"{path}#{anchor}"
        for path, anchor in links
        if anchor and anchor not in anchors(page.parent / path if path else page)
    ]
    assert lost == []


def test_the_readme_is_two_hundred_lines_at_most():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_cost_in_the_readme_is_that_of_the_figures():
    words = " ".join((ROOT / "README.md").read_text().split())
    cpu, least, most = re.search(r"less than ([0-9.]+) % of a processor and (\d+) to (\d+) MiB", words).groups()
    figures = (ROOT / "docs/performance.md").read_text()
    (measured,) = set(re.findall(r"^\| idle CPU, the whole daemon \| ([0-9.]+) %", figures, re.MULTILINE))
    (memory,) = re.findall(r"^\| idle RSS, rules loaded \| ([0-9.]+) MiB", figures, re.MULTILINE)
    assert float(measured) < float(cpu)
    assert int(least) <= float(memory) <= int(most)


def test_the_readmes_rules_can_be_used(tmp_path):
    (example,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "config.yaml").write_text(example)
    assert load(tmp_path / "config.yaml").settings.plugins["io.holdfast.placement.v1.rules"]["rules"]


def shown_files(page):
    """Return what a page's sessions print of files with rules."""
    return re.findall(r"^\$ cat \S+\.yaml\n(.*?)^(?:\$|```)", page.read_text(), re.MULTILINE | re.DOTALL)


def test_the_readmes_rules_and_those_that_sessions_show_are_accepted():
    examples = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    shown = [text for page in PAGES for text in shown_files(page)]
    assert shown
    for text in (*examples, *shown):
        config = read_rules(text, "example")
        assert len(compile_rules(config.rules, lambda name: 1)) == len(config.rules) > 0


@pytest.mark.parametrize("page", ["docs/threat-model.md", "SECURITY.md"])
def test_the_tests_it_names_are_there(page):
    named = re.findall(r"`(tests/[a-z_/]+(?:\.py)?)`", (ROOT / page).read_text())
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_package_has_its_row_in_the_design_and_every_row_its_package():
    (text,) = re.findall(
        r"^## The packages\n(.*?)\n\n", (ROOT / "docs/design.md").read_text(), re.MULTILINE | re.DOTALL
    )
    named = [name for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    there = [
        path.stem
        for path in (ROOT / "service/holdfast").iterdir()
        if (path / "__init__.py").exists() or path.suffix == ".py"
    ]
    assert sorted(named) == sorted(name for name in there if not name.startswith("__"))


def test_the_boot_in_the_design_is_the_boot_and_short():
    from holdfast.server.build import Daemon

    source = inspect.getsource(Daemon.boot)
    assert f"```python\n{source}```\n" in (ROOT / "docs/design.md").read_text()
    assert len(source.splitlines()) <= 40


def test_the_files_that_answer_questions_exist():
    text = (ROOT / "docs/design.md").read_text()
    (table,) = re.findall(r"^\| question \| file \|\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    named = re.findall(r"`([a-z0-9_/.]+)`", table)
    assert len(named) >= 10
    assert [path for path in named if not (ROOT / "service/holdfast" / path).exists()] == []


def test_the_walks_of_the_design_pass_files_that_exist_and_ten_at_the_most():
    (text,) = re.findall(r"^## Four walks\n(.*?)^## ", (ROOT / "docs/design.md").read_text(), re.MULTILINE | re.DOTALL)
    parts = re.split(r"^\*\*From .*\*\*$", text, flags=re.MULTILINE)[1:]
    walks = [re.findall(r"^\| `(\S+)` \|", part, re.MULTILINE) for part in parts]
    assert [0 < len(walk) <= 10 for walk in walks] == [True] * 4
    assert [file for walk in walks for file in walk if not (ROOT / "service/holdfast" / file).is_file()] == []
