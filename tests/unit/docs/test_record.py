"""The README's session: the recorder fills its place and nothing else, and the page has the whole story."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def record():
    spec = importlib.util.spec_from_file_location("record", ROOT / "docs" / "record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(record, between):
    return f"before\n\n```console\n$ kept\n```\n\n{record.FROM}{between}{record.TO}after\n"


def test_a_recording_fills_its_place_and_the_rest_stays(record):
    old = "Recorded on some day\nsomewhere.\n\n```console\n$ a\nold\n```\n\nBetween.\n\n```console\n$ b\n```\n"
    made = record.filled(
        page(record, old), {"note": "Recorded on another.", "sessions": [["$ a", "new", ""], ["$ b", "x"]]}
    )
    new = "Recorded on another.\n\n```console\n$ a\nnew\n\n```\n\nBetween.\n\n```console\n$ b\nx\n```\n"
    assert made == page(record, new)


def test_filling_twice_changes_nothing(record):
    once = record.filled(README, recording(record))
    assert record.filled(once, recording(record)) == once


def recording(record):
    between = README.partition(record.FROM)[2].partition(record.TO)[0]
    return {
        "note": record.NOTE.search(between)[0],
        "sessions": [session.splitlines() for session in record.SESSION.findall(between)],
    }


def test_what_is_there_is_a_recording_of_the_whole_story(record):
    found = recording(record)
    assert record.filled(README, found) == README
    lines = [line for session in found["sessions"] for line in session]
    typed = [re.sub(r" \d+$| -.*", "", line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]
    story = [
        "holdfast preview",
        "sed",
        "holdfast ps",
        "holdfast victims",
        "import-job",
        "holdfast kills",
        "holdfast kills",
    ]
    assert typed[:7] == story
    for pattern in record.EXPECTED.values():
        assert re.search(pattern, "\n".join(lines)), pattern


def test_the_number_in_a_command_is_that_of_the_process_that_is_killed(record):
    lines = [line for session in recording(record)["sessions"] for line in session]
    (asked,) = [line.rpartition(" ")[2] for line in lines if record.WITH_PID.match(line.removeprefix("$ "))]
    assert f"xz ({asked})" in "\n".join(lines)
