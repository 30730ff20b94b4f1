"""``ctr`` of containerd 2.3 talks to our daemon; test_ctr.py has Debian's 1.6, beside the real containerd."""

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


def test_its_commands_work(ctr):
    assert "Server:\n  Version:" in ctr("version").stdout
    assert ctr("namespaces", "create", "x", "a=b").returncode == 0
    assert ctr("namespaces", "ls").stdout.splitlines()[1].split() == ["x", "a=b"]
    assert ctr("-n", "x", "leases", "create", "--id", "l1").stdout == "l1\n"
    assert ctr("-n", "x", "leases", "ls").stdout.splitlines()[1].split()[0] == "l1"
    for what, columns in (
        ("content", "DIGEST SIZE AGE LABELS"),
        ("images", "REF TYPE DIGEST SIZE PLATFORMS LABELS"),
        ("containers", "CONTAINER IMAGE RUNTIME"),
    ):
        done = ctr("-n", "x", what, "ls")
        assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", columns.split())


def test_what_is_ingested_is_what_comes_out(ctr, tmp_path):
    digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    (tmp_path / "hello").write_text("hello")
    assert ctr("leases", "create", "--id", "settle").returncode == 0
    removed = ctr("leases", "rm", "--sync", "settle")  # after it no collection is due: nothing holds the content
    assert (removed.returncode, removed.stderr) == (0, "")
    with (tmp_path / "hello").open() as file:
        words = [
            path_of("containerd23/ctr"),
            *ctr("version").args[1:3],
            "content",
            "ingest",
            "--expected-digest",
            digest,
        ]
        subprocess.run([*words, "hello"], stdin=file, check=True, timeout=PATIENCE_S, capture_output=True)
    got = ctr("content", "get", digest)
    assert (got.returncode, got.stderr, got.stdout) == (0, "", "hello")


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
