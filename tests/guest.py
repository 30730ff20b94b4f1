"""Tests marked ``v2``: where this host is no cgroup-v2 host with CAP_SYS_RESOURCE, they run in one that is.

``HOLDFAST_V2_HOST`` names a program that runs its arguments there, as root, in the same folder over the same files
(a virtual machine that boots in seconds). All marked tests of a run go there at once, before the others, because the
boot costs more than the tests; each is then reported here under its own name, as if it had run here.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import needs

CAP_SYS_RESOURCE = 24
HOST = "HOLDFAST_V2_HOST"
REPORT = "HOLDFAST_GUEST_REPORT"  # set inside: the file that takes one JSON line a report
SOAK = os.environ.get("HOLDFAST_SOAK", "1")
BOOT_AND_RUN_S = 1500 if SOAK == "1" else 7200


def is_v2_host() -> bool:
    """Whether v2 tests can run right here."""
    status = Path("/proc/self/status").read_text()
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16)
    return Path("/sys/fs/cgroup/cgroup.controllers").exists() and bool(effective >> CAP_SYS_RESOURCE & 1)


class Inside:
    """In the guest: write every report where the host reads it."""

    def __init__(self, config: pytest.Config, path: str) -> None:
        self._config = config
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with open(self._path, "a") as file:
            file.write(json.dumps(data) + "\n")


class Outside:
    """On the host: run the marked tests in the guest, then report them."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._reports: dict[str, list[dict[str, object]]] = {}
        self._said = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        items = [item for item in session.items if item.get_closest_marker("v2")]
        if items and not session.config.option.collectonly and not session.testsfailed:
            self._run(session.config, [item.nodeid for item in items])
        return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        if not item.get_closest_marker("v2"):
            return None
        hook, config = item.ihook, item.config
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for data in self._reports.get(item.nodeid) or [self._lost(item)]:
            report = config.hook.pytest_report_from_serializable(config=config, data=data)
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _run(self, config: pytest.Config, nodeids: list[str]) -> None:
        # Below the folder the guest shares: what it writes elsewhere is lost with it.
        shared = config.rootpath / ".cache"
        shared.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=shared, prefix="guest-") as folder:
            path = Path(folder) / "reports"
            python = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--quiet", *nodeids]
            required = os.environ.get("HOLDFAST_REQUIRE_PEERS", "0")
            environ = [f"{REPORT}={path}", f"HOLDFAST_REQUIRE_PEERS={required}", f"HOLDFAST_SOAK={SOAK}"]
            command = [*shlex.split(self._program), "env", *environ, *python]
            done = subprocess.run(
                command, cwd=config.rootpath, capture_output=True, text=True, timeout=BOOT_AND_RUN_S, check=False
            )
            self._said = done.stdout[-4000:] + done.stderr[-4000:]
            for line in path.read_text().splitlines() if path.exists() else ():
                data = json.loads(line)
                if isinstance(data["longrepr"], list):  # where a skip was raised: JSON has no tuples
                    data["longrepr"] = tuple(data["longrepr"])
                self._reports.setdefault(data["nodeid"], []).append(data)

    def _lost(self, item: pytest.Item) -> dict[str, object]:
        words = f"no report of this test came back from {self._program}:\n{self._said}"
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", words, "call")
        return item.config.hook.pytest_report_to_serializable(config=item.config, report=report)


def configure(config: pytest.Config) -> None:
    """Take the side this process is on."""
    if path := os.environ.get(REPORT):
        config.pluginmanager.register(Inside(config, path), "v2-inside")
    elif (program := os.environ.get(HOST)) and not is_v2_host():
        config.pluginmanager.register(Outside(program), "v2-outside")


def check(item: pytest.Item) -> None:
    """Skip a v2 test that found neither such a host nor a way to one."""
    if item.get_closest_marker("v2") and not is_v2_host():
        needs.missing(f"needs a cgroup-v2 host with CAP_SYS_RESOURCE, or {HOST}=PROGRAM that runs commands on one")
