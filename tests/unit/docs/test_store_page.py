"""docs/store.md: every case of containerd's suites has a test of ours that exists, or a reason why not."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "store.md").read_text()
CASES = re.findall(
    r"^\|([^|]*)\|([^|]*)\|([^|]*)\|$", PAGE.partition("## containerd's suites and ours")[2], re.MULTILINE
)
ROWS = [tuple(cell.strip() for cell in row) for row in CASES if not row[0].startswith((" containerd ", "---"))]


def test_every_named_test_exists():
    tests = {
        name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = {name for row in ROWS for name in re.findall(r"`(\w+)`", row[-1])}
    assert len(named) > 60
    assert named - tests == set()


def test_every_case_has_a_test_or_a_reason():
    assert len(ROWS) > 60
    assert [row for row in ROWS if not re.fullmatch(r"(`test_\w+` ?)+|does not apply: .+", row[-1])] == []
    assert [row for row in ROWS if not row[1]] == []


def test_every_contract_is_on_the_page_and_the_other_way():
    table = PAGE.partition("| contract | what it checks |")[2].partition("##")[0]
    named = {name for row in re.findall(r"^\|([^|]*)\|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    files = {path.stem for path in (ROOT / "tests" / "contracts").glob("*.py")}
    assert named == {name for name in files if not name.startswith(("__", "layer_"))}
