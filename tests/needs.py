"""Requirements of a test on the machine, and what happens where one is missing.

A missing peer, or missing root, skips a test and says why. With ``HOLDFAST_REQUIRE_PEERS=1`` it fails instead: CI
must not be green because nothing ran.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

BIN = Path(__file__).parent / "peers" / "bin"

#: The test needs root and a cgroup tree it may write to.
root = pytest.mark.root
#: The test needs a cgroup-v2 host with CAP_SYS_RESOURCE.
v2 = pytest.mark.v2
#: The test needs a host with systemd and cgroup v2 that is thrown away afterwards.
systemd = pytest.mark.systemd


def peer(*programs: str) -> pytest.MarkDecorator:
    """The test talks to these programs: ``pytestmark = peer("containerd", "ctr")``."""
    return pytest.mark.peer(*programs)


def found(program: str) -> str | None:
    """Return a peer: what ``tests/peers/build`` built, before what is installed; ``folder/program`` is built only."""
    if "/" in program:
        return shutil.which(BIN / program)
    return shutil.which(program, path=f"{BIN}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def path_of(program: str) -> str:
    """The path of a peer; a skip, or a failure where peers are required, when there is none."""
    path = found(program)
    if path is None:
        missing(f"{program} is not installed (.ci/run installs every peer)")
        raise AssertionError("unreachable")
    return path


def missing(reason: str) -> None:
    """Skip the test for this reason, or fail it where nothing may be missing."""
    if os.environ.get("HOLDFAST_REQUIRE_PEERS") == "1":
        pytest.fail(f"needed here (HOLDFAST_REQUIRE_PEERS=1): {reason}", pytrace=False)
    pytest.skip(reason)


def check(item: pytest.Item) -> None:
    """Skip or fail a test whose marks ask for what is not here."""
    for mark in item.iter_markers("peer"):
        for program in mark.args:
            path_of(program)
    if item.get_closest_marker("root") and os.geteuid() != 0:
        missing("needs root")
