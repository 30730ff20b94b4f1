"""OOM kills in pods on their way to Events: each is handed on once its pod's name is known. On the loop's thread.

A kill may be reported before the container runtime reports its pod: if the container just started, or at the start of
the daemon. Such a kill waits until the directory knows the pod, `WAITS_S` at most.

A pod's name is used only if the container runtime names this very group for the container, or if only root can make
the group (`Kill.pod_confirmed`): otherwise a user that may make cgroups could cause Events on another user's pod. If
too many kills wait, a kill in a group that only looks like a pod's is dropped before one in a group that only root
makes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from holdfast.metrics import Counter
from holdfast.node.model.memory_domain import Kill
from holdfast.pods import cgroup_path
from holdfast.pods.directory import Directory

WAITS_S = 30.0
MOST_WAITING = 256
PAST_S = 600.0  # how old a kill may be that was in no Event before the daemon ended


class KillEvents:
    """Hands kills to ``record``; ``unknown`` counts those whose pod was not known in time."""

    def __init__(self, directory: Directory, record: Callable[[Kill], None]) -> None:
        self.unknown = Counter(
            "holdfast_placement_kubernetes_events_unknown_total",
            "OOM kills in pods without an Event: no container runtime named the pod in time.",
        )
        self._directory, self._record = directory, record
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, Kill]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def following(self, untold: Iterable[Kill]) -> Iterator[None]:
        """Check waiting kills again whenever pods change; ``untold`` are earlier kills that were in no Event."""
        for kill in untold:
            self.kill(kill)
        ends = [
            self._directory.on_change(self._groups_changed),
            self._directory.on_pod(lambda pod: self._look_again()),
        ]
        try:
            yield
        finally:
            for end in ends:
                end()
            if self._timer is not None:
                self._timer.cancel()

    def kill(self, kill: Kill) -> None:
        """Take in a kill; call it once for each kill."""
        if not _may_be_in_a_pod(kill) or kill.at_ns < time.time_ns() - PAST_S * 1e9 or self._recorded(kill):
            return
        self._waiting.append((self._loop.time() + WAITS_S, kill))
        if len(self._waiting) > MOST_WAITING:
            self._give_up(next((at for at, (_, one) in enumerate(self._waiting) if not one.pod_confirmed), 0))
        self._set_timer()

    def _recorded(self, kill: Kill) -> bool:
        """Hand the kill on if its pod is known; return whether it is."""
        if not (kill.pod_confirmed and kill.pod_name):
            pod = self._directory.pod_of({"memory": kill.group})
            if pod is None or not pod.name or not (pod.group_confirmed or kill.pod_confirmed):
                return False
            kill = replace(
                kill, pod=pod.uid, container_id=pod.container_id, pod_namespace=pod.namespace, pod_name=pod.name,
                container=pod.container,
            )  # fmt: skip
        self._record(kill)
        return True

    def _groups_changed(self, groups: Collection[str]) -> None:
        self._look_again()

    def _look_again(self) -> None:
        if self._waiting:
            self._waiting = deque(one for one in self._waiting if not self._recorded(one[1]))

    def _set_timer(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0], self._expire)

    def _expire(self) -> None:
        self._timer = None
        while self._waiting and self._waiting[0][0] <= self._loop.time():
            self._give_up()
        self._set_timer()

    def _give_up(self, index: int = 0) -> None:
        """Drop a kill that waits; count it only if its group names a pod: else its container may be of another kind."""
        _, kill = self._waiting[index]
        del self._waiting[index]
        self.unknown.labels().value += bool(kill.pod)


def _may_be_in_a_pod(kill: Kill) -> bool:
    return kill.number >= 0 and bool(kill.pod or cgroup_path.container_of_path(kill.group))
