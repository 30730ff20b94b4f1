"""Files and tests that SECURITY.md and the threat model name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/threat-model.md"])
def test_every_test_that_a_page_names_exists(page):
    named = set(re.findall(r"`(tests/[\w/.]+)`", (ROOT / page).read_text("utf-8")))
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()
