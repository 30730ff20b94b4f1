"""An engine over the real kernel, with what it reports kept, and waiting without sleeping."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from holdfast.cgroups import detect, groups_of
from holdfast.node.engine.engine import Engine
from holdfast.node.engine.loop import EngineSettings, Loop
from holdfast.node.engine.reporter import EngineListeners
from holdfast.node.journal.journal import Journal
from holdfast.node.model.placement import Happening
from holdfast.node.oom.store import Kills
from holdfast.process import read_boot_id

from tests.fakes.placement import rules
from tests.running import adj_of, until  # noqa: F401 (adj_of: for the tests)

PATIENCE_S = 60
LOOK_S = 0.05
#: Names no other process of the machine has, another run of these tests included: copies of sleep(1) are under the
#: first, processes that the kernel is to kill under the second.
NAME, VICTIM = f"hf-t-{os.getpid()}", f"hf-v-{os.getpid()}"
Found = TypeVar("Found")


class Running:
    """An engine that runs until `stop`."""

    def __init__(
        self,
        at: Path,
        *given: dict,
        rescan_s: float = 3600,
        pods=None,
        kmsg: str = "/dev/kmsg",
        root: Path | None = None,
    ) -> None:
        self.hierarchy = detect("/proc", "/sys/fs/cgroup")
        boot_id = read_boot_id("/proc")
        self.journal = Journal((root or at) / "journal", boot_id)
        self.kills = Kills(at / "kills.db", boot_id)
        self.reports, self.killed = [], []
        self._news = threading.Condition()
        self.engine = Engine(
            Loop(
                EngineSettings("/proc", kmsg, rescan_s),
                self.hierarchy,
                self.journal,
                self.kills,
                EngineListeners(self._keep(self.reports), self._keep(self.killed)),
                pods,
            )
        )
        if given:  # before the start, as the plugin does: a first sweep without rules gives everything back
            self.engine.set_rules(rules(*given)).result(PATIENCE_S)
        self.engine.start()
        if given:
            self.sweep()

    def _keep(self, into):
        def keep(one):
            with self._news:
                into.append(one)
                self._news.notify_all()

        return keep

    def wait_for(self, holds):
        """Wait until ``holds()``: checked after each report, and now and then, for not everything is reported."""
        deadline = time.monotonic() + PATIENCE_S
        with self._news:
            while not self._news.wait_for(holds, LOOK_S):
                assert time.monotonic() < deadline, (self.reports, self.killed)

    def set_rules(self, *given: dict, dry_run=False):
        self.engine.set_rules(rules(*given, dry_run=dry_run)).result(PATIENCE_S)
        return self.sweep()

    def settle(self):
        """Return when every event so far was served, and every move that followed was made and noted.

        An event that the kernel dropped, or that is left to a rescan, is served by the rescan that the loop wants then.
        """
        until(lambda: not self._on_its_thread(self._is_behind), "every event is served")
        for _ in range(2):
            self.engine._loop.mover.drain()
            self._take_a_turn()
        self._take_a_turn()

    def _is_behind(self) -> bool:
        """Whether events wait, or a rescan; on the engine's thread, which reads all events before it answers."""
        feed, sweeps = self.engine._loop.feed.fileno(), self.engine._loop.sweeps
        waiting = select.poll()
        if feed >= 0:
            waiting.register(feed, select.POLLIN)
        return bool(waiting.poll(0)) or sweeps._going is not None or sweeps._wanted is not None

    def _take_a_turn(self) -> None:
        """Return after a whole turn of the loop: of two calls, one after the other, each is carried out in its own."""
        for _ in range(2):
            self._on_its_thread(lambda: None)

    def _on_its_thread(self, act: Callable[[], Found]) -> Found:
        return self.engine._loop.calls.ask(act).result(PATIENCE_S)

    def sweep(self):
        sweep = self.engine.sweep().result(PATIENCE_S)
        self.settle()
        return sweep

    @property
    def table(self):
        return self.journal.table

    def rows(self):
        """Return the rows of processes and files, and the groups made."""
        return list(self.table.rows())

    def happenings(self, pid):
        return [report.happening for report in self.reports if report.pid == pid]

    def changes(self, pid, happening=Happening.HELD):
        return [
            c for report in self.reports if (report.pid, report.happening) == (pid, happening) for c in report.changes
        ]

    def placement(self, pid):
        return next((p for p in self.engine.placements() if p.pid == pid), None)

    def stop(self, *, restore=False):
        self.engine.stop(restore=restore)
        self.journal.close()
        self.kills.close()
        self.hierarchy.close()


def set_adj(pid, value) -> None:
    with open(f"/proc/{pid}/oom_score_adj", "w") as file:
        file.write(str(value))


def group_of(pid, hierarchy: str) -> str:
    return groups_of(pid, "/proc")[hierarchy]


def counter(family, *values) -> float:
    """A counter's number for these label values; 0 when nothing was counted."""
    assert len(values) == len(family.label_names)
    return dict(family.values()).get(values, 0)


def eat(process: subprocess.Popen) -> str:
    """Have a process of the fixture ``eater`` take its memory; what it says then: nothing when that killed it."""
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


def stop_process(process: subprocess.Popen | Numbered) -> None:
    process.kill()
    process.wait()


#: Forks under a number (clone3(2), ``set_tid``) as a child of our parent, and executes a program there.
UNDER_A_NUMBER = """
import ctypes, os, struct, sys
CLONE_PARENT, SYS_CLONE3 = 0x8000, 435
number = ctypes.c_int(int(sys.argv[1]))
given = struct.pack("=11Q", CLONE_PARENT, 0, 0, 0, 0, 0, 0, 0, ctypes.addressof(number), 1, 0)
pid = ctypes.PyDLL(None, use_errno=True).syscall(SYS_CLONE3, given, len(given))
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
sys.exit(ctypes.get_errno() if pid < 0 else 0)
"""


class Numbered:
    """A child of ours that has a certain number."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        os.waitpid(self.pid, 0)


def take_number(number: int, *command: str) -> Numbered:
    """Start a program under the number of a process that has ended; CAP_CHECKPOINT_RESTORE lets us ask for one.

    A tick after the process that had it: two of one number in one tick are one to every reader of procfs.
    """
    time.sleep(2 / os.sysconf("SC_CLK_TCK"))
    done = subprocess.run([sys.executable, "-S", "-c", UNDER_A_NUMBER, str(number), *command], check=False)
    assert done.returncode == 0, os.strerror(done.returncode)
    return Numbered(number)
