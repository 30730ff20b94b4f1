"""The events of NRI, a synchronisation, and which containers may be given values. Without I/O.

Theory
------
* A runtime calls its plugins one after the other, under one lock, while a pod waits. The code here is quick and raises
  for nothing that a runtime sends.
* *Two plugins that set one field of a container fail its creation*, and the runtime reports it to neither plugin; nor
  does it if it may not write the value it was given. So an answer is remembered until the container starts. A container
  that did not start is created without our values the next time, and if it starts then, as long as the pod exists
  (`RetryGuard`). The engine sets the values that are left out here when the program runs.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable

from holdfast.pods.record import ContainerRecord, PodRecord

MOST = 16_384  # pods and containers of one synchronisation; a kubelet's own default is 110 pods
MOST_WATCHED = 4096  # containers between creation and start, and pods' containers that are left alone


class NriEvent(enum.IntEnum):
    """The NRI events, by their numbers."""

    RUN_POD = 1
    STOP_POD = 2
    REMOVE_POD = 3
    CREATE = 4
    POST_START = 7
    STOP = 10
    REMOVE = 11


#: Every NRI since 0.2 knows these; one bit that a runtime does not know makes it refuse the plugin.
EVENT_MASK = sum(1 << (event - 1) for event in NriEvent)


class SyncBuffer:
    """The parts of one synchronisation, up to `MOST` pods and containers."""

    def __init__(self) -> None:
        self.pods: list[PodRecord] = []
        self.containers: list[ContainerRecord] = []
        self.left_out = 0

    def add(self, pods: Iterable[PodRecord], containers: Iterable[ContainerRecord]) -> None:
        """Add one more part."""
        for pod in pods:
            if self._has_room():
                self.pods.append(pod)
        for container in containers:
            if self._has_room():
                self.containers.append(container)

    def _has_room(self) -> bool:
        room = len(self.pods) + len(self.containers) < MOST
        self.left_out += not room
        return room


class _Trial(enum.Enum):
    ADJUSTED = "adjusted"  # it was created with values of ours, and has not started yet
    WITHOUT = "without"  # the one before did not start; this one was created without us
    LEFT_ALONE = "left alone"  # it started without us, and had not with us


Key = tuple[str, str]  # the pod's uid, the container's name: the next attempt has them in common with the last


class RetryGuard:
    """Decides whether a container may be given values, by the results of earlier attempts to create it."""

    def __init__(self) -> None:
        self._trials: dict[Key, _Trial] = {}

    def allows(self, key: Key) -> bool:
        """Whether the container may be given values; call it only with values to give: allowed ones count as given."""
        last = self._trials.get(key)
        if last in (None, _Trial.WITHOUT):  # nothing known, or it failed without us as well
            self._put(key, _Trial.ADJUSTED)
            return True
        if last is _Trial.ADJUSTED:
            self._put(key, _Trial.WITHOUT)
        return False

    def started(self, key: Key) -> bool:
        """Record that the container runs. True: it started only without our values, and gets none from now on."""
        last = self._trials.get(key)
        if last is _Trial.ADJUSTED:
            del self._trials[key]
        elif last is _Trial.WITHOUT:
            self._put(key, _Trial.LEFT_ALONE)
            return True
        return False

    def begin_anew(self, uids: Collection[str]) -> None:
        """Forget attempts without a start, which prove nothing after the runtime was away, and pods not in ``uids``."""
        self._trials = {
            key: trial for key, trial in self._trials.items() if trial is _Trial.LEFT_ALONE and key[0] in uids
        }

    def forget(self, uid: str) -> None:
        """Forget a pod that is gone."""
        for key in [key for key in self._trials if key[0] == uid]:
            del self._trials[key]

    def _put(self, key: Key, trial: _Trial) -> None:
        self._trials.pop(key, None)
        if len(self._trials) >= MOST_WATCHED:
            del self._trials[next(iter(self._trials))]
        self._trials[key] = trial
