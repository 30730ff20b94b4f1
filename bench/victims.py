"""Processes that the kernel's OOM killer kills, against those we named before. Needs root.

Each trial fills one memory cgroup (``holdfast-test-oom-…``) until the kernel kills somebody, and compares whom with
whom `holdfast.node.oom.victim` named just before, beside the guesses people use instead: the largest ``oom_score``, the
largest resident size, and the same formula with the machine's total. What fills the group is tmpfs, which is in
nobody's resident size, so the prediction stands until the kill.

``mixed`` sizes and values · ``same-size`` and small values · ``close``: points within the error of the kernel's
counters: a tie must be called one, and the killed must be among the tied.
"""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from holdfast.cgroups import Hierarchy, detect
from holdfast.node.model.memory_domain import MemoryDomain
from holdfast.node.model.process import Process
from holdfast.node.oom.victim import Ranking, rank
from holdfast.node.proc.host import memory_tree, read_domains, read_host
from holdfast.node.proc.reader import EVERYTHING, ProcReader
from holdfast.process import ProcRoot

from bench.frame.figure import Figure, options, publish

MIB = 1048576
STEP = 64 * 1024
KINDS = ("mixed", "same-size", "close")
RULES_OF_THUMB = {
    "oom_score": "highest oom_score",
    "resident": "largest resident size",
    "node_total": "the node's total",
}
NEGATIVE = "negative"  # mixed, with values below 0: needs CAP_SYS_RESOURCE

#: Joined to its group by its parent, it takes so many KiB of memory, says so, and waits.
HOLDER = (
    "import mmap,sys;sys.stdin.readline();n=int(sys.argv[1])*1024;"
    "m=mmap.mmap(-1,n,mmap.MAP_PRIVATE|mmap.MAP_ANONYMOUS);"
    "m.madvise(mmap.MADV_NOHUGEPAGE);[m.__setitem__(i,1) for i in range(0,n,4096)];"
    "print(flush=True);sys.stdin.readline()"
)
#: Writes as many bytes of tmpfs as it is told, one order a line, and answers each.
FILLER = (
    "import os,sys;f=os.open(sys.argv[1],os.O_CREAT|os.O_RDWR|os.O_TRUNC,0o600);os.unlink(sys.argv[1]);"
    "z=bytes(65536)\nfor line in sys.stdin:\n n=int(line)\n while n>0:\n  n-=os.write(f,z[:min(n,65536)])\n"
    " print(flush=True)"
)


@dataclass(frozen=True, slots=True)
class Member:
    """One process of a trial: how much it takes, and its value."""

    kib: int
    oom_score_adj: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trial: the predictions and the kernel's choice. ``guesses`` by the name of the rule of thumb."""

    ranking: Ranking
    killed: tuple[int, ...]
    guesses: dict[str, int]

    @property
    def first(self) -> int:
        """The process that we named."""
        assert self.ranking.victim is not None
        return self.ranking.victim.process.pid

    @property
    def verdict(self) -> str:
        """``hit``, ``tie`` (called one, the killed was among them), ``two`` (a second kill followed) or ``miss``."""
        if self.ranking.tie:
            tied = {candidate.process.pid for candidate in self.ranking.tied}
            return "tie" if set(self.killed) & tied else "miss"
        if self.first in self.killed:
            return "hit" if len(self.killed) == 1 else "two"
        return "miss"


@dataclass(frozen=True, slots=True)
class Tally:
    """The outcomes of one kind, and how often each rule of thumb was right."""

    kind: str
    trials: int
    verdicts: Counter[str] = field(default_factory=Counter)
    guesses: Counter[str] = field(default_factory=Counter)

    @property
    def note(self) -> str:
        """Return the results of the trials, and of how many the rules of thumb were right."""
        ours = ", ".join(f"{number} {verdict}" for verdict, number in self.verdicts.most_common())
        others = ", ".join(f"{self.guesses[name]} by {words}" for name, words in RULES_OF_THUMB.items())
        return f"of {self.trials}: {ours}; {others}"

    @property
    def right_pct(self) -> float:
        """Of all trials; right too is a tie that was called one, with the killed among the tied."""
        return 100 * (self.trials - self.verdicts["miss"]) / self.trials


def members_of(kind: str, dice: random.Random, limit_mib: int) -> list[Member]:
    """Five processes for one trial."""
    thousandth = limit_mib * 1024 // 1000  # KiB that one step of the value is worth
    if kind == NEGATIVE:
        return [Member(dice.randint(1, 12) * 1024, dice.choice([-1000, -999, -500, -100, 0, 300])) for _ in range(5)]
    if kind == "mixed":
        return [Member(dice.randint(1, 12) * 1024, dice.choice([0, 0, *range(100, 1001, 100)])) for _ in range(5)]
    if kind == "same-size":
        return [Member(6 * 1024, adj) for adj in dice.sample(range(0, 121, 12), 5)]
    steps = dice.sample(range(12), 5)  # the same points but for a few pages: less memory, a higher value
    return [Member(8 * 1024 - step * thousandth + dice.randint(0, 4) * 4, step) for step in steps]


