"""The API's messages in words for people: the same ones in the commands and on the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.api.placement.v1 import placement_pb2 as pb

STATES = ("held", "moving", "planned", "partly", "refused")  # of a process under a rule
BY_HAND = "hold"  # in place of a rule's name while a process is overridden by hand


def change_lines(changes: Iterable[pb.Change]) -> list[str]:
    """The changes to be written, one line each; on v1 the same move in several hierarchies is one line.

    ``oom_score_adj 0 → -900`` · ``cgroup / → /db (cpu, memory)`` · ``/db memory.max = 1048576 (was max)``
    """
    from holdfast.api.placement.v1 import placement_pb2 as pb

    lines: dict[str, list[str]] = {}
    for change in changes:
        if change.field == pb.FIELD_OOM_SCORE_ADJ:
            line = f"oom_score_adj {change.before} → {change.after}"
        elif change.field == pb.FIELD_CGROUP:
            line = f"cgroup {change.before} → {change.after}"
            line += f", leaving {change.lost}" if change.lost else ""
        else:
            was = f" (was {change.before})" if change.HasField("before") else ""
            line = f"{change.group} {change.file} = {change.after}{was}"
        named = lines.setdefault(line, [])
        if change.field == pb.FIELD_CGROUP and change.hierarchy:
            named.append(change.hierarchy)
    return [f"{line} ({', '.join(named)})" if named else line for line, named in lines.items()]


def size(pages: int, page_bytes: int) -> str:
    """Pages as ``12.3 MiB``."""
    mib = pages * page_bytes / 1048576
    return f"{mib / 1024:.1f} GiB" if abs(mib) >= 10240 else f"{mib:.1f} MiB"


def remark(placement: pb.PlacementInfo) -> str:
    """How a process came to its rule, if not by its own match or if by a claim."""
    child = "inherited" if placement.inherited else "child" if placement.as_child else ""
    words = ", ".join(filter(None, (child, "by claim" if placement.by_claim else "")))
    return f" ({words})" if words else ""


def pod_name(pod: pb.Pod) -> str:
    """``namespace/pod/container``; the uid of a pod that no runtime has reported."""
    if not pod.name:
        return pod.uid
    return "/".join(filter(None, (pod.namespace, pod.name, pod.container)))


def pod_of(candidate: pb.Candidate) -> str:
    """``namespace/pod/container``; empty outside of pods."""
    return pod_name(candidate.pod) if candidate.HasField("pod") else ""


def _called(candidate: pb.Candidate) -> str:
    """``postgres (123) db/pg-0/postgres``."""
    return " ".join(filter(None, (f"{candidate.comm} ({candidate.pid})", pod_of(candidate))))


def next_in_line(order: pb.Order) -> str:
    """The process that the OOM killer would choose next, in a few words."""
    able = [one for one in order.candidates if one.HasField("points")]
    if not able:
        return "no process"
    others = f" or {order.tied - 1} other(s): a tie" if order.tie else ""
    group = f" + {len(order.killed_with_it)} of its group" if order.kill_group else ""
    return f"{_called(able[0])}{others}{group}"


def verdict(order: pb.Order, answer: pb.VictimsResponse) -> str:
    """The process that the OOM killer would choose next, and how certain that is."""
    page, unsure = answer.page_bytes, size(answer.uncertainty_pages, answer.page_bytes)
    able = [one for one in order.candidates if one.HasField("points")]
    if not able:
        return "no process can be chosen: the kernel panics, or waits for memory (vm.panic_on_oom)"
    words = _called(able[0])
    if order.tie:
        words = f"a tie of {order.tied}: any of them may be chosen, the kernel's counters are off by up to {unsure}"
    elif order.HasField("margin_pages"):
        words += f", {size(order.margin_pages, page)} ahead (counters may be off by {unsure})"
    if order.kill_group:
        words += f"; and with it all {len(order.killed_with_it)} of {order.kill_group} (memory.oom.group)"
        words += f" but {len(order.spared)} with -1000" if order.spared else ""
    return words


def pod_of_kill(kill: pb.Kill) -> str:
    """``namespace/pod/container``; the uid if no runtime had reported the pod; empty outside of pods."""
    named = "/".join(filter(None, (kill.pod_namespace, kill.pod_name, kill.container)))
    return named if kill.pod_name else kill.pod


def domain_of(kill: pb.Kill) -> str:
    """The memory that ran out."""
    return "the node" if kill.domain == "/" else kill.domain or "a memory cgroup"


def mode_of(rule: pb.RuleInfo) -> str:
    """Whether a rule writes: ``on``, ``dry run`` or ``suspended``."""
    return "suspended" if rule.suspended else "dry run" if rule.dry_run else "on"


def refusals_of(placements: Iterable[pb.PlacementInfo]) -> list[tuple[int, str, str]]:
    """The refusals of many processes as groups: for how many, the reason's word, and the line with the remedy.

    The largest group comes first.
    """
    groups = Counter((refusal.reason, refusal.detail) for some in placements for refusal in some.refusals)
    return [(number, reason, detail) for (reason, detail), number in groups.most_common()]


def feed_of(status: pb.StatusResponse) -> str:
    """Whether process events arrive, and why not if they do not."""
    return f"only rescans: {status.events}" if status.events else "process events arrive"


def rescan_of(status: pb.StatusResponse) -> str:
    """The last rescan."""
    return f"{status.last_sweep_processes} processes in {status.last_sweep.ToNanoseconds() / 1e6:.0f} ms"
