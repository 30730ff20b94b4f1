"""The values the node work passes around: what was seen, what is to be done, what stands in the way.

Frozen, without I/O, known to both halves: whoever reads ``/proc`` fills them in, whoever thinks takes them
(``plan(process, rules, host) -> Decision``), whoever writes carries out the `Change` s of a `Decision`.

Hierarchies are named as the second field of a line of ``/proc/PID/cgroup`` names them (cgroups(7)): ``""`` is the
unified one, ``"memory"`` or ``"cpu,cpuacct"`` a v1 hierarchy with its controllers, ``"name=systemd"`` one without.
Cgroup paths are absolute below the hierarchy's root: ``/kubepods.slice/…``; the root is ``/``.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct, field

UNIFIED = ""
NO_LIMIT = -1

_EMPTY: Mapping[str, str] = MappingProxyType({})


def _empty() -> Mapping[str, str]:
    return _EMPTY


class PodFacts(Protocol):
    """What a process's pod is known by. Empty strings and mappings: not known (yet)."""

    @property
    def uid(self) -> str:
        """With dashes, whatever the cgroup driver made of it."""

    @property
    def qos(self) -> str:
        """``guaranteed``, ``burstable`` or ``besteffort``."""

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
    def main(self) -> tuple[int, int] | None:
        """The container's first process, pid and start ticks."""

    @property
    def oom_score_adj(self) -> int | None:
        """What the runtime gave the container's first process."""

    @property
    def oom_score_adj_asked(self) -> int | None:
        """What the kubelet asked the runtime for."""


class PodLookup(Protocol):
    """Who knows pods by the cgroup a process is in."""

    def pod_of(self, cgroups: Mapping[str, str]) -> PodFacts | None:
        """The pod one of these paths (by hierarchy) belongs to, or None."""


class Held(Struct, frozen=True):
    """What the journal says we did to a process's ``oom_score_adj``: the value before, the value we wrote, and why.

    ``as_child`` of ``rule`` lasts when the ancestors are gone: a child whose parent ended would otherwise be given
    back the value it inherited.
    """

    adj_before: int
    adj_written: int
    rule: str = ""
    as_child: bool = False


class Process(Struct, frozen=True):
    """One process (thread group) at one moment, as ``/proc/PID`` told it.

    ``start_ticks`` (field 22 of proc_pid_stat(5)) with ``pid`` is its identity; ``execs`` counts the execs seen of
    it, because an exec keeps the identity and changes what rules match. ``exe`` is empty where it cannot be read.
    ``cgroups`` maps hierarchy to path. Sizes are pages, as the OOM killer counts them: resident, swapped, page tables.
    ``ancestors`` is filled, nearest first, as far as `RuleBook.lineage` asks; their own ``ancestors`` stay empty.
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
    execs: int = 0
    pod: PodFacts | None = None
    held: Held | None = None
    ancestors: tuple[Process, ...] = ()

    @property
    def memory_group(self) -> str:
        """The path of the memory cgroup: v1's where there is one, else the unified one."""
        path = self.cgroups.get("memory")  # hardly anybody mounts it with another controller
        if path is not None:
            return path
        return next((path for name, path in self.cgroups.items() if "memory" in name.split(",")), self.unified_group)

    @property
    def unified_group(self) -> str:
        """The path in the unified hierarchy; the root where there is none."""
        return self.cgroups.get(UNIFIED, "/")

    @property
    def memory_pages(self) -> int:
        """What the kernel's badness counts before the adjustment."""
        return self.rss_pages + self.swap_pages + self.page_table_pages


class GroupFacts(Struct, frozen=True):
    """One cgroup a rule names as a target, as it is now. Absent from `HostFacts.groups`: it does not exist yet.

    ``memory_limit`` in bytes, `NO_LIMIT` without one; ``cpus`` and ``mems`` None where there is no cpuset controller.
    ``type`` is ``cgroup.type`` (``domain`` on v1). ``values``: what files hold now, by file name, stripped.
    """

    memory_limit: int = NO_LIMIT
    memory_usage: int = 0
    cpus: str | None = None
    mems: str | None = None
    type: str = "domain"
    frozen: bool = False
    subtree_control: Collection[str] = ()
    values: Mapping[str, str] = field(default_factory=_empty)


