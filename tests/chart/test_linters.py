"""Workflows, Dockerfile, scripts and manifests have nothing their linters complain about."""

from __future__ import annotations

import pytest

from tests.chart.kit import REPOSITORY, ran
from tests.needs import path_of, peer

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yaml"))

LINTERS = {
    "actionlint": ["-no-color"],
    "zizmor": ["--offline", "--quiet", "--no-progress", ".github"],
    "check-jsonschema": ["--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS)],
    "hadolint": ["Dockerfile"],
}


@pytest.mark.parametrize("linter", [pytest.param(name, marks=peer(name)) for name in LINTERS])
def test_a_linter_has_nothing_to_say(linter):
    done = ran(path_of(linter), *LINTERS[linter], cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_workflows_to_lint():
    assert [path.stem for path in WORKFLOWS] == ["chart", "ci", "docs", "e2e", "image", "release"]


def test_scripts_are_bash_that_parses():
    for script in (
        "tests/e2e/run",
        "tests/peers/build",
        ".ci/run",
        "deploy/deb/build",
        "deploy/release",
        "deploy/site",
    ):
        done = ran("bash", "-n", REPOSITORY / script)
        assert (done.returncode, done.stderr) == (0, ""), script


UNIT = REPOSITORY / "deploy" / "systemd" / "holdfast.service"


@peer("systemd-analyze")
def test_systemd_finds_the_unit_sound(tmp_path):
    """With a program that is there; whether ours is, is the installation's."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/holdfast/bin/holdfast", "/bin/true"))
    done = ran(path_of("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", unit)
    assert (done.returncode, unit.name in done.stderr) == (0, False), done.stderr


def test_the_unit_restarts_a_daemon_that_hangs_and_leaves_room_for_connections():
    said = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#")
    assert (said["Type"], said["Restart"]) == ("notify", "always")
    assert 0 < int(said["WatchdogSec"]) <= 60
    assert int(said["LimitNOFILE"]) >= 65536
