"""Fixtures for every test: short socket paths, free ports, programs that are ended by pid, nothing left running."""

from __future__ import annotations

import faulthandler
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests import guest, needs
from tests.running import Running, become_subreaper

ENDS_S = 10.0  # for a process or thread that was told to end, on a machine that is not idle
RUN_ENDS_S = 60.0
#: Below the ports that the kernel gives to connections, one of which could take a port between its choice and its use;
#: each is given once.
PORTS = iter(random.sample(range(20_000, 30_000), 10_000))


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
    """Gives a loopback TCP port nobody listens on."""

    def one() -> int:
        for port in PORTS:
            with socket.socket() as sock, suppress(OSError):  # it is taken
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("127.0.0.1", port))
                return port
        raise AssertionError("no port is left")

    return one


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


def has_ended(pid: int) -> bool:
    """Whether a child ends within `ENDS_S`, which takes a moment after it was killed; one that did is reaped."""
    deadline = time.monotonic() + ENDS_S
    with suppress(ChildProcessError):  # somebody else reaped it
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


@pytest.fixture(autouse=True)
def nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test with peers that leaves a process behind fails, and the process is ended."""
    if request.node.get_closest_marker("peer") is None:
        yield
        return
    before = children()
    yield
    left = []
    for pid in children() - before:
        if not has_ended(pid):
            with suppress(OSError):  # it ended after all
                left.append(f"{pid} {Path(f'/proc/{pid}/cmdline').read_text().replace(chr(0), ' ')}")
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    assert not left, "left running"


def lasting_threads() -> set[threading.Thread]:
    """Threads that the interpreter would wait for when it ends."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """A test that leaves a thread behind fails: the run's end would wait for it, perhaps for ever."""
    before = lasting_threads()
    yield
    deadline = time.monotonic() + ENDS_S
    while (left := lasting_threads() - before) and time.monotonic() < deadline:
        for thread in left:
            thread.join(max(0.0, deadline - time.monotonic()))
    assert not left, f"threads left: {', '.join(sorted(thread.name for thread in left))}"
