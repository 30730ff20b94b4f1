"""The reports of a container runtime to an NRI plugin, and the answer when it is about to create a container.

Theory
------
* A runtime calls its plugins one after the other, under one lock, while a pod waits. The code here is quick and raises
  for nothing that a runtime sends.
* An answer has the values of a rule or an annotation (`RuleValues`) in the form that the runtime can apply: in range,
  not below the least value the runtime may write, without values that are set already, with the group as the cgroup
  driver names it.
* *Two plugins that set one field of a container fail its creation*, and the runtime reports it to neither plugin; nor
  does it if it may not write the value it was given. So an answer is remembered until the container starts. A container
  that did not start is created without our values the next time, and if it starts then, as long as the pod exists
  (`RetryGuard`). The engine sets the values that are left out here when the program runs.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct, field

_NONE: Mapping[str, str] = MappingProxyType({})

LOWEST, HIGHEST = -1000, 1000
#: The annotation of a container that was created with our values, for people: the values and the rule.
ANNOTATION = "holdfast.dev/at-creation"
#: Files of a v2 group that a runtime writes only if they are given by name, and a new group's values in them
#: (the kernel's Documentation/admin-guide/cgroup-v2.rst).
NEW_GROUP = MappingProxyType(
    {"memory.oom.group": "0", "memory.min": "0", "memory.low": "0", "memory.high": "max", "cpu.idle": "0"}
)
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


class Sandbox(Struct, frozen=True):
    """A pod as a runtime knows it. ``cgroup_parent`` is the kubelet's name for the pod's group."""

    id: str
    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=lambda: _NONE)
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)
    cgroup_parent: str = ""


class NriContainerState(enum.Enum):
    """The state of a container."""

    UNKNOWN = 0
    CREATED = 1
    PAUSED = 2
    RUNNING = 3
    STOPPED = 4


class RuntimeContainer(Struct, frozen=True):
    """A container as a runtime knows it. ``oom_score_adj``: the value that its first process has or will have.

    ``asked``: the value the kubelet asked for, where the container was given another one. ``unified`` are files of its
    v2 group as the request to the runtime has them.
    """

    id: str
    sandbox_id: str
    name: str
    state: NriContainerState = NriContainerState.UNKNOWN
    pid: int = 0
    oom_score_adj: int | None = None
    asked: int | None = None
    cgroups_path: str = ""
    unified: Mapping[str, str] = field(default_factory=lambda: _NONE)


class PodFeed(Protocol):
    """Receives the pods and containers that exist (the directory of pods)."""

    def pod(self, pod: Sandbox) -> None:
        """Add or update a pod."""

    def container(self, container: RuntimeContainer) -> None:
        """Add or update a container; it may have stopped."""

    def pod_gone(self, sandbox_id: str) -> None:
        """Remove a pod."""

    def container_gone(self, container_id: str) -> None:
        """Remove a container."""

    def everything(self, pods: Iterable[Sandbox], containers: Iterable[RuntimeContainer]) -> None:
        """Take in all pods and containers that exist; remove all others."""


class RuleValues(Struct, frozen=True):
    """The values for a container's creation, and the rule they are from. ``group`` is the cgroup that is to hold it."""

    rule: str
    oom_score_adj: int | None = None
    group: str = ""
    unified: Mapping[str, str] = field(default_factory=lambda: _NONE)
    dry_run: bool = False


class RuleValuesSource(Protocol):
    """Gives the values that a container should be created with."""

    async def at_creation(self, pod: Sandbox, container: RuntimeContainer) -> RuleValues | None:
        """Return the values, or None if there are none; may raise any error."""


class Adjustment(Struct, frozen=True):
    """The answer to a runtime; empty: no change. ``unified`` are files of the container's v2 group."""

    oom_score_adj: int | None = None
    cgroups_path: str = ""
    unified: Mapping[str, str] = field(default_factory=lambda: _NONE)
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)

    def __bool__(self) -> bool:
        return self.oom_score_adj is not None or bool(self.cgroups_path or self.unified)


def adjustment_of(values: RuleValues, container: RuntimeContainer, lowest: int = LOWEST) -> Adjustment:
    """Return values in the form the runtime can apply; ``lowest``: the least oom_score_adj the runtime may write."""
    adj = values.oom_score_adj
    if adj is not None:
        adj = max(LOWEST, min(HIGHEST, adj))
        if adj == container.oom_score_adj or adj < lowest:
            adj = None
    unified = {file: value for file, value in values.unified.items() if before_us(file, container) is not None}
    made = Adjustment(adj, cgroups_path_in(values.group, container), unified)
    if not made:
        return made
    words = [f"rule={values.rule}"]
    if adj is not None:
        before = "unset" if container.oom_score_adj is None else container.oom_score_adj
        words.append(f"oom_score_adj={adj} asked={before}")
    if made.cgroups_path:
        words.append(f"cgroup={made.cgroups_path}")
    words += [f"{file}={value}" for file, value in unified.items()]
    return Adjustment(adj, made.cgroups_path, unified, {ANNOTATION: " ".join(words)})


def before_us(file: str, container: RuntimeContainer) -> str | None:
    """Return the value of a file of the container's group without us; None: unknown, so it could not be restored.

    The engine reads such a file when the program runs, and then writes it. NRI before 0.12 does not report the
    requested files: there only a new group's values are known.
    """
    return container.unified.get(file, NEW_GROUP.get(file))


def cgroups_path_in(group: str, container: RuntimeContainer) -> str:
    """Return the path of a container's own group below ``group``; empty if it is to stay, or has no such path.

    The container has its own group, because a runtime removes a container's group with the container and may end all
    processes in it. The systemd driver names slices, which a rule's cgroup is not: there the engine makes the move.
    """
    if not group or not container.cgroups_path.startswith("/"):
        return ""
    return f"{group}/{container.id}"


class SyncBuffer:
    """The parts of one synchronisation, up to `MOST` pods and containers."""

    def __init__(self) -> None:
        self.pods: list[Sandbox] = []
        self.containers: list[RuntimeContainer] = []
        self.left_out = 0

    def add(self, pods: Iterable[Sandbox], containers: Iterable[RuntimeContainer]) -> None:
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
