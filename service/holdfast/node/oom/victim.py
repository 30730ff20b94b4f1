"""The next OOM victim: the OOM killer's own arithmetic, for the node and for every memory cgroup with a limit.

Theory (mm/oom_kill.c, ``oom_badness`` and ``oom_evaluate_task``, as of 6.x)
------
``points = rss + swap + page tables + oom_score_adj × (totalpages / 1000)``, in pages, the division first and
integer. ``totalpages`` is RAM plus swap for the node; for a cgroup its own limit plus the swap it may use. A process
with -1000 is never picked, nor are kernel threads and pid 1. The process with the highest points dies; at equal points
the one that is scanned later. ``/proc/PID/oom_score`` is another value: it always uses the node's total, in steps of
1.5‰ of RAM.

The kernel's counters differ from ``/proc``: up to 6.18 the killer reads three per-CPU counters without summing them,
each off by up to ``cpus × max(32, 2 × cpus)`` pages. A lead within that error is a tie: any of the tied may be
chosen. Measured on 2 CPUs: 20 of 20 predicted beyond it, 1 to 35 pages off within it.

With ``memory.oom.group`` all processes of the topmost such group at or below the domain die with the victim
(``mem_cgroup_get_oom_group``), except those with -1000.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from holdfast.node.model.memory_domain import MemoryDomain
from holdfast.node.model.process import HostFacts, Process

NEVER = -1000
COUNTERS = 3  # file, anonymous and shmem pages; swap entries are a fourth where there is swap
BATCH_PAGES = 32
#: First release whose OOM killer sums its counters exactly (Linux 6.19).
EXACT_SINCE = (6, 19)
PER_CPU_SINCE = (6, 2)


class Candidate(Struct, frozen=True):
    """One process in a domain. ``points`` None: it cannot be picked, for the reason ``why``."""

    process: Process
    oom_score_adj: int
    points: int | None
    why: str = ""


class Ranking(Struct, frozen=True):
    """A domain's candidates, the next victim first, then those that cannot be picked.

    ``margin_pages`` is the first one's lead over the second (None without a second); ``uncertainty_pages`` is the
    largest error of the kernel's counters. ``tie``: the lead is within it, and ``tied`` are all that may be first.
    ``group``, unless empty, is killed as a whole with the first one; ``spared`` are its members with -1000.
    """

    domain: MemoryDomain
    candidates: tuple[Candidate, ...]
    margin_pages: int | None
    uncertainty_pages: int
    tied: tuple[Candidate, ...] = ()
    group: str = ""
    group_members: tuple[Process, ...] = ()
    spared: tuple[Process, ...] = ()

    @property
    def victim(self) -> Candidate | None:
        """The next victim; None if none can be picked."""
        return self.candidates[0] if self.candidates and self.candidates[0].points is not None else None

    @property
    def tie(self) -> bool:
        """Whether more than one process may be first."""
        return len(self.tied) > 1


def points_of(process: Process, oom_score_adj: int, total_pages: int) -> int:
    """The kernel's badness in pages."""
    return process.memory_pages + oom_score_adj * (total_pages // 1000)


def uncertainty_pages(host: HostFacts) -> int:
    """The largest error of the killer's view of the difference between two processes, in pages."""
    if host.kernel >= EXACT_SINCE:
        return 0
    counters = COUNTERS + (1 if host.swap_pages else 0)
    if host.kernel < PER_CPU_SINCE:  # per-thread caches of 64 events instead (SPLIT_RSS_COUNTING)
        return counters * 64
    return counters * host.cpus * max(BATCH_PAGES, 2 * host.cpus)


def rank(
    processes: Iterable[Process],
    domain: MemoryDomain,
    host: HostFacts,
    adjusted: Mapping[int, int] | None = None,
    moved: Mapping[int, str] | None = None,
) -> Ranking:
    """Rank a domain's processes as its OOM would.

    ``adjusted`` and ``moved`` give other values and memory cgroups by pid: with the values that the rules would write,
    this is the ranking after the rules. A moved process leaves its memory charged to its old cgroup, and is picked in
    the new one.
    """
    adjusted, moved = adjusted or {}, moved or {}
    inside = [p for p in processes if domain.contains(moved.get(p.pid, p.memory_group))]
    ranked = sorted(
        (_candidate(process, adjusted.get(process.pid, process.oom_score_adj), domain) for process in inside),
        key=lambda c: (c.points is None, -(c.points or 0), -c.process.start_ticks, -c.process.pid),
    )
    able = [c for c in ranked if c.points is not None]
    unsure = uncertainty_pages(host)
    margin = None if len(able) < 2 else (able[0].points or 0) - (able[1].points or 0)
    tied = tuple(c for c in able if (able[0].points or 0) - (c.points or 0) <= unsure)
    group = _kill_group(able[0].process, moved, domain) if able else ""
    members = tuple(p for p in inside if group and _is_in(moved.get(p.pid, p.memory_group), group))
    spared = tuple(p for p in members if adjusted.get(p.pid, p.oom_score_adj) == NEVER)
    killed = tuple(p for p in members if p not in spared and p.pid != 1)
    return Ranking(domain, tuple(ranked), margin, unsure, tied, group, killed, spared)


def _candidate(process: Process, oom_score_adj: int, domain: MemoryDomain) -> Candidate:
    if process.kernel_thread:
        return Candidate(process, oom_score_adj, None, "a kernel thread")
    if process.pid == 1:
        return Candidate(process, oom_score_adj, None, "init")
    if oom_score_adj == NEVER:
        return Candidate(process, oom_score_adj, None, "-1000")
    if not process.memory_pages:
        return Candidate(process, oom_score_adj, None, "no memory of its own")
    return Candidate(process, oom_score_adj, points_of(process, oom_score_adj, domain.total_pages))


def _kill_group(victim: Process, moved: Mapping[int, str], domain: MemoryDomain) -> str:
    """The topmost group between the domain and the victim that is killed as a whole; empty without one."""
    path = moved.get(victim.pid, victim.memory_group)
    above = [group for group in domain.group_kill if _is_in(path, group) and domain.contains(group)]
    return min(above, key=len, default="")


def _is_in(path: str, group: str) -> bool:
    return path == group or path.startswith(group.rstrip("/") + "/")
