"""The part of a file that is ours, where several programs or rules write lines of it."""

from __future__ import annotations

import pytest
from holdfast.node.apply.file_text import after_refusal, our_parts, wanting_row
from holdfast.node.journal.rows import FileRow
from msgspec.structs import replace

MAX = "blkio.throttle.read_bps_device"
ROW = FileRow("blkio", "/a", MAX, before="8:32 7", rule="r", wanted="8:0 5")
PIDS = FileRow("pids", "/a", "pids.max", before="max", rule="r", written="50", wanted="60")


@pytest.mark.parametrize(
    ("row", "now", "ours"),
    [
        (PIDS, "50", {"": "50"}),
        (PIDS, "60", {"": "60"}),
        (PIDS, "70", {}),
        (ROW, "8:0 5\n8:32 7", {"8:0": "5"}),
        (ROW, "8:0 6\n8:32 7", {}),
        (ROW, "8:32 7", {}),
        (replace(ROW, written="8:16 9"), "8:0 5\n8:16 9", {"8:0": "5", "8:16": "9"}),
        (replace(ROW, written="8:16 9"), "8:0 5\n8:16 8", {"8:0": "5"}),
    ],
)
def test_what_is_ours(row, now, ours):
    assert our_parts(row, now) == ours


def test_another_programs_text_is_the_new_before():
    assert wanting_row(replace(PIDS, before="80", written=None), PIDS, "80").before == "80"


def test_our_own_text_is_not():
    row = wanting_row(replace(PIDS, before="50", written=None, wanted="90"), PIDS, "50")
    assert (row.before, row.written, row.wanted) == ("max", "50", "90")


def test_another_rules_device_stays_ours_and_another_programs_new_line_is_before():
    old, now = replace(ROW, written="8:0 5", wanted=None), "8:0 5\n8:32 8\n8:48 1"
    row = wanting_row(replace(ROW, before=now, wanted="8:16 9"), old, now)
    assert (row.before, row.written, row.wanted) == ("8:32 8\n8:48 1", "8:0 5", "8:0 5\n8:16 9")


def test_what_another_program_chose_for_our_device_is_its_before():
    old = replace(ROW, written="8:0 5\n8:16 9", wanted=None)
    row = wanting_row(replace(ROW, before="8:0 6\n8:16 9\n8:32 7", wanted="8:0 5"), old, "8:0 6\n8:16 9\n8:32 7")
    assert (row.before, row.written, row.wanted) == ("8:0 6\n8:32 7", "8:16 9", "8:16 9\n8:0 5")


@pytest.mark.parametrize(
    ("row", "now", "written"),
    [
        (PIDS, "50", "50"),
        (replace(PIDS, written=None), "max", None),
        (ROW, "8:32 7", None),
        (replace(ROW, wanted="8:0 5\n8:16 9"), "8:0 5\n8:32 7", "8:0 5"),
    ],
)
def test_a_refusal_may_come_after_some_lines(row, now, written):
    assert after_refusal(row, now).written == written
