"""Finds the rule that a process killed by the OOM killer was under.

The kernel reports a kill after it chose, and the process may have been forked a moment before, so that nothing examined
it. Then the process that forked it says whether it had something of a rule's. If neither process is known, the rule is
not known, which is another answer than "no rule".
"""

from __future__ import annotations

from holdfast.errors import HoldfastError
from holdfast.node.engine.examiner import Examiner
from holdfast.node.model.memory_domain import Kill
from holdfast.node.model.process import UNIFIED, PodFacts, Process
from holdfast.node.oom.watch import Attribution
from holdfast.node.proc.parse import StatLine


def attribution(examiner: Examiner, kill: Kill, pod: PodFacts | None) -> Attribution:
    """Return what is known of the killed process. It may have ended, and another process may have its pid by now."""
    reconciler = examiner.reconciler
    stat_line = _stat_line(examiner, kill)
    placement = reconciler.placement(kill.pid)
    if placement is not None and (stat_line is None or stat_line.start_ticks == placement.start_ticks):
        return Attribution(placement)
    inherited = reconciler.passed_on(_as_killed(examiner, kill, pod, stat_line))
    if inherited is not None:
        return Attribution(inherited=inherited)
    return Attribution(known=_was_looked_at(examiner, kill, stat_line))


def _stat_line(examiner: Examiner, kill: Kill) -> StatLine | None:
    """Read what is left of the killed process: it stays until its parent has waited for it.

    None: it is gone, or another process has its pid.
    """
    try:
        stat_line = examiner.context.reader.stat_line(kill.pid)
    except HoldfastError:
        return None
    return stat_line if stat_line.comm == kill.comm else None


def _as_killed(examiner: Examiner, kill: Kill, pod: PodFacts | None, stat_line: StatLine | None) -> Process:
    """Return the process as the kernel log describes it.

    The start of a process that is gone is not known: the latest possible one is used.
    """
    memory = examiner.reconciler.host.hierarchy_of("memory")
    return Process(
        kill.pid,
        stat_line.start_ticks if stat_line is not None else examiner.context.now().ticks,
        stat_line.ppid if stat_line is not None else 0,
        kill.comm,
        cgroups={memory if memory is not None else UNIFIED: kill.group} if kill.group else {},
        oom_score_adj=kill.oom_score_adj,
        pod=pod,
    )


def _was_looked_at(examiner: Examiner, kill: Kill, stat_line: StatLine | None) -> bool:
    """Whether the lack of a placement means that no rule matches the process."""
    if not examiner.rules.could_match(kill.comm) and not examiner.reconciler.followed:
        return True
    return stat_line is not None and stat_line.start_ticks < examiner.all_seen_before
