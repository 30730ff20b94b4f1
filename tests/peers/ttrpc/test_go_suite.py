"""The cases of the Go module we build against, read from its own sources: docs/ttrpc.md has each of them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.peers.ttrpc.conftest import HERE, missing

pytestmark = pytest.mark.peer
PAGE = HERE.parents[2] / "docs" / "ttrpc.md"
CASE = re.compile(r'^func ((?:Test|Benchmark)\w+)\(\w+ \*testing|^\tt\.Run\("(\w+)", ', re.MULTILINE)


def test_no_case_of_go_s_suite_is_missing_on_the_page(ttrpcpeer):
    if shutil.which("go") is None:
        missing("go is not installed")
    where = ["go", "list", "-m", "-f", "{{.Dir}}", "github.com/containerd/ttrpc"]
    module = subprocess.run(where, cwd=HERE, check=True, capture_output=True, text=True).stdout.strip()
    sources = [path.read_text() for path in Path(module).rglob("*_test.go")]
    cases = {one or other for source in sources for one, other in CASE.findall(source)}
    assert {"TestServer", "EchoNullStream", "TestUserOnCloseWait"} <= cases
    table = PAGE.read_text().partition("## Go's suite and ours")[2]
    rows = re.findall(r"^\|[^|]*\|([^|]*)\|", table, re.MULTILINE)
    on_page = {word for row in rows for word in re.findall(r"\w+", row)}
    assert cases - on_page == set()
