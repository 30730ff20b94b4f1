"""What the engine remembers and reports: one `Placement` a process under a rule, one `Report` a thing that happened.

The face of the engine (`engine.engine.Engine`) for whoever serves it, all callable from any thread; what needs the
engine's thread gives a ``concurrent.futures.Future``::

    engine.start(); engine.stop(restore=False)
    engine.set_rules(rules, dry_run_reason="")            # in force within one turn; causes a full sweep
    engine.placements() -> tuple[Placement, ...]
    engine.process(pid) -> Process                         # all facts, ancestors included; ProcessGone
    engine.processes() -> tuple[Process, ...]              # a sweep of its own, for preview and victims
    engine.host_facts() -> HostFacts
    engine.domains() -> tuple[MemoryDomain, ...]           # the node, and every memory cgroup with a limit
    engine.hold(pid, start_ticks | None, adj, ttl_s, why) -> Future[Placement]
    engine.release(pid) -> Future[Placement | None]        # back to what the rules say
    engine.restore(rule=None, pid=None) -> Future[Restored]
    engine.sweep() -> Future[Sweep]
    engine.kills.latest(limit) -> tuple[Kill, ...]
    engine.status() -> Status

Reports arrive at the callbacks given to the constructor, on the engine's thread.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from msgspec import Struct, field

from holdfast.node.model.decision import Change, Refusal
from holdfast.node.model.process import PodFacts

#: The rule a process is under while somebody holds it by hand.
BY_HAND = "hold"


class State(enum.StrEnum):
    """How far a rule got with a process."""

    HELD = "held"  # everything is as the rule wants it
    MOVING = "moving"  # a cgroup move waits for the mover
    PLANNED = "planned"  # dry run: this would be written
    REFUSED = "refused"  # nothing of it can be done
    PARTLY = "partly"  # some of it is done, some refused
    INHERITED = "inherited"  # no rule is about it: it has what one gave to another process
    RETURNING = "returning"  # no rule is about it any more: what it has is being given back


_ENFORCED = frozenset({State.HELD, State.MOVING, State.PARTLY})


def state_of(refusals: Iterable[Refusal], *, did: bool) -> State:
    """How far a rule got, when nothing waits any more."""
    if not tuple(refusals):
        return State.HELD
    return State.PARTLY if did else State.REFUSED


class Happening(enum.StrEnum):
    """What a report is about; also the last part of its event's topic, ``/placement/<happening>``."""

    PLANNED = "planned"
    HELD = "held"
    RELEASED = "released"
    DRIFTED = "drifted"
    FAILED = "failed"
    REFUSED = "refused"  # what a pod asks for by annotation and is not allowed; of a pod, not of a process


class Cause(enum.StrEnum):
    """Why all of ``/proc`` was read."""

    START = "start"
    RELOAD = "reload"
    PERIOD = "period"
    LOST_EVENTS = "lost_events"
    NO_HEARTBEAT = "no_heartbeat"
    ASKED = "asked"


class Placement(Struct, gc=False):
    """One process under a rule, as the engine knows it. Written by the engine's thread only; others get copies.

    ``since_ns`` and ``expires_ns`` are Unix times; ``expires_ns`` 0: not held by hand. ``adj_before`` None: we did
    not write its ``oom_score_adj``. ``adjusts``: its rule has an ``oom_score_adj``. ``by_claim``: what it has protects
    it by claims that the rule trusts. ``inherited``: a process that the rule protects passed its value on to it
    (``children: inherit``).
    """

    pid: int
    start_ticks: int
    comm: str
    rule: str
    as_child: bool = False
    state: State = State.HELD
    oom_score_adj: int = 0
    adj_before: int | None = None
    group: str = ""
    changes: tuple[Change, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    since_ns: int = 0
    expires_ns: int = 0
    pod: PodFacts | None = None
    adjusts: bool = False
    by_claim: bool = False
    inherited: bool = False

    @property
    def protected(self) -> bool:
        """Whether the rule's ``oom_score_adj`` makes the OOM killer spare it: below 0, or below what it had before."""
        lowered = self.adj_before is not None and self.oom_score_adj < self.adj_before
        return self.adjusts and self.state in _ENFORCED and (self.oom_score_adj < 0 or lowered)


class Report(Struct, frozen=True):
    """Something that happened to one process. ``detail`` is one line, empty where the changes say all."""

    happening: Happening
    pid: int
    start_ticks: int
    comm: str
    rule: str
    changes: tuple[Change, ...] = ()
    detail: str = ""
    at_ns: int = 0
    pod: PodFacts | None = None


class Restored(Struct, frozen=True):
    """What giving back did: values given back, values left because another program changed them since, processes and
    groups that are gone, and what failed. ``apart`` of those given back are in the nearest group above: theirs is gone.
    """

    given_back: int = 0
    left: int = 0
    gone: int = 0
    failed: tuple[str, ...] = ()
    apart: int = 0


class Sweep(Struct, frozen=True):
    """One look at all of ``/proc``."""

    cause: Cause
    processes: int
    seconds: float


class Status(Struct, frozen=True):
    """The engine at a glance. ``events`` is empty while exec events arrive, else why they do not.

    ``kubelet_cgroup`` is the kubelet's own root group, below which pods are; empty: none was found.
    """

    running: bool
    events: str
    last_sweep: Sweep | None
    moves_waiting: int
    suspended: frozenset[str] = field(default_factory=frozenset)
    kubelet_cgroup: str = ""
