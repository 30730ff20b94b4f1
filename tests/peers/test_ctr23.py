"""``ctr`` of containerd 2.3 about our plugins and what is deprecated; `test_ctr23_script` has all that both print."""

from __future__ import annotations

import json
import subprocess

import holdfast
import pytest

from tests.needs import path_of, peer
from tests.running import PATIENCE_S

pytestmark = peer("containerd", "ctr", "containerd23/ctr")
V1 = "io.containerd.deprecation/cgroup-v1"


@pytest.fixture
def ctr(ours):
    daemon = ours()

    def run(*words: str, quiet: bool = True) -> subprocess.CompletedProcess[str]:
        command = [path_of("containerd23/ctr"), "--address", daemon.address, *words]
        environ = {"CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS": str(quiet).lower(), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    return run


def test_a_plugin_is_asked_about_itself(ctr):
    words = ctr("plugins", "ls", "-d", "id==version").stdout.split()
    assert (words[3], words[-3:]) == ("version", ["distribution", "holdfast", holdfast.__version__])
    assert ctr("plugins", "inspect-runtime").stderr == "ctr: plugin io.containerd.runtime.v2.task: not found\n"


def test_cgroup_v1_is_listed_as_deprecated_and_each_command_warns(ctr):
    is_v1 = V1 in [one["id"] for one in json.loads(ctr("info").stdout)["server"].get("deprecations", [])]
    listed = ctr("deprecations", "list").stdout
    mode = ctr("plugins", "ls", "-d", "id==hierarchy").stdout
    assert is_v1 == (V1 in listed) == ("hybrid" in mode or "legacy" in mode)
    assert ("DEPRECATION: cgroup v1" in ctr("version", quiet=False).stderr) == is_v1
    assert "DEPRECATION" not in ctr("version").stderr
