"""Decisions about a process: the changes to write, and the refusals with their reasons.

Frozen, without I/O: the planner makes a `Decision`, the engine carries out its `Change` s. Values are as the kernel has
them: a number is a number until a message or a line for people is made of it.
"""

from __future__ import annotations

import enum
from typing import ClassVar, TypeAlias

from msgspec import Struct

from holdfast.node.model.process import UNIFIED


class Field(enum.StrEnum):
    """The subject of a change."""

    OOM_SCORE_ADJ = "oom_score_adj"
    CGROUP = "cgroup"
    SETTING = "setting"


class AdjChange(Struct, frozen=True):
    """A write to the process's ``oom_score_adj``."""

    field: ClassVar[Field] = Field.OOM_SCORE_ADJ
    before: int
    after: int


class MoveChange(Struct, frozen=True):
    """A move of the process into the group ``after`` of one hierarchy; with ``create`` the group is made first.

    ``lost`` are the limits it leaves, ``memory.max 512Mi, pids.max 100 of /system.slice/a.service``, or empty.
    """

    field: ClassVar[Field] = Field.CGROUP
    before: str
    after: str
    hierarchy: str = UNIFIED
    create: bool = False
    lost: str = ""


class SettingChange(Struct, frozen=True):
    """A write of ``after`` to one file of a group, in the kernel's spelling; ``before`` None: not read yet.

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
    """Reason of a refusal; also the label of the refusal metric."""

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
    """One refused part of a rule: the reason, and one line that ends with the remedy."""

    reason: Reason
    field: Field
    detail: str


class Decision(Struct, frozen=True):
    """The decision for one process: the rule it falls under (None: no rule), the changes, and the refusals.

    ``as_child``: it falls under the rule's ``children`` as a descendant of a match. Nothing is written when ``dry_run``
    is set. No changes and no refusals under a rule: everything is as the rule wants it. ``adjusts`` and ``moves`` say
    whether the rule sets the oom_score_adj and the cgroup at all: a value that it does not set, and that was written
    under a rule before, is restored. ``by_claim``: part of it protects by claims, which the rule trusts.
    ``inherited``: it keeps a value it inherited, as the rule says. ``group_rule``: while its oom_score_adj is
    overridden, the rule that decides everything else.
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
    inherited: bool = False
    group_rule: str = ""
