"""From a kernel log line, or a counter that went up, to a kill that is attributed, recorded and reported."""

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
from holdfast.node.model.memory_domain import Kill
from holdfast.node.model.placement import Placement
from holdfast.node.model.process import HostFacts, PodLookup
from holdfast.node.oom.kmsg import KernelLog, KillParser
from holdfast.node.oom.store import Kills
from holdfast.node.proc.host import memory_tree
from holdfast.node.proc.pressure import Pressure
from holdfast.node.proc.reader import PLACE, Reader

LOG = log.named(__name__)
_HISTORY_S = 1.0  # after the start: the log is up to 3,000 records of the past, and 10 ms of the interpreter
_FIRST_COUNTED = 1 << 62  # numbers of kills that no kernel log line stands for


class Witness(Struct, frozen=True):
    """What the engine knows at the moment of a kill: who is under a rule, which pods there are, the pressure before.

    ``innermost_limit``: the nearest group with a limit at or above one; what the kernel did not say is most likely it.
    """

    placement: Callable[[int], Placement | None]
    innermost_limit: Callable[[str], str]
    pressure: Callable[[], Sequence[Pressure]]
    reader: Reader
    pods: PodLookup | None


class KillWatch:
    """Watches the kernel log; without it the counters of memory cgroups, which name no process.

    ``due`` (monotonic) is from when on the log is to be waited for; inf once it is, or if there is none.
    """

    def __init__(self, kmsg: str, hierarchy: Hierarchy, host: HostFacts, kills: Kills) -> None:
        self._kmsg, self._hierarchy, self._kills = kmsg, hierarchy, kills
        self._parser = KillParser(host)
        self._log: KernelLog | None = None
        self.due = inf
        self._counts: dict[str, int] | None = None
        self._counted = 0

    def open(self) -> None:
        """Start after what was recorded before; say it when the log cannot be read."""
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
            LOG.warning("what the kernel log says is read from its beginning", error=error.message)
            return -1

    def fileno(self) -> int:
        """For poll; -1 without the log, or while it is not `due`."""
        if self._log is None:
            return -1
        if self.due < inf:
            if time.monotonic() < self.due:
                return -1
            self.due = inf
        return self._log.fileno()

    def read(self, witness: Witness) -> list[Kill]:
        """New kills in the kernel log, recorded."""
        if self._log is None:
            return []
        found, last = [], -1
        for line in self._log.read():
            last = line.number
            kill = self._parser.feed(line.text, line.at_ns)
            if kill is not None:
                kill = attributed(kill, witness)
                if self._is_new(line.number, kill):
                    found.append(kill)
        if last >= 0:
            with contextlib.suppress(Unavailable):  # then they are read again after a restart
                self._kills.read_to(last)
        return found

    def count(self, witness: Witness) -> list[Kill]:
        """New kills by the counters, recorded; for a sweep. Nothing while the kernel log is there."""
        if self._counts is None:
            return []
        found = []
        for path, number in self._read_counts():
            for _ in range(number - self._counts.get(path, 0)):
                self._counted += 1
                kill = attributed(Kill(time.time_ns(), 0, "", 0, "", path, 0, 0), witness)
                if self._is_new(_FIRST_COUNTED + time.time_ns() % _FIRST_COUNTED + self._counted, kill):
                    found.append(kill)
            self._counts[path] = number
        return found

    def _is_new(self, number: int, kill: Kill) -> bool:
        """Record it. A kill that cannot be, on a full disk, is told all the same, and no reason to end."""
        try:
            return self._kills.add(number, kill)
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
    try:
        words = dict(line.split() for line in tree.read(path, name).splitlines())
        yield path, int(words.get("oom_kill", 0))
    except KernelRefused:  # the root of v2 has no such file; a group may just have gone
        pass


def attributed(kill: Kill, witness: Witness) -> Kill:
    """The kill with its rule, cgroup, pod and the pressure before it, as far as they are known."""
    placement = witness.placement(kill.pid)
    group = kill.group or (placement.group if placement else "") or _present_group(kill.pid, witness.reader)
    domain = kill.domain or (witness.innermost_limit(group) if group else "")
    pod = witness.pods.pod_of({"memory": group}) if witness.pods is not None and group else None
    waiting = next((p.avg10_pct for p in witness.pressure() if p.resource == "memory" and not p.full), None)
    return replace(
        kill,
        domain=domain,
        group=group,
        rule=placement.rule if placement else None,
        pod=pod.uid if pod else "",
        container_id=pod.container_id if pod else "",
        pod_namespace=pod.namespace if pod else "",
        pod_name=pod.name if pod else "",
        container=pod.container if pod else "",
        pressure_pct=waiting,
    )


def _present_group(pid: int, reader: Reader) -> str:
    """Where a process that is being killed still is; the log says it only when it printed its table."""
    try:
        return reader.facts(reader.glance(pid), PLACE).memory_group
    except (ProcessGone, KernelRefused):
        return ""
