"""Tests marked ``v2``: where this host is no cgroup-v2 host with CAP_SYS_RESOURCE, they run in one that is.

``HOLDFAST_V2_HOST`` names a program that runs its arguments there, as root, in the same folder over the same files
(a virtual machine). All marked tests of a run go there at once, so that it boots once, and run there while the others
run here, which come first for a processor; each is reported at the end under its own name, as if it had run here.

Tests marked ``systemd`` change the machine, and need systemd as its process 1: they run in that guest, or where
``HOLDFAST_THROWAWAY=1`` says that the machine is thrown away afterwards. What such a test needs from here, as the guest
has no network, a function ``before_guest(config)`` of its module makes beforehand.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from tests import needs

CAP_SYS_RESOURCE = 24
HOST = "HOLDFAST_V2_HOST"
THROWAWAY = "HOLDFAST_THROWAWAY"
REPORT = "HOLDFAST_GUEST_REPORT"  # set inside: the file that takes one JSON line a report
SOAK = os.environ.get("HOLDFAST_SOAK", "1")
END_S = 10.0
#: Processes that the guest's program leaves behind become its children, not ours: a test would take them for its own.
AS_SUBREAPER = """
import os, sys
from tests.running import become_subreaper
become_subreaper()
os.execvp(sys.argv[1], sys.argv[1:])
"""
NICE = 5  #: of the guest: others get three quarters of a processor that both want
#: How many times longer than here is waited in the guest, whose processor may be emulated.
SLOW = float(os.environ.get("HOLDFAST_SLOW", "4"))
BOOT_AND_RUN_S = 3300 if SOAK == "1" and SLOW <= 4 else 7200


def is_v2_host() -> bool:
    """Whether v2 tests can run right here."""
    status = Path("/proc/self/status").read_text()
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16)
    return Path("/sys/fs/cgroup/cgroup.controllers").exists() and bool(effective >> CAP_SYS_RESOURCE & 1)


class Inside:
    """In the guest: write every report where the host reads it."""

    def __init__(self, config: pytest.Config, path: str) -> None:
        # Out of the unit that systemd runs us in, whose limits tests would meet (TasksMax).
        Path("/sys/fs/cgroup/cgroup.procs").write_text(str(os.getpid()))
        self._config = config
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with open(self._path, "a") as file:
            file.write(json.dumps(data) + "\n")


class _Run:
    """The marked tests, in the guest, from the block's beginning to its end at the latest."""

    def __init__(self, program: str, config: pytest.Config, nodeids: list[str]) -> None:
        # Below the folder the guest shares: what it writes elsewhere is lost with it.
        shared = config.rootpath / ".cache"
        shared.mkdir(exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(dir=shared, prefix="guest-")
        self._path, self._output = Path(self._folder.name) / "reports", Path(self._folder.name) / "output"
        options = ["-p", "no:cacheprovider", "--quiet", f"--timeout={SLOW * float(config.getini('timeout'))}"]
        python = [sys.executable, "-m", "pytest", *options, *nodeids]
        required = os.environ.get("HOLDFAST_REQUIRE_PEERS", "0")
        environ = [f"{REPORT}={self._path}", f"HOLDFAST_REQUIRE_PEERS={required}", f"HOLDFAST_SLOW={SLOW}"]
        environ.append(f"HOLDFAST_SOAK={SOAK}")
        command = [*shlex.split(program), "env", *environ, *python]
        self._until = time.monotonic() + BOOT_AND_RUN_S
        with self._output.open("wb") as output:
            # A session of its own is a group of the scheduler's of its own (sched(7), autogroup), which comes second.
            self._process = subprocess.Popen(
                [sys.executable, "-c", AS_SUBREAPER, *command],
                cwd=config.rootpath,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        with suppress(OSError):
            Path(f"/proc/{self._process.pid}/autogroup").write_text(str(NICE))

    def wait(self) -> tuple[list[dict[str, object]], str]:
        """Its reports, and the last that it said, when it has ended."""
        with suppress(OSError):  # nothing else runs now
            Path(f"/proc/{self._process.pid}/autogroup").write_text("0")
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, self._until - time.monotonic()))
        self._end()
        # A guest that was ended while it wrote leaves half a line: the last one, without its end.
        lines = self._path.read_text().split("\n")[:-1] if self._path.exists() else ()
        return [json.loads(line) for line in lines], self._output.read_text(errors="replace")[-8000:]

    def _end(self) -> None:
        """End what is left of the run: everything in its session, for timeout(1) makes a process group of its own."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + END_S
            while left := _session(self._process.pid):
                if time.monotonic() > deadline:
                    break
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
                time.sleep(0.05)
        self._process.wait()

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *unused: object) -> None:
        self._end()
        self._folder.cleanup()


def _session(number: int) -> list[int]:
    """The processes of a session, zombies excepted."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if int(session) == number and state != "Z":
                found.append(int(path.parent.name))
    return found


