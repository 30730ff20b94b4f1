"""kill -9 at the lines of an ingest, a commit, a delete, a collection and changes of bundles (see ``crashing.py``).

Every 7th line unless HOLDFAST_CRASH_STRIDE says otherwise; 1 is all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

STRIDE = int(os.environ.get("HOLDFAST_CRASH_STRIDE", "7"))


@pytest.fixture
def folder(tmp_path):
    """In memory, if it can be: a killed process loses nothing that it wrote, and a disk is only waited for."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as name:
        yield Path(name)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("scenario", ["Ingest", "Delete", "Collect", "Bundle"])
def test_killed_at_any_line_nothing_is_lost_and_nothing_is_there_by_half(folder, scenario):
    script = Path(__file__).with_name("crashing.py")
    done = subprocess.run(
        [sys.executable, script, folder, scenario, str(STRIDE)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    total, killed = map(int, done.stdout.split())
    assert killed >= total // STRIDE * 0.9, "most runs must have been killed on their way"
