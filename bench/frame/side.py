"""Holdfast and containerd side by side: started alike, with one configuration, and looked at from outside."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.needs import found
from tests.peers import daemon
from tests.peers.daemon import Daemon, write_config

VERSION = "/containerd.services.version.v1.Version/Version"
METADATA = (("containerd-namespace", "bench"),)
Starter = Callable[[Path, Path], Daemon]

OURS: Starter = daemon.holdfast
CONTAINERD: Starter = daemon.containerd


def containerd_is_missing() -> bool:
    """Whether there is nothing to compare with."""
    return found("containerd") is None


@contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short name, for sockets."""
    path = Path(tempfile.mkdtemp(prefix="hf-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def running(starter: Starter) -> Iterator[Daemon]:
    """A daemon that serves, with metrics counted as in production."""
    with folder() as path, starter(path, config(path)) as started:
        yield started.ready()


def config(path: Path) -> Path:
    """The same for both: nothing disabled, metrics on a port nobody else has."""
    return write_config(path, tables=f'[metrics]\n  address = "127.0.0.1:{free_port()}"')


def free_port() -> int:
    """A TCP port nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def bare(module: str, *arguments: str) -> Iterator[tuple[str, int]]:
    """A server of ``bench`` that listens on the socket named last and then says so: its socket and its pid."""
    with folder() as path:
        address = str(path / "bare.sock")
        command = [sys.executable, "-m", module, *arguments, address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                yield address, process.pid
            finally:
                process.kill()


def wait_for_socket(path: str, limit_s: float = 30) -> None:
    """Return as soon as somebody accepts connections there."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            return
        time.sleep(0.0005)
    raise TimeoutError(path)


def cpu_ns(pid: int) -> int:
    """Time its threads have run, in nanoseconds: /proc/PID/task/*/schedstat, first field."""
    total = 0
    for path in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that ended
            total += int((path / "schedstat").read_text().split()[0])
    return total


def memory_mib(pid: int) -> dict[str, float]:
    """``Rss`` and ``Private_Dirty`` of /proc/PID/smaps_rollup, in MiB."""
    wanted = ("Rss", "Private_Dirty")
    lines = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
    return {words[0][:-1]: int(words[1]) / 1024 for words in lines if words[0][:-1] in wanted}
