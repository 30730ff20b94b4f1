"""Boots one cgroup-v2 guest and runs `tests/v2` in it. ``HOLDFAST_V2_HOST``: the command that runs a command there."""

import os
import re
import shlex
import subprocess
import sys

import pytest

RUNNER = os.environ.get("HOLDFAST_V2_HOST", "")


@pytest.mark.peer
@pytest.mark.timeout(900)
@pytest.mark.skipif(not RUNNER, reason="HOLDFAST_V2_HOST names no runner of a cgroup-v2 host")
def test_everything_under_tests_v2_passes_on_a_cgroup_v2_host(request, capsys):
    command = [*shlex.split(RUNNER), sys.executable, "-m", "pytest", "tests/v2", "-q", "-rA", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=request.config.rootpath, capture_output=True, text=True, check=False)
    with capsys.disabled():  # the inner result is the report: it is shown whatever it is
        sys.stdout.write(f"\n{run.stdout[-4000:]}\n")
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", run.stdout)}
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert counts.get("passed", 0) > 0
    assert counts.get("skipped", 0) == 0, run.stdout[-6000:]
