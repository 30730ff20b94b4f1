"""docs/ttrpc.md: every case of Go's suite has a test of ours that exists, or a reason why not."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "ttrpc.md").read_text()
TABLE = PAGE.partition("## Go's suite and ours")[2].partition("\n## ")[0]
ROWS = [
    tuple(cell.strip() for cell in row)
    for row in re.findall(r"^\|([^|]*)\|([^|]*)\|([^|]*)\|$", TABLE, re.MULTILINE)
    if not row[0].startswith((" ttrpc (Go) ", "---"))
]
FOLDERS = ("tests/unit/ttrpc", "tests/peers/ttrpc")


def test_every_named_test_exists():
    tests = {
        name
        for folder in FOLDERS
        for path in (ROOT / folder).glob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = {name for row in ROWS for name in re.findall(r"`(\w+)`", row[-1])}
    assert len(named) > 55
    assert named - tests == set()


def test_every_case_has_a_test_or_a_reason():
    assert len(ROWS) > 45
    assert [row for row in ROWS if not re.fullmatch(r"(`test_\w+` ?)+|does not apply: .+", row[-1])] == []
    assert [row for row in ROWS if not row[1]] == []
