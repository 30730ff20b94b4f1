"""Memory domains, in which an OOM can happen, and the kills that happened there."""

from __future__ import annotations

from msgspec import Struct


class MemoryDomain(Struct, frozen=True):
    """A domain in which an OOM can happen: the node (``path`` ``/``) or one memory cgroup with a limit.

    ``limit_pages`` is memory without swap, ``swap_pages`` the swap usable on top of it (0 on a host without swap);
    their sum is the kernel's ``totalpages``. ``group_kill`` lists the paths at or below it whose ``memory.oom.group``
    is 1.
    """

    path: str
    limit_pages: int
    swap_pages: int = 0
    usage_pages: int = 0
    group_kill: frozenset[str] = frozenset()

    @property
    def total_pages(self) -> int:
        """The kernel's ``totalpages``."""
        return self.limit_pages + self.swap_pages

    def contains(self, group: str) -> bool:
        """Whether a process in memory cgroup ``group`` can be picked in this domain."""
        return self.path in ("/", group) or group.startswith(self.path + "/")


class RankedProcess(Struct, frozen=True):
    """One process of a stored ranking before a kill.

    ``in_pod``: whether it was in the pod of the process that was killed; None: not known.
    """

    pid: int
    comm: str
    points: int
    oom_score_adj: int
    in_pod: bool | None = None


class Kill(Struct, frozen=True):
    """One OOM kill, as it is kept for the question "why was my process killed?".

    ``domain`` is the memory cgroup that was full, ``/`` for the node. ``predicted`` is the last ranking before it, best
    candidate first; ``protected``: `Placement.protected` held for it; ``pressure_pct`` the ``some avg10`` of memory
    pressure then, None if unknown.

    ``number`` is its line's number in the kernel log; with the boot it identifies the kill. ``limit_pages`` of the
    domain, 0 if not known. ``rule`` None: no rule, or, with ``rule_known`` False, the engine never read the process
    before it was killed. ``rule_state`` (`placement.State`) is how far that rule had got. ``main``: it was its
    container's first process; None: not known. ``pod_confirmed``: the container runtime names this very group for the
    container, or it is a group that only root makes, below the kubelet's own.
    """

    at_ns: int
    pid: int
    comm: str
    uid: int
    domain: str
    group: str
    rss_pages: int
    oom_score_adj: int
    rule: str | None = None
    pod: str = ""
    container_id: str = ""
    predicted: tuple[RankedProcess, ...] = ()
    looked_at_ns: int = 0
    pressure_pct: float | None = None
    pod_namespace: str = ""
    pod_name: str = ""
    container: str = ""
    protected: bool = False
    number: int = -1
    limit_pages: int = 0
    rule_known: bool = True
    rule_state: str = ""
    main: bool | None = None
    pod_confirmed: bool = False
