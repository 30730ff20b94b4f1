"""A disk that is full: what was acknowledged stays, what was refused is not there, and it can be emptied."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
INSIDE = 'mount -t tmpfs -o size=12m none "$1" && exec "$2" "$3" "$1"'


def test_a_full_disk_loses_nothing_and_can_be_emptied(tmp_path):
    script = Path(__file__).with_name("filling.py")
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", INSIDE, "sh", tmp_path, sys.executable, script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no space left" in done.stdout or "disk is full" in done.stdout
    assert done.stdout.endswith("whole\n")
