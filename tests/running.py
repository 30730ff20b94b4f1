"""A program a test started: its output by line as it comes, its end as an event, its stop by pid."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

SLOW = float(os.environ.get("HOLDFAST_SLOW", "1"))  # how many times longer than usual everything takes here
PATIENCE_S = 30.0 * SLOW  # for what takes milliseconds on an idle machine; this one may not be idle
PR_SET_CHILD_SUBREAPER = 36

#: Of a daemon that got no processor for a second: its own code, in which each of its other messages is found.
BLOCKED = re.compile(r'(msg="the daemon is blocked.* traceback=)".*')

Found = TypeVar("Found")


def until(holds: Callable[[], Found], what: str = "it", within_s: float = PATIENCE_S) -> Found:
    """Wait for a state that no event reports; what ``holds`` gives once that is true."""
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)
    return found


def adj_of(pid: int) -> int:
    """A process's oom_score_adj, in one read: a second read would go on in the middle of a value written meanwhile."""
    with open(f"/proc/{pid}/oom_score_adj", "rb", buffering=0) as file:
        return int(file.read(16))


async def async_until(holds: Callable[[], Found], what: str = "it", within_s: float = PATIENCE_S) -> Found:
    """`until`, for what comes about on the running loop."""
    deadline = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.001)
    return found


def descriptors(of: str) -> set[tuple[int, str]]:
    """Descriptors of this process whose link in /proc/self/fd has ``of`` in it, each with that link.

    A count of all of them shows nothing: other threads open some, and the garbage collector closes what an earlier test
    left.
    """
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the directory's own, and what another thread has closed since
            if of in (link := os.readlink(f"/proc/self/fd/{number}")):
                found.add((int(number), link))
    return found


def become_subreaper() -> None:
    """Become the parent of processes that our descendants leave behind; this lasts over an exec. prctl(2)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Running:
    """Both output streams are read by threads of their own, so the program never blocks on a full pipe."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdin: bytes | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.command = [str(word) for word in command]
        self.out: list[str] = []
        self.err: list[str] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            self.command,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
        )
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        self._readers = [self._read(self._process.stdout, self.out), self._read(self._process.stderr, self.err)]
        if stdin is not None:
            pipe = self._process.stdin
            assert pipe is not None
            for act in (lambda: pipe.write(stdin), pipe.close):
                with suppress(BrokenPipeError):  # it ended, and did not read it
                    act()

    def _read(self, stream: IO[bytes] | None, lines: list[str]) -> threading.Thread:
        assert stream is not None

        def pump() -> None:
            with stream:
                for raw in stream:
                    line = BLOCKED.sub(r'\1"…"', raw.decode(errors="replace").rstrip("\n"))
                    with self._changed:
                        lines.append(line)
                        self._changed.notify_all()
            with self._changed:
                self._changed.notify_all()

        thread = threading.Thread(target=pump, daemon=True)
        thread.start()
        return thread

    @property
    def said(self) -> str:
        """Both streams, for a failing test's reader."""
        return "\n".join(["$ " + " ".join(self.command), *self.out, *self.err])

    def line(self, pattern: str, after: int = 0, within_s: float = PATIENCE_S) -> str:
        """The first line of either stream that the pattern is found in, waited for.

        ``after`` skips that many matching lines. Raises AssertionError when the program ends, or time runs out.
        """
        deadline = time.monotonic() + within_s
        with self._changed:
            while True:
                hits = [line for line in [*self.out, *self.err] if re.search(pattern, line)]
                if len(hits) > after:
                    return hits[after]
                over = not any(reader.is_alive() for reader in self._readers)
                left = 0 if over else deadline - time.monotonic()
                assert left > 0, f"no line with {pattern!r} from:\n{self.said}"
                self._changed.wait(min(left, 0.5))

    def ended(self, within_s: float = 0) -> bool:
        """Whether it has ended, waiting so long for it."""
        return bool(select.select([self._pidfd], [], [], within_s)[0])

    def end(self, within_s: float = PATIENCE_S) -> int:
        """Wait until it ends by itself; its exit status (negative: the signal), with all its output read."""
        assert self.ended(within_s), f"still running:\n{self.said}"
        status = self._process.wait()
        for reader in self._readers:
            reader.join(5)  # a grandchild may hold the pipe open; what it says is not waited for
        return status

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it ended."""
        if self._process.poll() is None:
            os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, within_s: float = PATIENCE_S) -> int:
        """Ask it to end, and wait for it."""
        self.send(number)
        return self.end(within_s)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.send(signal.SIGTERM)
        if not self.ended(PATIENCE_S):  # a daemon that gives everything back may take its time
            self.send(signal.SIGKILL)
        self.end()
        os.close(self._pidfd)
