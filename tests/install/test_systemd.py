"""A machine without Kubernetes, by docs/operations.md: an environment in /opt from a fresh clone, then the unit.

The environment is made here, where PyPI can be asked. The unit is started, looked at and taken away on a machine that
may be thrown away and has systemd, where there is one: ``HOLDFAST_SYSTEMD_HOST`` names a program that runs its
arguments as root on it, in the same folder over the same files.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.install.machine import INSTALLED, Machine, checkout, places
from tests.install.pages import REPOSITORY, block, inline
from tests.needs import peer
from tests.running import Running

pytestmark = [peer("busybox"), pytest.mark.root, pytest.mark.timeout(600)]
HOST = "HOLDFAST_SYSTEMD_HOST"
PAGE = "docs/operations.md"
UNIT = "install -m 644 deploy/systemd/holdfast.service"
USABLE = ["/usr/bin/python3", "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"]
BOOT_S = 300


def steps():
    """The block's lines before the unit, and from there on."""
    before, unit, after = block(PAGE, UNIT).script.partition(UNIT)
    return before, unit + after


def python_path():
    """With the distribution's Python, as the page asks for; where it has none that can be used, with the tests'."""
    usable = subprocess.run(USABLE, capture_output=True, check=False).returncode == 0
    mine = [] if usable else [str(Path(sys.base_prefix, "bin"))]
    return {"PATH": ":".join([*mine, "/usr/bin", "/bin", "/usr/sbin", "/sbin"])}


@pytest.fixture(scope="module")
def installed():
    """A fresh clone and what the page's lines put into /opt/holdfast, where a guest sees both."""
    folder = REPOSITORY / ".cache" / "install" / str(os.getpid())
    clone = checkout(folder / "holdfast")
    try:
        with places(), ExitStack() as stack:
            start = lambda command, **words: stack.enter_context(Running(command, **words))  # noqa: E731
            machine = Machine(folder, start, alone=False)
            machine.run(steps()[0], clone, python_path())
            yield machine, folder, clone
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)


def test_the_environment_has_the_daemon_and_only_what_it_needs(installed):
    machine, folder, _ = installed
    assert machine.run(f"{INSTALLED}/bin/holdfast --version", folder).startswith("holdfast ")
    names = {line.split("==")[0].lower() for line in machine.run(f"{INSTALLED}/bin/pip freeze", folder).splitlines()}
    assert "grpcio" in names
    assert not {"pytest", "hatchling", "mypy"} & names


@pytest.mark.skipif(not os.environ.get(HOST), reason=f"needs {HOST}=PROGRAM that runs commands on a host with systemd")
def test_the_unit_serves_is_reloaded_and_taken_away(installed):
    _, folder, clone = installed
    (stopping,) = [line for line in inline(PAGE) if "systemctl disable" in line]
    (reading,) = [line for line in inline(PAGE) if line.startswith("systemctl reload")]
    script = f"""
        mkdir -p {INSTALLED} && mount --bind '{folder}{INSTALLED}' {INSTALLED} && cd '{clone}'
        {steps()[1]}
        systemctl is-active holdfast
        {reading}
        {stopping}
        ! systemctl is-active holdfast
    """
    command = [*shlex.split(os.environ[HOST]), "bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=BOOT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing was written" in done.stdout
    active, restored, inactive = done.stdout.splitlines()[-3:]
    assert (active, inactive) == ("active", "inactive")
    assert restored.startswith("0 given back, ")
