"""Fixtures for every test: short socket paths, free ports, programs that are ended by pid, nothing left running."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import guest, needs, port
from tests.running import Running, become_subreaper

ENDS_S = 10.0  # for a process or thread that was told to end, on a machine that is not idle
RUN_ENDS_S = 60.0

# A commit has one result: the examples follow from the test's source. `make explore` tries others.
# A machine under load is no failure: neither a slow example nor a slow choice of one. A case has pytest's timeout.
settings.register_profile(
    "holdfast",
    derandomize="HOLDFAST_EXPLORE" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("holdfast")


def pytest_configure(config: pytest.Config) -> None:
    guest.configure(config)
    # A shell that runs us in the background has these ignored, and who we start would ignore them, too.
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    # What a peer leaves behind (a shim, a daemonised child) becomes our child, so that it is seen and ended.
    become_subreaper()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """A run that cannot end after its last test says where every thread stands, and ends."""
    faulthandler.dump_traceback_later(RUN_ENDS_S, exit=True, file=sys.__stderr__)


def pytest_runtest_setup(item: pytest.Item) -> None:
    guest.check(item)
    needs.check(item)


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A folder whose name leaves room for a socket's 108 bytes, which pytest's tmp_path does not."""
    path = Path(tempfile.mkdtemp(prefix="hf-", dir="/tmp"))
    path.chmod(0o755)  # another user may be the one who connects
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Gives a TCP port that nothing listens on, another one each time."""
    return port.free_port


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Starts a program, as `Running` does; all of them are ended, by pid, when the test ends."""
    with ExitStack() as stack:
        yield lambda command, **options: stack.enter_context(Running(command, **options))


def children() -> set[int]:
    """Pids of this process's children, zombies too."""
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            found.update(map(int, path.read_text().split()))
    return found


def running_of(pids: set[int]) -> set[int]:
    """Those of these children that have not ended; those that have are reaped."""
    running = set()
    for pid in pids:
        with suppress(ChildProcessError):  # another thread waits for it
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                running.add(pid)
    return running


@pytest.fixture(autouse=True)
def nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test with peers that leaves a process behind fails, and the process is ended.

    A process that became our child and ends a moment after its parent (a shim, the processes of an attack) is waited
    for, and reaped: the next test would find zombies of this one in /proc.
    """
    before = children()
    yield
    left = running_of(children() - before)
    if request.node.get_closest_marker("peer") is None:
        return
    deadline = time.monotonic() + ENDS_S
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        left = running_of(children() - before)
    said = []
    for pid in left:
        with suppress(OSError):
            said.append(f"{pid} {Path(f'/proc/{pid}/cmdline').read_text().replace(chr(0), ' ')}")
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert not said, "left running"


def zombies() -> set[int]:
    """Pids of children of which only the status is left."""
    found = set()
    for pid in children():
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                found.add(pid)
    return found


@pytest.fixture(autouse=True)
def orphans_reaped() -> Iterator[None]:
    """Read the status of what ended before the test and is still a zombie when it ends.

    They are processes that other tests left to us: no other program reads it, and every daemon would read a thousand
    of them with each rescan.
    """
    old = zombies()
    yield
    for pid in old:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def lasting_threads() -> set[threading.Thread]:
    """Threads that the interpreter would wait for when it ends."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """A test that leaves a thread behind fails: the run's end would wait for it, perhaps indefinitely."""
    before = lasting_threads()
    yield
    deadline = time.monotonic() + ENDS_S
    while (left := lasting_threads() - before) and time.monotonic() < deadline:
        for thread in left:
            thread.join(max(0.0, deadline - time.monotonic()))
    assert not left, f"threads left: {', '.join(sorted(thread.name for thread in left))}"
