"""The same config.toml for real containerd and for holdfast: they show the same, or the difference is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.needs import peer
from tests.peers.case import Case, seen
from tests.peers.cases import CASES, IN_23, MINE, NEWER, OURS, as_newer
from tests.peers.cases.wild import REFUSED, WILD
from tests.peers.cases.words import SIDE
from tests.peers.daemon import containerd, containerd23, holdfast

PAGE = Path(__file__).parents[2] / "docs" / "containerd-differences.md"
TEST = re.compile(r"def (test_\w+)")
ROW = re.compile(r"^\| (?!What )(.*) \| (.*) \| (.*) \| (.*) \| ((?:`\w+` ?)+)\|$", re.M)
OLDER, OURS_TOO = "as 1.6", "as holdfast"  # of the column of 2.3


def rows(case: Case) -> list[pytest.MarkDecorator]:
    return [pytest.mark.root] if case.needs_root else []


EACH = pytest.mark.parametrize("case", [pytest.param(case, id=case.name, marks=rows(case)) for case in CASES])


@pytest.fixture(autouse=True)
def no_groups_left():
    yield
    for top in Path("/sys/fs/cgroup").glob(f"*/{SIDE}-*"):
        for path in sorted(top.glob("**/"), reverse=True):  # children first
            path.rmdir()


@peer("containerd", "ctr")
@EACH
def test_containerd_shows_what_the_table_says(case, short_dir):
    assert case.theirs == seen(case, containerd, short_dir / "c")


@peer("containerd23/containerd", "ctr")
@EACH
def test_containerd_2_3_shows_what_the_table_says(case, short_dir):
    assert NEWER[case.name] == seen(case, containerd23, short_dir / "c")


@peer("ctr")
@EACH
def test_holdfast_shows_the_same_or_what_the_page_says(case, short_dir):
    assert MINE[case.name] == seen(case, holdfast, short_dir / "h")


def rows_of_the_page() -> list[tuple[str, str, list[str]]]:
    """What 2.3 does, what holdfast does, and the names in the last column, of each row of the page's tables."""
    return [(newer, ours, re.findall(r"`(\w+)`", cell)) for _, _, newer, ours, cell in ROW.findall(PAGE.read_text())]


def named() -> set[str]:
    """Return the names in the last column of the page's tables: cases of the tables, and tests."""
    return {name for _, _, names in rows_of_the_page() for name in names}


def test_every_difference_from_either_containerd_has_a_row_in_the_page_and_every_row_is_a_difference():
    older = {case.name for case in CASES if MINE[case.name] != case.theirs}
    newer = {case.name for case in CASES if as_newer(MINE[case.name]) != NEWER[case.name]}
    assert older | newer == named() & {case.name for case in CASES}
    assert set(REFUSED) == named() & set(WILD)


def test_what_the_page_names_besides_is_a_test():
    tests = {name for path in Path(__file__).parents[1].rglob("*.py") for name in TEST.findall(path.read_text())}
    assert named() - {case.name for case in CASES} - set(WILD) <= tests


def test_every_row_names_what_shows_it():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| What ")]
    assert len(lines) > 50
    assert [line for line in lines if not ROW.match(line)] == []


def test_the_column_of_2_3_says_as_1_6_or_as_holdfast_where_the_cases_do():
    cases = {case.name: case for case in CASES}
    for newer, ours, names in rows_of_the_page():
        seen_in = [cases[name] for name in names if name in cases]
        as_older = all(NEWER[case.name] == as_newer(case.theirs) for case in seen_in)
        as_ours = all(NEWER[case.name] == as_newer(MINE[case.name]) for case in seen_in)
        if seen_in:
            assert (newer == OLDER) <= as_older <= newer.startswith(OLDER), names
            assert (newer == OURS_TOO) <= as_ours, names
        assert not (newer == OLDER and ours.startswith(OLDER)), names  # as both: no difference


def test_no_case_is_called_different_that_is_not():
    assert [case.name for case in CASES if OURS.get(case.name) == case.theirs] == []
    assert [case.name for case in CASES if IN_23.get(case.name) == as_newer(case.theirs)] == []
    assert {*OURS, *IN_23} <= {case.name for case in CASES}


def test_names_are_unique():
    assert len({*WILD, *(case.name for case in CASES)}) == len(CASES) + len(WILD)