class HostFacts(Struct, frozen=True):
    """The machine, as far as a decision depends on it.

    ``hierarchies`` are all mounted ones by the names `Process.cgroups` uses. A host is v2 when no v1 hierarchy has a
    controller. ``controllers`` are those of the unified hierarchy's root. ``groups`` by path holds the rules'
    targets (`RuleBook.targets`) and, for ``in_place``, may hold more. ``swap_pages`` is the total, not the free part.
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

    @property
    def is_v2(self) -> bool:
        """No v1 hierarchy carries a controller here (pure v2; a ``name=`` hierarchy does not count)."""
        return not self.v1_hierarchies

    @property
    def v1_hierarchies(self) -> tuple[str, ...]:
        """The v1 hierarchies that carry controllers."""
        return _with_controllers(self.hierarchies)

    def hierarchy_of(self, controller: str) -> str | None:
        """The hierarchy that carries ``controller``, or None when nobody does."""
        name = _carrier(self.hierarchies, controller)
        if name is not None:
            return name
        return UNIFIED if controller in self.controllers and UNIFIED in self.hierarchies else None


# A machine has the same hierarchies for every decision.
@lru_cache(maxsize=8)
def _with_controllers(hierarchies: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in hierarchies if name and not name.startswith("name="))


@lru_cache(maxsize=64)
def _carrier(hierarchies: tuple[str, ...], controller: str) -> str | None:
    return next((name for name in hierarchies if name == controller or controller in name.split(",")), None)


class Field(enum.StrEnum):
    """What a change is about."""

    OOM_SCORE_ADJ = "oom_score_adj"
    CGROUP = "cgroup"
    SETTING = "setting"


class Change(Struct, frozen=True):
    """One thing to write. A decision's changes are in the order they are to be made.

    OOM_SCORE_ADJ: ``after`` into the process's file. SETTING: ``after`` into ``file`` of ``group`` in ``hierarchy``
    (made first, with the file's controller enabled, when ``create`` is set; ``before`` None: not looked at yet).
    CGROUP: the process into ``group`` of ``hierarchy``; ``before`` and ``after`` are paths.
    """

    field: Field
    before: str | None
    after: str
    hierarchy: str = UNIFIED
    group: str = ""
    file: str = ""
    create: bool = False


class Reason(enum.StrEnum):
    """Why something is not done; also the label of the refusal metric."""

    KERNEL_THREAD = "kernel_thread"
    INIT = "init"
    SELF = "self"
    UNKILLABLE = "unkillable"
    LEAVE_KUBEPODS = "leave_kubepods"
    CAPABILITY = "capability"
    SET_BY_ITSELF = "set_by_itself"
    MEMORY_LIMIT = "memory_limit"
    CPUSET = "cpuset"
    FROZEN = "frozen"
    THREADED = "threaded"
    INTERNAL_PROCESS = "internal_process"
    NO_EQUIVALENT = "no_equivalent"
    NO_CONTROLLER = "no_controller"
    BAD_VALUE = "bad_value"
    ROOT_GROUP = "root_group"
    JOURNAL = "journal"
    KERNEL = "kernel"


class Refusal(Struct, frozen=True):
    """One thing a rule asks for that is not done: the reason, and one line that ends with the remedy."""

    reason: Reason
    field: Field
    detail: str


class Decision(Struct, frozen=True):
    """What follows for one process: the rule it falls under (None: no rule), what to write, what stands in the way.

    ``as_child``: it falls under the rule's ``children`` as a descendant of a match. Nothing is written when
    ``dry_run`` is set. No changes and no refusals under a rule: everything is as the rule wants it. ``adjusts`` and
    ``moves`` say whether the rule speaks of the oom_score_adj and of the cgroup at all: what it does not speak of, and
    was written under a rule before, is given back.
    """

    pid: int
    start_ticks: int
    rule: str | None = None
    changes: tuple[Change, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    dry_run: bool = False
    restore_on_remove: bool = True
    as_child: bool = False
    adjusts: bool = True
    moves: bool = True


class Lineage(enum.IntEnum):
    """How much of a process's ancestry the rules ask about."""

    NONE = 0
    PARENT = 1
    ALL = 2


class RuleBook(Protocol):
    """What the engine asks of compiled rules (`rules.Rules`), beside handing them to ``plan``."""

    @property
    def names(self) -> tuple[str, ...]:
        """The rules' names in their order."""

    @property
    def lineage(self) -> Lineage:
        """How far `Process.ancestors` must be filled before ``plan``."""

    @property
    def targets(self) -> frozenset[str]:
        """The cgroup paths the rules move processes to: `HostFacts.groups` tells of them."""

    def could_match(self, comm: str) -> bool:
        """False: no rule can hold for a process of this name, so nothing else need be read of it."""

    def may_hold_children_of(self, rule: str) -> bool:
        """Whether forks of a process under ``rule`` are to be followed (``children`` or ``descendants``)."""


class MemoryDomain(Struct, frozen=True):
    """Where an OOM can happen: the node (``path`` ``/``) or one memory cgroup with a limit.

    ``limit_pages`` is memory without swap, ``swap_pages`` what may be swapped on top of it (0 on a host without
    swap); their sum is the kernel's ``totalpages``. ``group_kill`` lists the paths at or below it whose
    ``memory.oom.group`` is 1.
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
        """Whether a process in memory cgroup ``group`` can be picked here."""
        return self.path in ("/", group) or group.startswith(self.path + "/")


class Standing(Struct, frozen=True):
    """One line of a remembered ranking: who stood where before a kill."""

    pid: int
    comm: str
    points: int
    oom_score_adj: int


class Kill(Struct, frozen=True):
    """One OOM kill, as it is kept for the question "why was my process killed?".

    ``domain`` is the memory cgroup that was full, ``/`` for the node. ``predicted`` is the ranking at the last look
    before it, best candidate first; ``pressure_pct`` the ``some avg10`` of memory pressure then, None if unknown.
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
    predicted: tuple[Standing, ...] = ()
    looked_at_ns: int = 0
    pressure_pct: float | None = None
    pod_namespace: str = ""
    pod_name: str = ""
    container: str = ""
