"""docs/first-plugin.md, typed word by word on a fresh Debian without a checkout.

The release that the reader installs is a wheel of this checkout; everything else is from the package index.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.install.machine import PATIENCE_S
from tests.install.pages import REPOSITORY, block
from tests.install.root import Root
from tests.needs import peer

pytestmark = [peer("mmdebstrap", "busybox"), pytest.mark.root, pytest.mark.timeout(2 * PATIENCE_S)]
PAGE = "docs/first-plugin.md"
READY = "until holdfast health >/dev/null 2>&1; do sleep 0.2; done"
ENTER = "cd /srv && . venv/bin/activate && cd example-load"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Holds the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
    ]
    subprocess.run([*command, REPOSITORY], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def reader(wheels, tmp_path_factory):
    """The root after the page's first step, and the output of that step."""
    root = Root(tmp_path_factory.mktemp("root") / "debian", wheels)
    root.printed = root.run(
        f"cd /srv && {block(PAGE, 'holdfast new-plugin').script}", online=True, env={"PIP_FIND_LINKS": str(wheels)}
    )
    return root


def test_the_project_is_made_installed_tested_and_checked(reader):
    shown = block(PAGE, "holdfast new-plugin").shown
    printed = reader.printed.splitlines()
    assert [line for lines in shown for line in lines if line not in printed] == []
    assert any(line.startswith("====") and " 1 passed in " in line for line in printed)


def test_its_package_requires_what_its_generated_code_requires(reader):
    (line,) = [
        line
        for line in reader.folder.joinpath("srv/example-load/pyproject.toml").read_text().splitlines()
        if line.startswith("dependencies = ")
    ]
    assert line == 'dependencies = ["holdfastd>=0.1,<0.2", "grpcio>=1.75.1", "protobuf>=6.31.1"]'


def test_the_code_that_is_generated_again_is_the_same(reader):
    code = reader.folder / "srv/example-load/src/example_load/load_pb2_grpc.py"
    before = code.read_text()
    reader.run(f"{ENTER}; {block(PAGE, 'grpc_tools.protoc').script}")
    assert code.read_text() == before


def test_the_daemon_serves_it(reader):
    use = block(PAGE, "holdfast plugins ls")
    commands = [command for command in use.commands if command.startswith("holdfast ")]
    shown = [
        line for command, lines in zip(use.commands, use.shown, strict=True) if command in commands for line in lines
    ]
    run = block(PAGE, "holdfast run").script
    assert reader.run("\n".join([ENTER, f"{run} 2>/tmp/log & {READY}", *commands])).splitlines() == shown


def test_its_wheel_has_the_generated_code(reader):
    shown = reader.run(
        f"{ENTER}; pip wheel --quiet --no-deps --wheel-dir /tmp/dist . && python3 -m venv /tmp/other"
        " && /tmp/other/bin/pip install --quiet --no-deps /tmp/dist/*.whl && /tmp/other/bin/pip show -f example-load",
        online=True,
    )
    assert "example_load/load_pb2_grpc.py" in shown.split()
