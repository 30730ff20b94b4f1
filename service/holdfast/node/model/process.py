"""The data of a process and of the machine, as the node's modules pass it around.

Frozen, without I/O, known to both halves: the code that reads ``/proc`` fills them in, the planner takes them
(``plan(process, rules, host) -> Decision``); the result is in `decision`.

Hierarchies are named as the second field of a line of ``/proc/PID/cgroup`` names them (cgroups(7)): ``""`` is the
unified one, ``"memory"`` or ``"cpu,cpuacct"`` a v1 hierarchy with its controllers, ``"name=systemd"`` one without.
Cgroup paths are absolute below the hierarchy's root: ``/kubepods.slice/…``; the root is ``/``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct, field

from holdfast.node.model.evidence import NOTHING_READ, Evidence

UNIFIED = ""
SYSTEMD = "name=systemd"
NO_LIMIT = -1

_EMPTY: Mapping[str, str] = MappingProxyType({})
_CONTAINER = re.compile(r"[0-9a-f]{64}")  # the id, in the name of a container's group


def _empty() -> Mapping[str, str]:
    return _EMPTY


class PodFacts(Protocol):
    """The known data of a process's pod. Empty strings and mappings: not known (yet)."""

    @property
    def uid(self) -> str:
        """The pod's uid with dashes, whatever the cgroup driver made of it."""

    @property
    def qos(self) -> str:
        """The pod's class: ``guaranteed``, ``burstable`` or ``besteffort``."""

    @property
    def group(self) -> str:
        """The container's own cgroup; the pod's for a process in no container."""

    @property
    def container_id(self) -> str:
        """The runtime's id; empty for a process in the pod's own cgroup."""

    @property
    def namespace(self) -> str:
        """The pod's namespace."""

    @property
    def name(self) -> str:
        """The pod's name."""

    @property
    def container(self) -> str:
        """The container's name in the pod."""

    @property
    def labels(self) -> Mapping[str, str]:
        """The pod's labels."""

    @property
    def annotations(self) -> Mapping[str, str]:
        """The pod's annotations."""

    @property
    def group_confirmed(self) -> bool:
        """Whether the container runtime names this very group for the container."""

    @property
    def main(self) -> tuple[int, int] | None:
        """The container's first process, pid and start ticks."""

    @property
    def oom_score_adj(self) -> int | None:
        """The value that the runtime gave the container's first process."""

    @property
    def oom_score_adj_asked(self) -> int | None:
        """The value that the kubelet requested from the runtime."""


class PodLookup(Protocol):
    """Finds a pod by the cgroup of a process."""

    def pod_of(self, cgroups: Mapping[str, str]) -> PodFacts | None:
        """The pod to which one of these paths (by hierarchy) belongs, or None."""


class Held(Struct, frozen=True):
    """The journal's entry for a process's ``oom_score_adj``: the value before, the value we wrote, and why.

    ``as_child`` of ``rule`` lasts when the ancestors are gone: a child whose parent ended would otherwise be restored
    to the value it inherited. ``heir``: it inherited the value, from a process that may be none of its ancestors now.
    """

    adj_before: int
    adj_written: int
    rule: str = ""
    as_child: bool = False
    heir: bool = False


class Process(Struct, frozen=True):
    """One process (thread group) at one moment, as read from ``/proc/PID``.

    ``start_ticks`` (field 22 of proc_pid_stat(5)) with ``pid`` is its identity. ``exe`` is empty where it cannot be
    read. ``cgroups`` maps hierarchy to path. Sizes are pages, as the OOM killer counts them: resident, swapped, page
    tables.
    ``ancestors`` is filled, nearest first, as far as `ruleset.Rules.lineage` asks; their own ``ancestors`` stay empty.
    ``unread`` is why ``cmdline`` is not known; empty when it is. ``uid`` is the effective user, ``uids`` real,
    effective and saved; empty where they were not read. ``pod_unknown``: its cgroup is a pod's by name and cannot be
    read, so that it is neither in a pod nor in none. ``evidence`` is read for a process that a protecting rule matches.
    ``thread``: its first thread has ended, and it was read through this one.
    """

    pid: int
    start_ticks: int
    ppid: int
    comm: str
    exe: str = ""
    cmdline: tuple[str, ...] = ()
    uid: int = 0
    cgroups: Mapping[str, str] = field(default_factory=_empty)
    oom_score_adj: int = 0
    rss_pages: int = 0
    swap_pages: int = 0
    page_table_pages: int = 0
    threads: int = 1
    kernel_thread: bool = False
    pod: PodFacts | None = None
    held: Held | None = None
    ancestors: tuple[Process, ...] = ()
    unread: str = ""
    uids: tuple[int, ...] = ()
    pod_unknown: bool = False
    evidence: Evidence = NOTHING_READ
    thread: int = 0

    @property
    def place(self) -> tuple[tuple[str, str], ...]:
        """The groups that locate it, hierarchy and path: the memory group, and systemd's own v1 group where it has one.

        In some hierarchy of v1 nearly every process is in ``/``, which locates nothing.
        """
        memory = next((name for name in self.cgroups if "memory" in name.split(",")), UNIFIED)
        names = (memory, SYSTEMD) if SYSTEMD in self.cgroups else (memory,)
        return tuple((name, self.cgroups.get(name, "/")) for name in names)

    @property
    def memory_group(self) -> str:
        """The path of the memory cgroup: v1's where there is one, else the unified one."""
        path = self.cgroups.get("memory")  # it is hardly ever mounted with another controller
        if path is not None:
            return path
        return next((path for name, path in self.cgroups.items() if "memory" in name.split(",")), self.unified_group)

    @property
    def unified_group(self) -> str:
        """The path in the unified hierarchy; the root where there is none."""
        return self.cgroups.get(UNIFIED, "/")

    def may_have_raised(self, inherited: int, base: int, group: str) -> bool:
        """Whether it may have raised the value that it inherited by itself, and keeps a part of the protection so.

        A process may raise its value; to lower it takes CAP_SYS_RESOURCE, which few have whose user is not root. In a
        container a value between the two is the runtime's: unless ``group``, of the process that had the value first,
        is the same. False where its users or groups were not read.
        """
        if not inherited < self.oom_score_adj < base or not self.uids or not any(self.uids) or not self.cgroups:
            return False
        own = self.memory_group
        return own == group or (self.pod is None and _CONTAINER.search(own) is None)

    @property
    def memory_pages(self) -> int:
        """The pages that the kernel's badness counts before the adjustment."""
        return self.rss_pages + self.swap_pages + self.page_table_pages


