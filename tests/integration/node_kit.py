"""An engine over the real kernel, with what it reports kept, and waiting without sleeping."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

from holdfast.cgroups import detect, groups_of
from holdfast.node.engine.engine import Engine
from holdfast.node.engine.loop import EngineSettings, Loop
from holdfast.node.engine.reporter import EngineListeners
from holdfast.node.journal.journal import Journal
from holdfast.node.model.placement import Happening
from holdfast.node.oom.store import Kills
from holdfast.process import read_boot_id

from tests.fakes.placement import rules

PATIENCE_S = 60
LOOK_S = 0.05
#: A name no other process of the machine has, another run of these tests included: copies of sleep(1) are under it.
NAME = f"hf-t-{os.getpid()}"


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
        """Wait until ``holds()``: looked at after each report, and now and then, for not everything is reported."""
        deadline = time.monotonic() + PATIENCE_S
        with self._news:
            while not self._news.wait_for(holds, LOOK_S):
                assert time.monotonic() < deadline, (self.reports, self.killed)

    def set_rules(self, *given: dict, dry_run=False):
        self.engine.set_rules(rules(*given, dry_run=dry_run)).result(PATIENCE_S)
        return self.sweep()

    def settle(self):
        """Return when every event so far was served, and every move that followed was made and noted."""
        for _ in range(2):
            for _ in range(2):
                self.engine._loop.calls.ask(lambda: None).result(PATIENCE_S)
            self.engine._loop.mover.drain()
        for _ in range(2):
            self.engine._loop.calls.ask(lambda: None).result(PATIENCE_S)

    def sweep(self):
        sweep = self.engine.sweep().result(PATIENCE_S)
        self.settle()
        return sweep

    @property
    def table(self):
        return self.journal.table

    def rows(self):
        """What is held of processes and files, and the groups made."""
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


def adj_of(pid) -> int:
    with open(f"/proc/{pid}/oom_score_adj") as file:
        return int(file.read())


def set_adj(pid, value) -> None:
    with open(f"/proc/{pid}/oom_score_adj", "w") as file:
        file.write(str(value))


def group_of(pid, hierarchy: str) -> str:
    return groups_of(pid, "/proc")[hierarchy]


def counter(family, *values) -> float:
    """A counter's number for these label values; 0 when nothing was counted."""
    wanted = dict(zip(family.label_names, values, strict=True))
    return next((sample.value for sample in family.samples() if sample.labels == wanted), 0)


def eat(process: subprocess.Popen) -> str:
    """Have a process of the fixture ``eater`` take its memory; what it says then: nothing when that killed it."""
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


def stop_process(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