@contextmanager
def group(hierarchy: Hierarchy, limit_bytes: int) -> Iterator[str]:
    """A memory cgroup with a limit, gone afterwards."""
    tree = memory_tree(hierarchy)
    assert tree is not None, "no memory controller"
    path = f"/holdfast-test-oom-{uuid.uuid4().hex[:8]}"
    tree.create(path, ("memory",))
    try:
        tree.write(path, "memory.limit_in_bytes" if tree.name else "memory.max", str(limit_bytes))
        yield path
    finally:
        deadline = time.monotonic() + 10
        while not tree.remove(path) and time.monotonic() < deadline:
            select.select([], [], [], 0.01)


def kills_in(hierarchy: Hierarchy, path: str) -> int:
    """Return how many the kernel has killed in the group."""
    tree = memory_tree(hierarchy)
    assert tree is not None
    text = tree.read(path, "memory.oom_control" if tree.name else "memory.events")
    return next(int(line.split()[1]) for line in text.splitlines() if line.split()[0] == "oom_kill")


@contextmanager
def started(hierarchy: Hierarchy, path: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the group that waits for a line."""
    tree = memory_tree(hierarchy)
    assert tree is not None
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        tree.join(path, child.pid)
        yield child
    finally:
        child.kill()
        child.communicate()


def order(child: subprocess.Popen[str], line: str) -> None:
    """Send a line and wait for the answer, or for the end of the process."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(line + "\n")
        child.stdin.flush()
        child.stdout.readline()
    except BrokenPipeError:  # it was the victim
        return


def trial(members: list[Member], limit_mib: int, hierarchy: Hierarchy, *, group_kill: bool = False) -> Outcome:
    """Fill a group with ``members`` until somebody dies; with ``group_kill`` (v2) the whole group is to."""
    host = read_host("/proc", hierarchy)
    reader = ProcReader(ProcRoot("/proc"))
    with ExitStack() as stack:
        path = stack.enter_context(group(hierarchy, limit_mib * MIB))
        if group_kill:
            hierarchy.tree("").write(path, "memory.oom.group", "1")
        children = [stack.enter_context(started(hierarchy, path, HOLDER, str(member.kib))) for member in members]
        for child, member in zip(children, members, strict=True):
            with open(f"/proc/{child.pid}/oom_score_adj", "w") as file:
                file.write(str(member.oom_score_adj))
            order(child, "")
        filler = stack.enter_context(started(hierarchy, path, FILLER, f"/dev/shm/holdfast-test-{uuid.uuid4().hex}"))
        order(filler, "0")
        everybody = {child.pid: child for child in (*children, filler)}
        domain = next(some for some in read_domains(hierarchy, host) if some.path == path)
        order(filler, str(max(0, (domain.limit_pages - domain.usage_pages) * host.page_bytes - 2 * MIB)))
        processes = [reader.facts(reader.stat_line(pid), EVERYTHING) for pid in everybody]
        ranking = rank(processes, domain, host)
        guesses = rules_of_thumb(processes, hierarchy)
        while not kills_in(hierarchy, path) and filler.poll() is None:
            order(filler, str(STEP))
        expected = len(ranking.group_members) if group_kill else kills_in(hierarchy, path)
        return Outcome(ranking, dead(everybody, expected), guesses)


def dead(children: dict[int, subprocess.Popen[str]], number: int) -> tuple[int, ...]:
    """Return the killed process: waits until as many are gone as the kernel counted."""
    descriptors = {os.pidfd_open(pid): pid for pid in children}
    try:
        poll = select.poll()
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + 10
        gone: list[int] = []
        while len(gone) < number and time.monotonic() < deadline:
            gone = [descriptors[descriptor] for descriptor, _ in poll.poll(1000)]
        return tuple(gone)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def rules_of_thumb(processes: list[Process], hierarchy: Hierarchy) -> dict[str, int]:
    """Return the process that others would name."""
    host = read_host("/proc", hierarchy)
    scores = {}
    for process in processes:
        with open(f"/proc/{process.pid}/oom_score") as file:
            scores[process.pid] = int(file.read())
    by_node = rank(processes, MemoryDomain("/", host.memory_pages, host.swap_pages), host).victim
    assert by_node is not None
    return {
        "oom_score": max(scores, key=scores.__getitem__),
        "resident": max(processes, key=lambda process: process.rss_pages).pid,
        "node_total": by_node.process.pid,
    }


def run(kind: str, trials: int, seed: int) -> Tally:
    """So many trials of one kind; what came out."""
    dice, hierarchy, tally = random.Random(seed), detect("/proc", "/sys/fs/cgroup"), Tally(kind, trials)
    try:
        for _ in range(trials):
            limit_mib = dice.choice([96, 112, 128])
            outcome = trial(members_of(kind, dice, limit_mib), limit_mib, hierarchy)
            tally.verdicts[outcome.verdict] += 1
            tally.guesses.update(name for name, pid in outcome.guesses.items() if pid in outcome.killed)
    finally:
        hierarchy.close()
    return tally


def main(argv: list[str]) -> int:
    given = options(argv, __doc__)
    tallies = [run(kind, given.rounds(20, 3), seed=1) for kind in KINDS]
    figures = [
        Figure(f"right, {tally.kind}", "%", [tally.right_pct], better="higher", note=tally.note) for tally in tallies
    ]
    return publish("victims", figures, given) or int(any(tally.verdicts["miss"] for tally in tallies))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
