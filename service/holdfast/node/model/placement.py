"""The engine's state and reports: one `Placement` per process under a rule, one `Report` per event.

The interface of the engine (`engine.engine.Engine`) for the services, callable from any thread; a method that needs the
engine's thread returns a ``concurrent.futures.Future``::

    engine.start(); engine.stop(restore=False)
    engine.set_rules(rules) -> Future[None]                # in force within one turn; causes a full rescan
    engine.placements() -> tuple[Placement, ...]
    engine.snapshot(mark) -> Future[(placements, mark())]  # both at one moment between two reports
    engine.process(pid) -> Process                         # all facts, ancestors included; ProcessGone
    engine.processes() -> tuple[Process, ...]              # a rescan of its own, for preview and victims
    engine.host_facts() -> HostFacts
    engine.domains() -> tuple[MemoryDomain, ...]           # the node, and every memory cgroup with a limit
    engine.hold(pid, start_ticks | None, adj, ttl_s, why) -> Future[Placement]
    engine.release(pid) -> Future[Placement | None]        # back to the rules' values
    engine.restore(rule=None, pid=None) -> Future[Restored]
    engine.sweep() -> Future[Sweep]
    engine.kills.latest(limit) -> tuple[Kill, ...]
    engine.status() -> Status

Reports arrive at the `Listeners` given to the constructor of `engine.loop.Loop`, on the engine's thread.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from msgspec import Struct, field

from holdfast.node.model.decision import Change, Refusal
from holdfast.node.model.process import PodFacts

#: The rule of a process under a manual override.
BY_HAND = "hold"


class State(enum.StrEnum):
    """Progress of a rule with a process."""

    HELD = "held"  # everything is as the rule wants it
    MOVING = "moving"  # a cgroup move waits for the mover
    PLANNED = "planned"  # dry run: this would be written
    REFUSED = "refused"  # nothing of it can be done
    PARTLY = "partly"  # some of it is done, some refused
    INHERITED = "inherited"  # no rule matches it: it has a value that a rule gave to another process
    RETURNING = "returning"  # no rule matches it now: its values are being restored


_ENFORCED = frozenset({State.HELD, State.MOVING, State.PARTLY})


def state_of(refusals: Iterable[Refusal], *, did: bool) -> State:
    """The state of a process under a rule when no change waits."""
    if not tuple(refusals):
        return State.HELD
    return State.PARTLY if did else State.REFUSED


class Happening(enum.StrEnum):
    """The kind of a report; also the last part of its event's topic, ``/placement/<happening>``."""

    PLANNED = "planned"
    HELD = "held"
    RELEASED = "released"
    DRIFTED = "drifted"
    FAILED = "failed"
    REFUSED = "refused"  # an annotation that a pod may not use; of a pod, not of a process


class Cause(enum.StrEnum):
    """Reason why a rescan read all of ``/proc``."""

    START = "start"
    RELOAD = "reload"
    PERIOD = "period"
    LOST_EVENTS = "lost_events"
    NO_HEARTBEAT = "no_heartbeat"
    ASKED = "asked"


class Placement(Struct, gc=False):
    """One process under a rule, as the engine knows it. Only the engine's thread writes it; others get copies.

    ``since_ns`` and ``expires_ns`` are Unix times; ``expires_ns`` 0: no manual override. ``adj_before`` None: the
    engine did not write its ``oom_score_adj``. ``adjusts``: its rule has an ``oom_score_adj``. ``by_claim``: it is
    protected by claims that the rule trusts. ``inherited``: a process that the rule protects passed its value on to it
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
    """One event of one process. ``detail`` is one line, empty where the changes are complete without it."""

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
    """The result of a restore: counts of values restored, left or gone, and what failed.

    ``left``: another program changed the value since. ``gone``: processes and groups that are gone. ``apart`` of the
    restored ones are in the nearest group above, because their own is gone or threaded now.
    """

    given_back: int = 0
    left: int = 0
    gone: int = 0
    failed: tuple[str, ...] = ()
    apart: int = 0


class Sweep(Struct, frozen=True):
    """One rescan of all of ``/proc``."""

    cause: Cause
    processes: int
    seconds: float


class Status(Struct, frozen=True):
    """The engine's state. ``events`` is empty while process events arrive, else the reason why they do not.

    ``kubelet_cgroup`` is the kubelet's own root group, below which pods are; empty: none was found.
    """

    running: bool
    events: str
    last_sweep: Sweep | None
    moves_waiting: int
    suspended: frozenset[str] = field(default_factory=frozenset)
    kubelet_cgroup: str = ""
