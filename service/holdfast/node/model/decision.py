"""What follows for a process: what is to be written, what stands in the way and why.

Frozen, without I/O: whoever thinks makes a `Decision`, whoever writes carries out its `Change` s. Values are what the
kernel has them as: a number is a number until a message or a line for people is made of it.
"""

from __future__ import annotations

import enum
from typing import ClassVar, TypeAlias

from msgspec import Struct

from holdfast.node.model.process import UNIFIED


class Field(enum.StrEnum):
    """What a change is about."""

    OOM_SCORE_ADJ = "oom_score_adj"
    CGROUP = "cgroup"
    SETTING = "setting"


class AdjChange(Struct, frozen=True):
    """The process's ``oom_score_adj``."""

    field: ClassVar[Field] = Field.OOM_SCORE_ADJ
    before: int
    after: int


class MoveChange(Struct, frozen=True):
    """The process into the group ``after`` of one hierarchy, which is made first when ``create`` is set.

    ``lost`` are the limits it leaves, ``memory.max 512Mi, pids.max 100 of /system.slice/a.service``, or empty.
    """

    field: ClassVar[Field] = Field.CGROUP
    before: str
    after: str
    hierarchy: str = UNIFIED
    create: bool = False
    lost: str = ""


class SettingChange(Struct, frozen=True):
    """``after`` into one file of a group, in the kernel's spelling; ``before`` None: not looked at yet.

    ``create``: the group is made first, with the file's controller enabled.
    """

    field: ClassVar[Field] = Field.SETTING
    before: str | None
    after: str
    group: str
    file: str
    hierarchy: str = UNIFIED
    create: bool = False


#: One thing to write. A decision's changes are in the order they are to be made.
Change: TypeAlias = AdjChange | MoveChange | SettingChange


class Reason(enum.StrEnum):
    """Why something is not done; also the label of the refusal metric."""

    KERNEL_THREAD = "kernel_thread"
    INIT = "init"
    SELF = "self"
    UNKILLABLE = "unkillable"
    LEAVE_KUBEPODS = "leave_kubepods"
    LEAVE_LIMITS = "leave_limits"
    CAPABILITY = "capability"
    SET_BY_ITSELF = "set_by_itself"
    CLAIM = "claim"
    MEMORY_LIMIT = "memory_limit"
    CPUSET = "cpuset"
    FROZEN = "frozen"
    NODE_GROUP = "node_group"
    THREADED = "threaded"
    INTERNAL_PROCESS = "internal_process"
    NO_EQUIVALENT = "no_equivalent"
    NO_CONTROLLER = "no_controller"
    BAD_VALUE = "bad_value"
    CONFLICT = "conflict"
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
    was written under a rule before, is given back. ``by_claim``: something of it protects by claims, which the rule
    trusts. ``adj_base``: what the oom_score_adj is given back to, where that is not the value it has: it inherited this
    one from a process of ours. ``inherited``: it keeps a value it inherited, as the rule says.
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
    by_claim: bool = False
    adj_base: int | None = None
    inherited: bool = False