class GroupFacts(Struct, frozen=True):
    """One cgroup that a rule names as a target, as it is now. Absent from `HostFacts.groups`: it does not exist yet.

    ``memory_limit`` in bytes, `NO_LIMIT` without one; ``cpus`` and ``mems`` None where there is no cpuset controller.
    ``type`` is ``cgroup.type`` (``domain`` on v1). ``values``: the present contents of files, by file name, stripped.
    """

    memory_limit: int = NO_LIMIT
    cpus: str | None = None
    mems: str | None = None
    type: str = "domain"
    frozen: bool = False
    subtree_control: Collection[str] = ()
    values: Mapping[str, str] = field(default_factory=_empty)


class HostFacts(Struct, frozen=True):
    """The data of the machine that decisions depend on.

    ``hierarchies`` are all mounted ones by the names `Process.cgroups` uses. A host is v2 when no v1 hierarchy has a
    controller. ``controllers`` are those of the unified hierarchy's root. ``groups`` by path holds the rules' targets
    (`ruleset.Rules.targets`) and, for ``in_place``, more. ``swap_pages`` is the total, not the free part.
    ``own_groups`` are the daemon's own cgroups, by hierarchy.
    """

    boot_id: str
    own_pid: int
    memory_pages: int
    swap_pages: int = 0
    page_bytes: int = 4096
    cpus: int = 1
    kernel: tuple[int, int] = (0, 0)
    hierarchies: tuple[str, ...] = (UNIFIED,)
    controllers: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    groups: Mapping[str, GroupFacts] = field(default_factory=dict)
    own_groups: Mapping[str, str] = field(default_factory=_empty)

    @property
    def is_v2(self) -> bool:
        """Whether no v1 hierarchy carries a controller (pure v2; a ``name=`` hierarchy does not count)."""
        return not self.v1_hierarchies

    @property
    def v1_hierarchies(self) -> tuple[str, ...]:
        """The v1 hierarchies that carry controllers."""
        return with_controllers(self.hierarchies)

    def hierarchy_of(self, controller: str) -> str | None:
        """The hierarchy that carries ``controller``, or None when none does."""
        return carrier_of(controller, self.hierarchies, self.controllers)


# A machine has the same hierarchies for every decision.
@lru_cache(maxsize=8)
def with_controllers(hierarchies: tuple[str, ...]) -> tuple[str, ...]:
    """The v1 hierarchies among these that carry controllers."""
    return tuple(name for name in hierarchies if name and not name.startswith("name="))


@lru_cache(maxsize=64)
def carrier_of(controller: str, hierarchies: tuple[str, ...], unified: frozenset[str]) -> str | None:
    """The hierarchy among these that carries ``controller``; ``unified``: the controllers of the unified one."""
    name = next((name for name in hierarchies if name == controller or controller in name.split(",")), None)
    if name is not None:
        return name
    return UNIFIED if controller in unified and UNIFIED in hierarchies else None


class Wants(Struct, frozen=True):
    """The files beyond ``stat`` and ``oom_score_adj`` that the rules in force need."""

    groups: bool = True
    exe: bool = True
    cmdline: bool = True
    status: bool = True


class Lineage(enum.IntEnum):
    """The part of a process's ancestry that the rules need."""

    NONE = 0
    PARENT = 1
    ALL = 2
