"""The host reports the tests that ran in the guest, however long they took and wherever they ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = """
import pytest

@pytest.mark.v2
@pytest.mark.systemd
@pytest.mark.parametrize("name", ["first", "second"])
def test_case(name):
    raise AssertionError("it runs in the guest only")
"""
SETTINGS = "[pytest]\ntimeout = {}\nmarkers =\n  v2: there\n  systemd: there\n"
CONFTEST = "from tests import guest\n\n\ndef pytest_configure(config):\n    guest.configure(config)\n"
#: Stands in for the guest: after ``pause`` it writes reports of its tests, as the guest's pytest would.
PROGRAM = """
import json, os, sys, time
pause, written = float(sys.argv[1]), sys.argv[2]
given = dict(word.split("=", 1) for word in sys.argv if word.startswith("HOLDFAST_"))
time.sleep(pause)

def report(nodeid, when):
    return json.dumps({"nodeid": nodeid, "location": ["x", 1, "x"], "keywords": {}, "outcome": "passed", "when": when,
        "longrepr": None, "sections": [], "duration": 0, "start": 0, "stop": 0, "user_properties": [],
        "$report_type": "TestReport"}) + "\\n"

nodeids = [word for word in sys.argv if "::" in word]
text = "".join(report(nodeid, when) for nodeid in nodeids for when in ("setup", "call", "teardown"))
cut = {"all": len(text), "half a line": len(text) - 20, "half a test": text.rindex("\\n", 0, -1) + 1}[written]
with open(given["HOLDFAST_GUEST_REPORT"], "w") as file:
    file.write(text[:cut])
"""


@pytest.fixture
def run(tmp_path):
    """Runs two tests of the guest's, and gives pytest's words."""

    def run(written, pause=0.0, timeout_s=60.0):
        files = {"test_cases.py": CASES, "conftest.py": CONFTEST, "program.py": PROGRAM}
        for name, text in {**files, "pytest.ini": SETTINGS.format(timeout_s)}.items():
            (tmp_path / name).write_text(text)
        program = f"{sys.executable} {tmp_path}/program.py {pause} '{written}'"
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", "test_cases.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/service", "HOLDFAST_V2_HOST": program},
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.stdout + ran.stderr

    return run


def test_a_guest_that_takes_longer_than_a_test_may_is_waited_for(run):
    said = run("all", pause=1.5, timeout_s=1.0)
    assert "2 passed" in said, said


@pytest.mark.parametrize("written", ["half a line", "half a test"])
def test_a_test_during_which_the_guest_ended_failed_and_the_others_are_reported(run, written):
    said = run(written)
    assert "1 failed, 1 passed" in said, said
    assert "only a part of its reports came back" in said
