"""The schema of the placement configuration, ``io.holdfast.placement.v1.rules``.

Only shapes and ranges: `check` has the checks that a shape cannot express; `ruleset` (matching) and `plan` (changes)
define the meaning of a rule.
"""

# No `from __future__ import annotations` here: msgspec would compile each annotation again, 5 ms of every start.
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from holdfast.config import Duration

OneOrMore = Annotated[
    str | tuple[str, ...],
    Meta(
        description="one pattern or a list of which any may fit: a word, a glob (* ? and ** in paths), re:EXPRESSION "
        "of RE2; or not:PATTERN alone"
    ),
]
Users = Annotated[
    int | str | tuple[int | str, ...], Meta(description="user names, numbers, or ranges of numbers (1000-59999)")
]
Adjustment = Annotated[int, Meta(ge=-1000, le=1000, description="a value of /proc/PID/oom_score_adj")]
Settings = Annotated[
    dict[str, int | str | tuple[str, ...]],
    Meta(
        description="files of a cgroup by the kernel's name (memory.max, cpu.shares …) and their values. Sizes take "
        "K M G Ki Mi Gi; a list is written line by line. A name of the other cgroup version is translated where it has "
        "an equal"
    ),
]
Qos = Literal["guaranteed", "burstable", "besteffort"]
#: Keys of a rule that each lift one refusal. A bundle's rule may have only those that its node allows.
Interlock = Literal[
    "allow_init",
    "unkillable",
    "leave_kubepods",
    "leave_limits",
    "allow_small_limit",
    "allow_frozen",
    "limit_node_groups",
    "trust_claims",
]
INTERLOCKS: tuple[str, ...] = get_args(Interlock)


class PodMatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Selects by the pod a process runs in; ``{}`` matches every process in a pod."""

    namespace: OneOrMore = ()
    name: OneOrMore = ()
    uid: OneOrMore = ()
    labels: OneOrMore = ()
    annotations: OneOrMore = ()
    container: OneOrMore = ()
    qos: Annotated[Qos | tuple[Qos, ...], Meta(description="the pod's quality of service class")] = ()


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Selects processes: every key given must match."""

    comm: OneOrMore = ()
    exe: OneOrMore = ()
    cmdline: OneOrMore = ()
    user: Users = ()
    cgroup: OneOrMore = ()
    pod: Annotated[
        PodMatch | bool | None, Meta(description="selects by the process's pod; false: it is in none, true: in any")
    ] = None
    leader: Annotated[
        bool | None,
        Meta(
            description="true: the top-most process of a tree that runs the same program (a postmaster); false: its "
            "parent runs the same program (a worker)"
        ),
    ] = None
    descendants: Annotated[
        bool, Meta(description="matches also the descendants of a process that the other keys match")
    ] = False


