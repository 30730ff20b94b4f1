"""The rules that ship against an ordinary user with a delegated unit, on a host with cgroup v2 and systemd."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOST = "HOLDFAST_SYSTEMD_HOST"
BOOT_S = 600


@pytest.mark.root
@pytest.mark.timeout(BOOT_S)
@pytest.mark.skipif(not os.environ.get(HOST), reason=f"needs {HOST}=PROGRAM that runs commands on a host with systemd")
def test_an_ordinary_user_has_nothing_below_zero_from_the_rules_that_ship():
    paths = os.pathsep.join((str(ROOT / "service"), str(ROOT)))
    command = [*shlex.split(os.environ[HOST]), "env", f"PYTHONPATH={paths}", sys.executable, "-m"]
    ran = subprocess.run(
        [*command, "tests.hostile.delegated"], cwd=ROOT, capture_output=True, text=True, timeout=BOOT_S, check=False
    )
    said = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    users = [one for one in said if "comm" in one]
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(users) > 12, ran.stdout + ran.stderr
    assert {"node_exporter", "containerd", "containerd-shim", "calico-node"} <= {one["comm"] for one in users}
    assert [one for one in users if one["adj"] < 0] == []
    assert [one["real"] for one in said if "real" in one] == [-500], "the real thing is protected"
