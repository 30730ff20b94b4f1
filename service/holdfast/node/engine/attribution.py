"""Which rule a process was under that the OOM killer took.

The kernel tells of a kill after it chose, and the process may have been forked a moment before, so that nothing looked
at it: then the process that forked it says whether it had something of a rule's. What neither says is not known, which
is another answer than "no rule".
"""

from __future__ import annotations

from holdfast.errors import HoldfastError
from holdfast.node.engine.keeper import Keeper
from holdfast.node.model.memory_domain import Kill
from holdfast.node.model.process import UNIFIED, PodFacts, Process
from holdfast.node.oom.watch import Attribution
from holdfast.node.proc.parse import Glance


def attribution(keeper: Keeper, kill: Kill, pod: PodFacts | None) -> Attribution:
    """What is known of the process of a kill; it may have ended, and its number may be another's by now."""
    reconciler = keeper.reconciler
    glance = _glance(keeper, kill)
    placement = reconciler.placement(kill.pid)
    if placement is not None and (glance is None or glance.start_ticks == placement.start_ticks):
        return Attribution(placement)
    inherited = reconciler.passed_on(_as_killed(keeper, kill, pod, glance))
    if inherited is not None:
        return Attribution(inherited=inherited)
    return Attribution(known=_was_looked_at(keeper, kill, glance))


def _glance(keeper: Keeper, kill: Kill) -> Glance | None:
    """What is left of it: a process stays until its parent has waited for it. Another one with its number is not it."""
    try:
        glance = keeper.means.reader.glance(kill.pid)
    except HoldfastError:
        return None
    return glance if glance.comm == kill.comm else None


def _as_killed(keeper: Keeper, kill: Kill, pod: PodFacts | None, glance: Glance | None) -> Process:
    """The process as the kernel log tells it. Of one that is gone the start is not known: the latest there can be."""
    memory = keeper.reconciler.host.hierarchy_of("memory")
    return Process(
        kill.pid,
        glance.start_ticks if glance is not None else keeper.means.now().ticks,
        glance.ppid if glance is not None else 0,
        kill.comm,
        cgroups={memory if memory is not None else UNIFIED: kill.group} if kill.group else {},
        oom_score_adj=kill.oom_score_adj,
        pod=pod,
    )


def _was_looked_at(keeper: Keeper, kill: Kill, glance: Glance | None) -> bool:
    """Whether that it has no placement says that no rule is about it."""
    if not keeper.rules.could_match(kill.comm) and not keeper.reconciler.followed:
        return True
    return glance is not None and glance.start_ticks < keeper.all_seen_before
