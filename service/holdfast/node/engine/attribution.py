"""Finds the rule that a process killed by the OOM killer was under.

The kernel reports a kill after it chose, and the process may have been forked a moment before, so that nothing examined
it. Then the process that forked it says whether it had something of a rule's. If neither process says so, the rule is
not known, which is another answer than "no rule".
"""

from __future__ import annotations

from holdfast.errors import HoldfastError
from holdfast.node.engine.keeper import Keeper
from holdfast.node.model.memory_domain import Kill
from holdfast.node.model.process import UNIFIED, PodFacts, Process
from holdfast.node.oom.watch import Attribution
from holdfast.node.proc.parse import Glance


def attribution(keeper: Keeper, kill: Kill, pod: PodFacts | None) -> Attribution:
    """Return what is known of the killed process. It may have ended, and another process may have its pid by now."""
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
    """Read what is left of the killed process: it stays until its parent has waited for it.

    None: it is gone, or another process has its pid.
    """
    try:
        glance = keeper.means.reader.glance(kill.pid)
    except HoldfastError:
        return None
    return glance if glance.comm == kill.comm else None


def _as_killed(keeper: Keeper, kill: Kill, pod: PodFacts | None, glance: Glance | None) -> Process:
    """Return the process as the kernel log describes it.

    The start of a process that is gone is not known: the latest possible one is used.
    """
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
    """Whether the lack of a placement means that no rule matches the process."""
    if not keeper.rules.could_match(kill.comm) and not keeper.reconciler.followed:
        return True
    return glance is not None and glance.start_ticks < keeper.all_seen_before