class Outside:
    """On the host: run the marked tests in the guest, then report them."""

    def __init__(self, program: str, marks: Sequence[str]) -> None:
        self._program, self._marks = program, marks
        self._reports: dict[str, list[dict[str, object]]] = {}
        self._unprepared: dict[str, str] = {}  # by test, why it could not go there
        self._said = ""
        self._run: _Run | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=self._takes)  # stable: theirs come last, when the guest has had its time

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        items = [item for item in session.items if self._takes(item)]
        if not items or session.config.option.collectonly or session.testsfailed:
            return (yield)
        items = self._prepared(session.config, items)
        with _Run(self._program, session.config, [item.nodeid for item in items]) as self._run:
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not self._takes(item):
            return None
        if self._run is not None:
            if item.config.pluginmanager.hasplugin("timeout"):
                # Each test has its timeout there. Here the first waits for what is left of the run, which has a bound
                # of its own.
                item.ihook.pytest_timeout_cancel_timer(item=item)
            self._gather(self._run)
            self._run = None
        hook, config = item.ihook, item.config
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for data in self._reports_of(item):
            report = config.hook.pytest_report_from_serializable(config=config, data=data)
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        # Fixtures of folders, which the test before left for this one, end here unless the next one needs them.
        item.session._setupstate.teardown_exact(nextitem)
        return True

    def _takes(self, item: pytest.Item) -> bool:
        return any(item.get_closest_marker(mark) for mark in self._marks)

    def _prepared(self, config: pytest.Config, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """Those for which everything is there; the others failed."""
        ready = []
        said: dict[str, str] = {}  # by module, why it is not
        for item in items:
            module = getattr(item, "module", None)
            name = module.__name__ if module is not None else ""
            if name not in said:
                said[name] = ""
                try:
                    getattr(module, "before_guest", lambda config: None)(config)
                except Exception as error:  # the tests of the other modules run
                    said[name] = f"before_guest of {name}: {type(error).__name__}: {error}"
            if said[name]:
                self._unprepared[item.nodeid] = said[name]
            else:
                ready.append(item)
        return ready

    def _gather(self, run: _Run) -> None:
        reports, self._said = run.wait()
        for data in reports:
            if isinstance(data["longrepr"], list):  # where a skip was raised: JSON has no tuples
                data["longrepr"] = tuple(data["longrepr"])
            self._reports.setdefault(str(data["nodeid"]), []).append(data)

    def _reports_of(self, item: pytest.Item) -> list[dict[str, object]]:
        """The reports of a test; a failure where the guest ended before the test did."""
        if words := self._unprepared.get(item.nodeid):
            return [self._failed(item, words)]
        reports = self._reports.get(item.nodeid)
        if reports and reports[-1]["when"] == "teardown":
            return reports
        state = "only a part of its reports" if reports else "no report of this test"
        return [self._failed(item, f"{state} came back from {self._program}:\n{self._said}")]

    def _failed(self, item: pytest.Item, words: str) -> dict[str, object]:
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", words, "call")
        return item.config.hook.pytest_report_to_serializable(config=item.config, report=report)


def configure(config: pytest.Config) -> None:
    """Take the side this process is on."""
    if path := os.environ.get(REPORT):
        config.pluginmanager.register(Inside(config, path), "v2-inside")
    elif program := os.environ.get(HOST):
        marks = ("systemd",) if is_v2_host() else ("v2", "systemd")
        config.pluginmanager.register(Outside(program, marks), "v2-outside")


def check(item: pytest.Item) -> None:
    """Skip a test that found neither such a host nor a way to one."""
    if item.get_closest_marker("v2") and not is_v2_host():
        needs.missing(f"needs a cgroup-v2 host with CAP_SYS_RESOURCE, or {HOST}=PROGRAM that runs commands on one")
    if item.get_closest_marker("systemd") and not (_is_thrown_away() and Path("/run/systemd/system").is_dir()):
        needs.missing(f"changes the machine: needs {HOST}=PROGRAM that runs commands in a guest with systemd")


def is_inside() -> bool:
    """Whether this is the guest."""
    return REPORT in os.environ


def _is_thrown_away() -> bool:
    return is_inside() or os.environ.get(THROWAWAY) == "1"
