"""A machine without Kubernetes, by docs/operations.md: an environment in /opt from a fresh clone, then the unit.

The environment is made here, where PyPI can be asked; the unit is started on a machine that may be thrown away and has
systemd: ``HOLDFAST_SYSTEMD_HOST`` names a program that runs its arguments as root on one, in the same folder over the
same files.
"""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest

from tests.install.machine import INSTALLED, Machine, checkout, places
from tests.install.pages import REPOSITORY, block, inline
from tests.needs import missing, peer

pytestmark = [peer("busybox"), pytest.mark.root, pytest.mark.timeout(600)]
HOST = "HOLDFAST_SYSTEMD_HOST"
PAGE = "docs/operations.md"
#: The distribution's Python, as the page asks for.
PATH = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
UNIT = "install -m 644 deploy/systemd/holdfast.service"
BOOT_S = 300


def steps():
    """The block's lines before the unit, and from there on."""
    before, unit, after = block(PAGE, UNIT).script.partition(UNIT)
    return before, unit + after


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The fresh clone and what its lines put into /opt/holdfast, where a guest sees both."""
    folder = REPOSITORY / ".cache" / "install" / str(os.getpid())
    clone = checkout(folder / "holdfast")
    yield folder, clone
    subprocess.run(["rm", "-rf", folder], check=True)


def test_the_environment_is_made_and_its_daemon_started_by_the_unit(installed, start):
    folder, clone = installed
    with places():
        machine = Machine(folder, start, alone=False)
        machine.run(steps()[0], clone, PATH)
        assert machine.run(f"{INSTALLED}/bin/holdfast --version", folder, PATH).startswith("holdfast ")
    host = os.environ.get(HOST) or missing(f"needs {HOST}=PROGRAM that runs commands on a host with systemd")
    (stopping,) = [line for line in inline(PAGE) if "systemctl disable" in line]
    (reading,) = [line for line in inline(PAGE) if line.startswith("systemctl reload")]
    script = f"""
        mkdir -p {INSTALLED} && mount --bind '{folder}{INSTALLED}' {INSTALLED} && cd '{clone}'
        set -x
        {steps()[1]}
        systemctl is-active holdfast
        {reading}
        {INSTALLED}/bin/holdfast health
        {stopping}
        ! systemctl is-active holdfast
        journalctl --unit holdfast --no-pager --output cat
    """
    done = subprocess.run(
        [*shlex.split(host), "bash", "-euo", "pipefail", "-c", script],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=BOOT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing was written" in done.stdout
