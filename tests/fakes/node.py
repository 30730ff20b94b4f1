"""An examiner over the machine in memory (`kernel`), with a queue of moves that a test carries out when it wants to."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

from holdfast.errors import ProcessGone
from holdfast.node.apply.executor import Executor
from holdfast.node.apply.metrics import PlacementMetrics
from holdfast.node.engine.entry import Now
from holdfast.node.engine.examiner import Examiner
from holdfast.node.engine.performer import EngineContext
from holdfast.node.engine.reconciler import Reconciler
from holdfast.node.engine.sweep import Sweeps
from holdfast.node.journal.journal import Journal
from holdfast.node.journal.table import Table
from holdfast.node.model.evidence import Evidence as Facts
from holdfast.node.model.placement import Cause, Report
from holdfast.node.rule.ruleset import Rules
from msgspec.structs import replace

from tests.fakes.kernel import Kernel, Killed, Program, Reader, hierarchy_of, host_of

FACTS = Facts("", "", "")


class Evidence:
    """`holdfast.node.proc.evidence.EvidenceReader`: everything is a fact."""

    def attach(self, process, keys, opened=None, *, line=False):
        return replace(process, evidence=FACTS)

    def forget(self) -> None:
        """Nothing is kept."""

    def gone(self, pid: int) -> None:
        """Nothing is kept."""


class Queue:
    """`holdfast.node.apply.mover.Mover`, without a thread."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.orders: deque = deque()
        self.done: deque = deque()

    def submit(self, order, process) -> None:
        self.orders.append((order, process))

    def step(self) -> None:
        """Carry out the order that waits longest."""
        if self.orders:
            self.done.append(self.executor.carry_out(*self.orders.popleft()))

    def results(self) -> list:
        taken = list(self.done)
        self.done.clear()
        return taken

    def drain(self) -> None:
        while self.orders:
            self.step()


