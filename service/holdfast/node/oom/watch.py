"""Find OOM kills by kernel log lines, or by counters that went up; attribute and record them, to be reported."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from holdfast import log
from holdfast.cgroups import UNIFIED, Hierarchy, Tree
from holdfast.errors import KernelRefused, ProcessGone, Unavailable
from holdfast.node.model.memory_domain import Kill, RankedProcess
from holdfast.node.model.placement import Placement, State
from holdfast.node.model.process import HostFacts, PodFacts, PodLookup
from holdfast.node.oom.kmsg import KernelLog, KillParser
from holdfast.node.oom.store import Kills
from holdfast.node.proc.host import memory_tree
from holdfast.node.proc.pressure import Pressure
from holdfast.node.proc.reader import PLACE, ProcReader

LOG = log.named(__name__)
_HISTORY_S = 1.0  # after the start: the log is up to 3,000 records of the past, and 10 ms of the interpreter
_FIRST_COUNTED = 1 << 62  # numbers of kills without a kernel log line


class Attribution(Struct, frozen=True):
    """The engine's data about a process that was killed.

    ``placement`` is its placement, None where no rule is known for it. ``inherited`` is the rule whose value, or group,
    it got from the process that forked it. ``known`` False: the engine never read the process before its end.
    """

    placement: Placement | None = None
    inherited: str | None = None
    known: bool = True


class KillContext(Struct, frozen=True):
    """The engine's data at the moment of a kill: the rule of the process, the known pods, the pressure.

    ``attribution`` takes the kill as far as the kernel log gives it, and the pod of its group. ``innermost_limit``
    gives the nearest group with a limit at or above a group: most likely the domain where the kernel named none.
    ``kubelet_root``: the kubelet's own root group, below which only root makes groups of pods; empty: none was found.
    """

    attribution: Callable[[Kill, PodFacts | None], Attribution]
    placement: Callable[[int], Placement | None]
    innermost_limit: Callable[[str], str]
    kubelet_root: Callable[[], str]
    pressure: Callable[[], Sequence[Pressure]]
    reader: ProcReader
    pods: PodLookup | None


class KillWatch:
    """Watches the kernel log; without it the counters of memory cgroups, which name no process.

    ``due`` (monotonic) is the time from which the log is polled; inf once it is, or without a log.
    """

    def __init__(self, kmsg: str, hierarchy: Hierarchy, host: HostFacts, kills: Kills) -> None:
        self._kmsg, self._hierarchy, self._kills = kmsg, hierarchy, kills
        self._parser = KillParser(host)
        self._log: KernelLog | None = None
        self.due = inf
        self._counts: dict[str, int] | None = None
        self._counted = 0

    def open(self) -> None:
        """Open the log after the last record read before. Without access, log that and use the counters."""
        try:
            self._log = KernelLog(self._kmsg, self._last_number())
            self.due = time.monotonic() + _HISTORY_S
        except Unavailable as error:
            LOG.warning("OOM kills are counted without the kernel log", error=error.message)
            self._counts = dict(self._read_counts())

    def _last_number(self) -> int:
        try:
            return self._kills.last_number()
        except Unavailable as error:
            LOG.warning("the kernel log is read from its beginning", error=error.message)
            return -1

    def fileno(self) -> int:
        """The descriptor for poll; -1 without the log, or before `due`."""
        if self._log is None:
            return -1
        if self.due < inf:
            if time.monotonic() < self.due:
                return -1
            self.due = inf
        return self._log.fileno()

    def read(self, kill_context: KillContext) -> list[Kill]:
        """Return new kills in the kernel log, after recording them."""
        if self._log is None:
            return []
        found, last = [], -1
        for line in self._log.read():
            last = line.number
            kill = self._parser.feed(line.text, line.at_ns)
            if kill is not None:
                kill = attributed(replace(kill, number=line.number), kill_context)
                if self._is_new(kill):
                    found.append(kill)
        if last >= 0:
            with contextlib.suppress(Unavailable):  # then they are read again after a restart
                self._kills.read_to(last)
        return found

    def is_past(self, kill: Kill) -> bool:
        """Whether a kill that `read` or `count` returned happened before the log was opened: it is no news."""
        return self._log is not None and self._log.is_past(kill.number)

    def count(self, kill_context: KillContext) -> list[Kill]:
        """Return new kills by the counters, after recording them; for a rescan. None while the kernel log is open."""
        if self._counts is None:
            return []
        found = []
        for path, counted in self._read_counts():
            for _ in range(counted - self._counts.get(path, 0)):
                self._counted += 1
                number = _FIRST_COUNTED + time.time_ns() % _FIRST_COUNTED + self._counted
                kill = attributed(Kill(time.time_ns(), 0, "", 0, "", path, 0, 0, number=number), kill_context)
                if self._is_new(kill):
                    found.append(kill)
            self._counts[path] = counted
        return found

    def _is_new(self, kill: Kill) -> bool:
        """Record a kill; False for a known one. On an error (a full disk) log it, and report the kill all the same."""
        try:
            return self._kills.add(kill.number, kill)
        except Unavailable as error:
            LOG.warning("an OOM kill is not recorded", pid=kill.pid, comm=kill.comm, error=error.message)
            return True

    def _read_counts(self) -> Iterator[tuple[str, int]]:
        tree = memory_tree(self._hierarchy)
        if tree is not None:
            for path in ("/", *self._hierarchy.below(tree, "/")):
                yield from _count_of(tree, path)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
            self._log = None


def _count_of(tree: Tree, path: str) -> Iterator[tuple[str, int]]:
    # oom_kill 1
    name = "memory.events.local" if tree.name == UNIFIED else "memory.oom_control"
    with contextlib.suppress(KernelRefused):  # the root of v2 has no such file; a group may just have gone
        yield path, _counted(tree.read(path, name))


def _counted(text: str) -> int:
    """The kills in the file of a group; 0 where the kernel does not count them."""
    found = (line.removeprefix("oom_kill ") for line in text.split("\n") if line.startswith("oom_kill "))
    number = next(found, "0")
    return int(number) if number.isdecimal() and number.isascii() else 0


def attributed(kill: Kill, kill_context: KillContext) -> Kill:
    """The kill with its rule, cgroup, pod and the pressure before it, as far as they are known."""
    placement = kill_context.placement(kill.pid) if kill.pid else None
    group = kill.group or (placement.group if placement else "") or _present_group(kill.pid, kill_context.reader)
    domain = kill.domain or (kill_context.innermost_limit(group) if group else "")
    kill = replace(kill, domain=domain, group=group)
    pod = kill_context.pods.pod_of({"memory": group}) if kill_context.pods is not None and group else None
    known = kill_context.attribution(kill, pod) if kill.pid else Attribution(known=False)
    waiting = next((p.avg10_pct for p in kill_context.pressure() if p.resource == "memory" and not p.full), None)
    return replace(
        kill,
        rule=known.placement.rule if known.placement else known.inherited,
        rule_known=known.known,
        rule_state=_state(known),
        protected=known.placement is not None and known.placement.protected,
        main=pod.main[0] == kill.pid if pod is not None and pod.main is not None and kill.pid else None,
        predicted=_beside(kill, pod, kill_context),
        pod=pod.uid if pod else "",
        container_id=pod.container_id if pod else "",
        pod_namespace=pod.namespace if pod else "",
        pod_name=pod.name if pod else "",
        container=pod.container if pod else "",
        pod_confirmed=pod is not None and (pod.group_confirmed or _is_kubelets(group, pod, kill_context)),
        pressure_pct=waiting,
    )


def _is_kubelets(group: str, pod: PodFacts, kill_context: KillContext) -> bool:
    """Whether ``group`` is the pod's by its place.

    The outermost group of a pod below the kubelet's own, where only root makes groups of pods, is this pod's.
    """
    path = kill_context.kubelet_root()
    if not path or not group.startswith(f"{path}/") or kill_context.pods is None:
        return False
    for part in group.removeprefix(f"{path}/").split("/"):
        path = f"{path}/{part}"
        outermost = kill_context.pods.pod_of({"memory": path})
        if outermost is not None:
            return outermost.uid == pod.uid
    return False


def _state(known: Attribution) -> str:
    if known.placement is not None:
        return known.placement.state.value
    return State.INHERITED.value if known.inherited is not None else ""


def _beside(kill: Kill, pod: PodFacts | None, kill_context: KillContext) -> tuple[RankedProcess, ...]:
    """The ranking, with whether each process is in the pod of the one that was killed."""
    if pod is None:
        return kill.predicted
    return tuple(replace(one, in_pod=one.pid == kill.pid or _is_in(one, pod, kill_context)) for one in kill.predicted)


def _is_in(standing: RankedProcess, pod: PodFacts, kill_context: KillContext) -> bool | None:
    reader = kill_context.reader
    try:
        stat_line = reader.stat_line(standing.pid)
        if stat_line.ended or stat_line.comm != standing.comm:
            return None
        other = (
            kill_context.pods.pod_of({"memory": reader.facts(stat_line, PLACE).memory_group})
            if kill_context.pods
            else None
        )
    except (ProcessGone, KernelRefused):
        return None
    return other is not None and other.uid == pod.uid


def _present_group(pid: int, reader: ProcReader) -> str:
    """The memory group of a process that is being killed; the log gives it only with a table.

    An exiting process has already left its v1 group for the root: the process that forked it is in the same group, if
    it was not moved since. Empty where neither gives it.
    """
    if not pid:  # a kill by the counters
        return ""
    try:
        stat_line = reader.stat_line(pid)
        group = reader.facts(stat_line, PLACE).memory_group
        if group != "/" or not (stat_line.ended or not stat_line.rss_pages):
            return group
        parent = reader.facts(reader.stat_line(stat_line.ppid), PLACE).memory_group
    except (ProcessGone, KernelRefused):
        return ""
    return parent if parent != "/" else ""
