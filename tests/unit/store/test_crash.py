"""kill -9 at the lines of an ingest, a commit, a delete, a collection and changes of bundles (see ``crashing.py``).

Every 7th line unless HOLDFAST_CRASH_STRIDE says otherwise; 1 is all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STRIDE = int(os.environ.get("HOLDFAST_CRASH_STRIDE", "7"))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("scenario", ["Ingest", "Delete", "Collect", "Bundle"])
def test_killed_at_any_line_nothing_is_lost_and_nothing_is_there_by_half(tmp_path, scenario):
    script = Path(__file__).with_name("crashing.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path, scenario, str(STRIDE)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    total, killed = map(int, done.stdout.split())
    assert killed >= total // STRIDE * 0.9, "most runs must have been killed on their way"