class OomScoreAdj(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value, or bounds for the value a process has, and what its children get instead."""

    value: Adjustment | None = None
    at_least: Adjustment | None = None
    at_most: Adjustment | None = None
    children: Annotated[
        Adjustment | Literal["base", "inherit"] | None,
        Meta(
            description="for the descendants of a match that no rule matches and that still have the value they "
            "inherited, and for a match whose parent matches the same rule: a number, or base, the value the match had "
            "without holdfast. inherit: they keep what they inherit. Without it, descendants that no rule matches go "
            "back to the base of a value that protects, and leave a group that protects"
        ),
    ] = None


class CgroupTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cgroup a process belongs in."""

    path: Annotated[str, Meta(description="absolute below the root of the hierarchy; made if it does not exist")]
    settings: Settings = msgspec.field(default_factory=dict)
    controllers: Annotated[
        tuple[str, ...],
        Meta(description="v1: which hierarchies to move in; all that have controllers by default. Ignored on v2"),
    ] = ()


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule. The first one that matches a process decides."""

    name: Annotated[str, Meta(min_length=1, max_length=76, description="its name in logs, metrics and answers")]
    match: Annotated[
        Match,
        Meta(
            description="which processes. A rule that protects (a value below the process's base, memory.min or "
            "memory.low, leaving or raising limits) needs facts: exe and user, or cgroup of a unit with exe or user, "
            "or the exact pod.namespace"
        ),
    ]
    reason: Annotated[str, Meta(description="why it is there; shown by explain")] = ""
    oom_score_adj: Adjustment | OomScoreAdj | None = None
    cgroup: CgroupTarget | None = None
    in_place: Annotated[Settings, Meta(description="settings of the cgroup the process is already in")] = msgspec.field(
        default_factory=dict
    )
    only_if_inherited: Annotated[
        bool, Meta(description="leave a process alone that has another oom_score_adj than its parent: it chose it")
    ] = False
    dry_run: Annotated[bool | None, Meta(description="overrides dry_run of the whole plugin for this rule")] = None
    on_remove: Annotated[
        Literal["restore", "keep"], Meta(description="values of its processes when the rule is removed")
    ] = "restore"
    yields_to_annotations: Annotated[bool, Meta(description="an admitted pod annotation overrides this rule")] = False
    trust_claims: Annotated[
        bool,
        Meta(
            description="may protect by what a process or a pod's author says of itself (comm, cmdline, labels, "
            "another's exe): any user that can start a process can then have this protection"
        ),
    ] = False
    allow_init: Annotated[bool, Meta(description="may act on pid 1")] = False
    unkillable: Annotated[bool, Meta(description="may write -1000, which no OOM killer ever picks")] = False
    leave_kubepods: Annotated[
        bool, Meta(description="may move a process out of its pod's cgroup, and so out of its limits and accounting")
    ] = False
    leave_limits: Annotated[
        bool,
        Meta(
            description="may move a process out of a group with limits (a unit with MemoryMax, CPUQuota or TasksMax, a "
            "docker container, a slice), and so out of these limits; for a pod's group it is leave_kubepods"
        ),
    ] = False
    allow_small_limit: Annotated[
        bool, Meta(description="may move a process into a cgroup whose memory limit is below what it uses")
    ] = False
    allow_frozen: Annotated[bool, Meta(description="may move a process into a frozen cgroup, where it stops")] = False
    limit_node_groups: Annotated[
        bool,
        Meta(
            description="may freeze or limit a group that the node depends on: the root of services, users or pods, "
            "init's, the container runtime's, the kubelet's, systemd's own units, sshd's"
        ),
    ] = False


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds, both included."""

    min: Adjustment
    max: Adjustment = 1000

    def __post_init__(self) -> None:
        """Refuse bounds that no value meets, and -1000, which hides a process from every OOM."""
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.min == -1000:
            raise ValueError("min: -1000 hides a process from every OOM; no pod is given that, use -999")


class Admission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values that the pods of some namespaces may request by annotation. The first matching entry decides."""

    namespaces: Annotated[
        OneOrMore,
        Meta(description="exact names of the pods' namespaces; patterns need trust_claims beside oom_score_adj"),
    ]
    oom_score_adj: Annotated[
        Range | None, Meta(description="the values holdfast.dev/oom-score-adj may have; without it none")
    ] = None
    memory_oom_group: Annotated[bool, Meta(description="allows holdfast.dev/memory-oom-group")] = False
    protect: Annotated[bool, Meta(description="allows holdfast.dev/protect: leader")] = False
    trust_claims: Annotated[
        bool,
        Meta(description="namespaces may be patterns; any user that may create one that fits gets what is allowed"),
    ] = False


class PlacementConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration of the placement plugin. It begins as a dry run of the built-in rules."""

    dry_run: Annotated[bool, Meta(description="decide and report, write nothing")] = True
    force_dry_run: Annotated[
        bool,
        Meta(description="every rule is a dry run, also one with dry_run: false; `holdfast run --dry-run` sets it"),
    ] = False
    rules: Annotated[tuple[Rule, ...], Meta(description="your rules, in order; the first that matches decides")] = ()
    builtin_rules: Annotated[
        Literal["preview", "all", "none"] | tuple[str, ...],
        Meta(
            description="which built-in rule files follow yours: all, none, or their names "
            "(`holdfast rules builtin`); the optional ones only by name, also beside all: [all, sidecars]. A rule of "
            "yours replaces the built-in one of its name. preview: all of them, as a dry run whatever dry_run says, so "
            "that nothing is written that you did not name",
            extra={"was": "shipped"},
        ),
    ] = "preview"
    builtin_namespaces: Annotated[
        dict[str, tuple[str, ...]],
        Meta(
            description="by file of the built-in rules, the exact namespaces to whose pods its rules apply, in which "
            "only users that you trust may create pods: a container's name and labels are its author's. Without an "
            "entry kubelet and node-daemons apply to kube-system, and rules for pods of other files that protect are "
            "off",
            examples=[{"node-daemons": ["kube-system", "calico-system"], "postgresql": ["db"]}],
        ),
    ] = msgspec.field(default_factory=dict)
    bundle: Annotated[
        str,
        Meta(
            pattern="^(|current|sha256:[a-f0-9]{64})$",
            description="rules from a bundle that was applied on the node (`holdfast bundle`), after `rules` and "
            "before the built-in ones: a digest, or current. A rule under `rules` replaces the "
            "bundle's of its name. While the named bundle is missing, the bundle's rules in force stay",
            examples=["current"],
            extra={"expected": "current, or a digest as sha256:<64 hex digits>"},
        ),
    ] = ""
    annotations: Annotated[
        tuple[Admission, ...],
        Meta(description="values that pods may request by annotation, by namespace; without an entry none"),
    ] = ()
    kubernetes_events: Annotated[
        bool,
        Meta(
            description="write Kubernetes Events on pods, about each OOM kill in the pod and each annotation that is "
            "refused: the daemon's only requests to the API server, as its pod's service account, which must be "
            "allowed to create and patch events"
        ),
    ] = False
    on_stop: Annotated[
        Literal["keep", "restore"],
        Meta(description="keep: a restart or an upgrade leaves every process protected. restore: restore every value"),
    ] = "keep"
    rescan: Annotated[
        Duration, Meta(ge=1, le=3600, description="time between rescans of all processes, beside process events")
    ] = 30.0
    kills_kept: Annotated[int, Meta(ge=0, le=100_000, description="number of OOM kills to remember")] = 1000
