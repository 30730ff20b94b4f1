"""Cases for a host with nothing but cgroup v2 and all capabilities; `tests/guest.py` says where they run."""

import contextlib
import subprocess
import uuid
from pathlib import Path

import pytest
from holdfast.cgroups import UNIFIED

from tests import needs
from tests.hostile.node_kit import NOBODY, until
from tests.integration.conftest import (  # noqa: F401 (fixtures)
    disk,
    eater,
    group,
    hierarchy,
    memory,
    program,
    remove_tree,
    run,
    sleeper,
)
from tests.peers.nri.node import node, parent  # noqa: F401

#: Leaves its unit's group, which then may pass controllers on. 0 is the writer: systemd makes one dollar of two.
IN_MAIN = """
own=/sys/fs/cgroup$(cut -d: -f3- /proc/self/cgroup)
mkdir "$own/main" && echo 0 >"$own/main/cgroup.procs" && exec sleep infinity
"""


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(items):
    for item in items:
        if "/tests/v2/" in str(item.path):
            item.add_marker(pytest.mark.v2)
            item.add_marker(pytest.mark.root)


@pytest.fixture
def delegated_unit(hierarchy):  # noqa: F811
    """The group of a unit that systemd runs as an ordinary user and delegated to it."""
    if not Path("/run/systemd/system").is_dir():
        needs.missing("needs a cgroup-v2 host with systemd, which delegates a unit")
    name = f"holdfast-test-{uuid.uuid4().hex[:8]}.service"
    given = ("--property=Delegate=yes", f"--property=User={NOBODY}", f"--unit={name}")
    subprocess.run(["systemd-run", "--quiet", *given, "sh", "-c", IN_MAIN], check=True)
    path = f"/system.slice/{name}"
    members = Path(f"/sys/fs/cgroup{path}/main/cgroup.procs")

    def is_in_main():
        with contextlib.suppress(OSError):
            return bool(members.read_text())
        return False

    try:
        until(is_in_main)
    except AssertionError as error:
        status = subprocess.run(
            ["systemctl", "status", "--no-pager", name], capture_output=True, text=True, check=False
        )
        raise AssertionError(f"{name} does not run: {status.stdout}{status.stderr}") from error
    yield path
    subprocess.run(["systemctl", "stop", name], check=True)
    remove_tree(hierarchy.tree(UNIFIED), path)  # where systemd left any of it