class Node:
    """A daemon's engine over a machine in memory; `restart` is what comes after kill -9."""

    def __init__(self, at: Path, kernel: Kernel | None = None) -> None:
        self.kernel = kernel or Kernel()
        self.at = at
        self.rules = Rules()
        self.reports: list[Report] = []
        self.forks: list[tuple[int, int]] = []
        self.told: list[tuple[int, int]] = []  # taken, and perhaps not in the journal yet
        self.restarts = 0
        self.forked_slowly: list[Program] = []
        self.tear = 0  # of the line at which we are killed, so many hundredths are in the file
        self._begin()

    def _begin(self) -> None:
        kernel = self.kernel
        self.journal = Journal(self.at / "journal", "boot")
        real, anew, forget = self.journal._write, self.journal._write_anew, self.journal.forget

        def write(data: bytes) -> None:
            if "journal" in kernel.refuses:
                raise OSError(errno.ENOSPC, "full")
            try:
                kernel.burn()
            except Killed:
                os.write(self.journal._file, data[: len(data) * self.tear // 100])
                raise
            real(data)
            kernel.burn()

        def write_anew() -> None:
            if "journal" in kernel.refuses:
                raise OSError(errno.ENOSPC, "full")
            anew()

        def forgetting(rows) -> None:
            kernel.burn()
            forget(rows)

        self.journal._write, self.journal._write_anew, self.journal.forget = write, write_anew, forgetting
        self.executor = Executor(Reader(kernel).proc, hierarchy_of(kernel), self.journal)
        self.queue = Queue(self.executor)
        hands = Reader(kernel), Evidence(), self.executor, self.queue
        context = EngineContext(*hands, self.reports.append, PlacementMetrics(), self._told, self._now)
        self.reconciler = Reconciler(self.journal.table, host_of(kernel))
        self.examiner = Examiner(context, self.reconciler)
        self.examiner.set_rules(self.rules)
        self.examiner.find_all_heirs()
        self.sweeps = Sweeps(3600, self.examiner, lambda cause: cause, lambda sweep: None)

    def restart(self, meanwhile: Callable[[Path], None] = lambda journal: None) -> None:
        """kill -9, and a new daemon with the same rules; ``meanwhile`` something is done to the journal's file."""
        self.kernel.fuse = -1
        self.restarts += 1
        told, self.forks, self.told = self.told + self.forks, [], []
        table = self.journal.table
        known = [(program, befores(table, program)) for program in self.kernel.processes.values()]
        had_room = not self.journal._is_stale
        self.journal.close()
        meanwhile(self.journal.path)
        refuses, self.kernel.refuses = self.kernel.refuses, self.kernel.refuses - {"journal"}  # a start needs room
        self._begin()
        self.kernel.refuses = refuses
        for parent, child in told:
            program = self.kernel.processes.get(child)
            if program is None or self.journal.table.held(child, program.start_ticks) is not None:
                continue
            forker = self.kernel.processes.get(program.ppid)
            program.lost = program.lost or program.ppid != parent or (forker is not None and forker.lost)
        for child in self.forked_slowly:
            row = self.journal.table.adj(child.pid, child.start_ticks)
            before = child.adj if row is None else row.before
            child.lost = child.lost or before != child.own_adj  # a row of its group may be all that is known of it
        self.forked_slowly.clear()
        for program, was in known:
            if not had_room and was and was != befores(self.journal.table, program):
                program.lost = True  # who inherited what could not be noted, and nobody can say any more

    def stop(self) -> None:
        self.journal.close()

    # -- events --

    def started(self, comm: str, ppid: int = 1, pid: int = 0):
        """A process is forked, and executes a program."""
        program = self.forked(self.kernel.processes[ppid], pid)
        self.executed(program, comm)
        return program

    def forked(self, parent, pid: int = 0):
        """A process forks."""
        program = self.kernel.start(parent.comm, pid, parent.pid)
        self.forks.append((parent.pid, program.pid))
        return program

    def forking(self, parent, moments: int) -> None:
        """A process begins to fork: its child has the value it has now, and is there ``moments`` later."""
        adj, own_adj, restarts = parent.adj, parent.own_adj, self.restarts

        def is_there() -> None:
            if self.kernel.processes.get(parent.pid) is not parent:
                return
            child = self.forked(parent)
            child.adj, child.own_adj = adj, own_adj
            child.lost = child.lost or self.restarts != restarts  # what its parent had, died with us
            self.forked_slowly.append(child)

        self.kernel.meanwhile.append((moments, is_there))

    def executed(self, program, comm: str) -> None:
        """A process executes a program, or renames itself."""
        program.comm = comm
        self.kernel.ticks += 1
        self.event(program)

    def event(self, program) -> None:
        with self.killed():
            self.examiner.take_forks()
            self.examiner.on_event(program.pid, 1)

    def _now(self) -> Now:
        self.kernel.ticks += 1  # what was forked before is older: within one tick nobody can tell
        return Now(self.kernel.ticks * 10**7, self.kernel.ticks)

    def _told(self) -> list[tuple[int, int]]:
        forks, self.forks = self.forks, []
        self.told += forks
        return forks

    def set_rules(self, rules: Rules) -> None:
        self.rules = rules
        with self.killed():
            self.examiner.set_rules(rules)
        self.sweeps.want(Cause.RELOAD)

    def killed(self):
        return _Dies(self)

    def sweep_step(self) -> None:
        with self.killed():
            self.examiner.take_forks()
            self.sweeps.step()

    def fetch(self) -> None:
        """Fetch the results of the mover."""
        with self.killed():
            for carried in self.queue.results():
                self.examiner.on_carried(carried)

    def move_step(self) -> None:
        with self.killed():
            self.queue.step()

    def settle(self) -> None:
        """Everything that waits is done, and all processes were examined, twice."""
        for _ in range(3):
            self.sweeps.want(Cause.ASKED)
            while self.sweeps.pending or self.queue.orders or self.queue.done:
                self.sweep_step()
                self.move_step()
                self.fetch()


def befores(table: Table, program: Program) -> list[tuple[str, ...]]:
    """Return the values that a process had before, by the rows."""
    held = table.held(program.pid, program.start_ticks)
    return [(*map(str, row.key), str(row.before)) for row in held.values] if held is not None else []


class _Dies:
    """kill -9 where the fuse ends; then a new daemon."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __enter__(self) -> None:
        """Until now nothing was done."""

    def __exit__(self, kind, *unused: object) -> bool:
        if kind is Killed:
            self.node.restart()
            self.node.sweeps.want(Cause.START)
            return True
        self.node.told.clear()
        return kind is not None and issubclass(kind, ProcessGone)
