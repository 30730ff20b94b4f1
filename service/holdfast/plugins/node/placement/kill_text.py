"""The text of a Kubernetes Event about an OOM kill: facts, in one line that every reader of the pod may see.

The names of processes are their authors' choice: they are escaped and cut. A process of another pod is not named: a
reader of this pod's Events need not know what else runs on the node.
"""

from __future__ import annotations

from holdfast.inert import inert
from holdfast.node.model.memory_domain import Kill, RankedProcess
from holdfast.node.model.placement import BY_HAND, State
from holdfast.pods import cgroup_path

REASON = "OOMKilled"
MOST_BYTES = 1024  # the API server takes no more
_LONGEST_NAME = 64
_LONGEST_PATH = 200  # of a cgroup; its end says more than its beginning
_STATES = {
    State.INHERITED: " (inherited from the process that started it)",
    State.PLANNED: " (dry run: nothing was changed)",
    State.REFUSED: " (refused)",
    State.PARTLY: " (in part, the rest is refused)",
    State.RETURNING: " (no longer in force)",
}


def text_of(kill: Kill, page_bytes: int) -> str:
    """Return the process, its memory use, the full memory domain, the next process in line, and the rule."""
    words = [f"{_who(kill)} was OOM-killed: {_why(kill, page_bytes)}."]
    following = next((one for one in kill.predicted if one.pid != kill.pid), None)
    if following is not None:
        words.append(f"Next in line: {_next(following, kill)}.")
    if kill.pid:
        words.append(f"{_rule(kill)}; oom_score_adj {kill.oom_score_adj}.")
    return " ".join(words).encode()[:MOST_BYTES].decode(errors="ignore")


def _who(kill: Kill) -> str:
    where = f" in container {_name(kill.container)}" if kill.container else ""
    if not kill.pid:
        return f"A process{where}"
    first = {True: ", the container's first process", False: ", not the container's first process", None: ""}[kill.main]
    return f"Process {_name(kill.comm)} (pid {kill.pid}{first}){where}"


def _why(kill: Kill, page_bytes: int) -> str:
    limit = f" of {_size(kill.limit_pages * page_bytes)}" if kill.limit_pages else ""
    full = f"{_domain(kill, limit)} was full"
    if not kill.pid:  # counted by the cgroup
        return f"{full} (which process it was is not known without the kernel log)"
    return f"it used {_size(kill.rss_pages * page_bytes)} of memory (RSS), and {full}"


def _domain(kill: Kill, limit: str) -> str:
    """Return the name of the memory domain; within the pod, in the words of the pod's specification."""
    if kill.domain == "/":
        return "the node's memory"
    if not kill.domain:
        return "a memory limit that the kernel did not name"
    named = cgroup_path.pod_of_path(kill.domain)
    path = _path(kill.domain)
    if _is_within_pod(kill):
        if named is not None and not named.container_id:
            return f"the pod's memory limit{limit} (cgroup {path})"
        own = named or cgroup_path.container_of_path(kill.domain)
        if own is not None and own.group == kill.domain:
            return f"the container's memory limit{limit} (cgroup {path})"
    return f"the memory limit{limit} of cgroup {path}"


def _is_within_pod(kill: Kill) -> bool:
    """Whether every process that could be killed there is of the pod."""
    named = cgroup_path.pod_of_path(kill.domain)
    if named is not None:
        return named.uid == kill.pod
    container = cgroup_path.container_of_path(kill.domain)
    return container is not None and container.container_id == kill.container_id != ""


def _next(standing: RankedProcess, kill: Kill) -> str:
    if standing.in_pod or _is_within_pod(kill):
        return f"{_name(standing.comm)} (pid {standing.pid})"
    if standing.in_pod is None:
        return "a process that ended as well"
    return "a process outside this pod"


def _rule(kill: Kill) -> str:
    if kill.rule is None:
        return "No rule" if kill.rule_known else "No rule known (it ended before the daemon examined it)"
    if kill.rule == BY_HAND:
        return "Override"
    return f"Rule: {_name(kill.rule)}{_STATES.get(State(kill.rule_state), '') if kill.rule_state else ''}"


def _name(text: str) -> str:
    shown = inert(text)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[: _LONGEST_NAME - 1]}…"


def _path(path: str) -> str:
    shown = inert(path)
    return shown if len(shown) <= _LONGEST_PATH else f"…{shown[1 - _LONGEST_PATH :]}"


def _size(size: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.1f} {unit}"
    return f"{size >> 10} KiB"
