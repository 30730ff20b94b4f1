"""A machine without Kubernetes, by docs/operations.md: an environment in /opt from a fresh clone, then the unit.

The environment is made here, where PyPI can be reached. The unit is started, checked and removed in the guest with
systemd (`tests/guest.py`), which sees the environment in the same folder.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.guest import is_inside
from tests.install.machine import INSTALLED, PATIENCE_S, Machine, checkout, places
from tests.install.pages import REPOSITORY, block, inline
from tests.needs import peer, systemd
from tests.running import Running

pytestmark = [peer("busybox"), pytest.mark.root, pytest.mark.timeout(2 * PATIENCE_S)]
PAGE = "docs/operations.md"
UNIT = "install -m 644 deploy/systemd/holdfast.service"
USABLE = ["/usr/bin/python3", "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"]
FOLDER = REPOSITORY / ".cache" / "install"  # where the guest sees it
CLONE = FOLDER / "holdfast"
MACHINE = pytest.StashKey[Machine]()


def steps():
    """The block's lines before the unit, and from there on."""
    before, unit, after = block(PAGE, UNIT).script.partition(UNIT)
    return before, unit + after


def python_path():
    """With the distribution's Python, as the page asks for; where it has none that can be used, with the tests'."""
    usable = subprocess.run(USABLE, capture_output=True, check=False).returncode == 0
    mine = [] if usable else [str(Path(sys.base_prefix, "bin"))]
    return {"PATH": ":".join([*mine, "/usr/bin", "/bin", "/usr/sbin", "/sbin"])}


def before_guest(config):
    """Have a fresh clone and what the page's lines put into /opt/holdfast, once a run and until its end."""
    if MACHINE in config.stash:
        return config.stash[MACHINE]
    stack = ExitStack()
    config.add_cleanup(stack.close)
    subprocess.run(["rm", "-rf", FOLDER], check=True)
    stack.callback(subprocess.run, ["rm", "-rf", FOLDER], check=True)
    stack.enter_context(places())
    checkout(CLONE)
    machine = Machine(FOLDER, lambda command, **words: stack.enter_context(Running(command, **words)), alone=False)
    machine.run(steps()[0], CLONE, python_path())
    config.stash[MACHINE] = machine
    return machine


@pytest.fixture(scope="module")
def machine(pytestconfig):
    """The machine of `before_guest`, which lasts longer than a test."""
    return before_guest(pytestconfig)


def test_the_environment_has_the_daemon_and_only_what_it_needs(machine):
    assert machine.run(f"{INSTALLED}/bin/holdfast --version", FOLDER).startswith("holdfast ")
    names = {line.split("==")[0].lower() for line in machine.run(f"{INSTALLED}/bin/pip freeze", FOLDER).splitlines()}
    assert "grpcio" in names
    assert not {"pytest", "hatchling", "mypy"} & names


@systemd
def test_the_unit_serves_is_reloaded_and_taken_away(pytestconfig):
    if not is_inside():
        before_guest(pytestconfig)
    (stopping,) = [line for line in inline(PAGE) if "systemctl disable" in line]
    (reading,) = [line for line in inline(PAGE) if line.startswith("systemctl reload")]
    script = f"""
        mkdir -p {INSTALLED} && mount --bind '{FOLDER}{INSTALLED}' {INSTALLED}
        trap 'umount -l {INSTALLED}' EXIT
        {steps()[1]}
        systemctl is-active holdfast
        {reading}
        {stopping}
        ! systemctl is-active holdfast
    """
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing was written" in done.stdout
    active, restored, inactive = done.stdout.splitlines()[-3:]
    assert (active, inactive) == ("active", "inactive")
    assert restored.startswith("0 restored, ")
