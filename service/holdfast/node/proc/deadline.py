"""Reads of another process that may never return, made by helper threads; the caller waits up to a deadline.

Theory
------
* ``/proc/PID/cmdline`` (as ``environ`` and ``smaps``) waits for the lock of the process's memory, and a process can
  hold that lock for as long as it likes: with a page fault on a FUSE file that is never answered, and one more thread
  that maps something. ``stat``, ``status``, ``comm``, ``cgroup``, ``oom_score_adj`` and the link ``exe`` do not wait
  for it.
* A thread that waits there cannot be woken. So an idle helper makes each such read, and the caller waits for at most
  `DEADLINE_S`. Then the process is *unreadable*: it is not read again before that same read has returned, which
  ``on_return`` reports.
* All callers together may spend `SHARE` of the time on waits without a result; beyond it a wait is `LEAST_S`. A process
  that is merely slow is unreadable for a moment, and read again.
* Helpers that hang stay. There are at most `MOST_HUNG`, and at most `MOST_OF_ONE` for the processes of one user in one
  place, so that a user with many such processes makes only their own unreadable. Some change their user
  (root in a container, an owner of subordinate ids) or choose the last level of the place (the owner of a delegated
  unit). So all users of a place together have a limit, and all places below its upper levels.
* A helper is scheduled like the thread that needed it first: a helper of the engine is as prompt as the engine's thread
  (`scheduling`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable

from holdfast import kernel_text, log
from holdfast.errors import HoldfastError, Unreadable

LOG = log.named(__name__)
DEADLINE_S = 0.05
LEAST_S = 0.001
SHARE = 0.05
MOST_HUNG = 64
MOST_OF_ONE = 4
#: By levels of a cgroup's path; the third is the group of the pod, the session or the service.
_MOST_OF_PLACE = {3: 16, 2: 32}
Key = tuple[int, int]
Owner = tuple[bytes, ...]  # of each limit: the user in a place, the place, the levels above it


class _Helper:
    """One thread, and its current read. ``abandoned`` is guarded by the lock of `DeadlineReads`."""

    def __init__(self, proc_root: str, returned: Callable[[_Helper], bool]) -> None:
        self._proc_root = proc_root
        self.descriptor, self.size = -1, 0
        self.answer: bytes | OSError = b""
        self.is_done, self.abandoned = False, False
        self.key: Key = (0, 0)
        self.owners: tuple[Owner, ...] = ()
        self._returned = returned
        self._go, self.done = threading.Lock(), threading.Lock()
        self._go.acquire()
        self.done.acquire()
        threading.Thread(target=self._run, name="holdfast-reader", daemon=True).start()

    def begin(self, descriptor: int, size: int) -> None:
        """Have the thread read a descriptor and close it."""
        self.descriptor, self.size, self.is_done = descriptor, size, False
        self._go.release()

    def end(self) -> None:
        """End the thread of an idle helper."""
        self.begin(-1, 0)

    def _run(self) -> None:
        with contextlib.suppress(OSError), open(f"{self._proc_root}/thread-self/comm", "wb", buffering=0) as file:
            file.write(b"hf-reader")  # for top -H
        goes_on = True
        while goes_on:
            self._go.acquire()
            if self.descriptor < 0:
                return
            try:
                self.answer = os.read(self.descriptor, self.size)
            except OSError as error:
                self.answer = error
            os.close(self.descriptor)
            goes_on = self._returned(self)


class DeadlineReads:
    """Reads with a deadline, for any thread. ``on_return`` takes the pid of a process that can be read again.

    A helper's thread calls it.
    """

    def __init__(self, proc_root: str, on_return: Callable[[int], None] = lambda pid: None) -> None:
        self._proc_root = proc_root
        self._is_closed = False
        self.hung = 0  # reads that did not return in time, counted
        self._on_return = on_return
        self._lock = threading.Lock()
        self._idle: list[_Helper] = []
        self._unreadable: set[Key] = set()
        self._of_owner: Counter[Owner] = Counter()
        self._spare_s, self._counted_at = DEADLINE_S, time.monotonic()

    @property
    def unreadable(self) -> int:
        """The number of processes that cannot be read now."""
        return len(self._unreadable)

    def read(self, fd: int, name: str, size: int, key: Key) -> bytes:
        """The first ``size`` bytes of a file below the directory ``fd``, of the process with this pid and start.

        Raises:
            Unreadable: it does not answer, has not answered an earlier read, or too many other processes do not answer.
            OSError: the kernel's answer.
        """
        if self._unreadable:  # hardly ever: only then does it matter whose process it is
            self._check(key, _owners_of(fd, name))
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)
        with self._lock:
            helper = self._idle.pop() if self._idle else _Helper(self._proc_root, self._returned)
            helper.key = key
        helper.begin(descriptor, size)
        patience_s = self._patience_s()
        if not helper.done.acquire(timeout=patience_s) and self._abandon(helper, fd, name, patience_s):
            raise Unreadable(f"process {key[0]}: its memory is locked: {name.rpartition('/')[2]} does not answer")
        answer = helper.answer
        self._is_idle(helper)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def close(self) -> None:
        """End the helpers; one that hangs ends when its read returns."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for helper in idle:
            helper.end()

    def _is_idle(self, helper: _Helper) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(helper)
                return
        helper.end()

    def _check(self, key: Key, owners: tuple[Owner, ...]) -> None:
        with self._lock:
            if key in self._unreadable:
                raise Unreadable(f"process {key[0]}: its memory is locked, and has been since it was last asked")
            limits = (MOST_OF_ONE, *_MOST_OF_PLACE.values())
            full = any(self._of_owner[owner] >= most for owner, most in zip(owners, limits, strict=True))
            if full or len(self._unreadable) >= MOST_HUNG:
                raise Unreadable(f"process {key[0]}: too many processes of its user and group do not answer")

    def _patience_s(self) -> float:
        with self._lock:
            now = time.monotonic()
            self._spare_s = min(2 * DEADLINE_S, self._spare_s + SHARE * (now - self._counted_at))
            self._counted_at = now
            return max(LEAST_S, min(DEADLINE_S, self._spare_s))

    def _abandon(self, helper: _Helper, fd: int, name: str, waited_s: float) -> bool:
        """Leave a helper to its read; False when it returned after all."""
        owners = _owners_of(fd, name)
        with self._lock:
            if helper.is_done:
                helper.done.acquire()
                return False
            helper.abandoned, helper.owners = True, owners
            self._unreadable.add(helper.key)
            self._of_owner.update(owners)
            self._spare_s -= waited_s
            self.hung += 1
        LOG.warning("the memory of a process cannot be read; it is left out where that is needed", pid=helper.key[0])
        return True

    def _returned(self, helper: _Helper) -> bool:
        """Take over a finished read, on the helper's thread. Return whether the helper goes on."""
        with self._lock:
            helper.is_done = True
            if not helper.abandoned:
                helper.done.release()
                return True
            helper.abandoned = False
            self._unreadable.discard(helper.key)
            self._of_owner -= Counter(helper.owners)  # which drops those without any
            if self._is_closed:
                return False
            self._idle.append(helper)
            pid = helper.key[0]
        self._on_return(pid)
        return True


def _owners_of(fd: int, name: str) -> tuple[Owner, ...]:
    """The real user of a process in the upper levels of its cgroup, and these levels; empty where they are not read."""
    # Uid:	1001	1001	1001	1001 … 0::/user.slice/user-1001.slice/user@1001.service/app.slice/x.scope
    prefix = name.rpartition("/")[0]
    prefix = f"{prefix}/" if prefix else ""
    status = _text(fd, f"{prefix}status").partition(b"\nUid:\t")[2]
    lines = kernel_text.lines(_text(fd, f"{prefix}cgroup")) or [b""]
    levels = lines[-1].split(b":", 2)[-1].split(b"/")  # a name of a group may hold colons
    places = [b"/".join(levels[: most + 1]) for most in _MOST_OF_PLACE]
    return (status.partition(b"\t")[0], places[0]), *((b"all", place) for place in places)


def _text(fd: int, name: str) -> bytes:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)
        try:
            return kernel_text.read_record(descriptor, name)
        finally:
            os.close(descriptor)
    except (OSError, HoldfastError):
        return b""
