"""What a container runtime tells an NRI plugin, and what it is answered when it is about to create a container.

Theory
------
* A runtime asks its plugins one after the other, under one lock, while a pod waits. What is told here is quick and
  never raises because of what a runtime says.
* An answer is a wish (`Wish`: whoever knows rules and annotations has it) made fit for a runtime: in range, not
  below what the runtime may write, nothing that is so already, the group in the words of the cgroup driver.
* *Two plugins that set one field of a container fail its creation*, and nobody tells the plugins; neither does a
  runtime that may not write what it was given. So we remember what we answered until the container starts. One that
  did not start is created without us the next time, and if it starts then, for as long as there is the pod
  (`Caution`). What is left out here the engine does when the program runs.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct, field

_NONE: Mapping[str, str] = MappingProxyType({})

LOWEST, HIGHEST = -1000, 1000
#: On a container that was created with values of ours, for whoever inspects it: what, and by which rule.
ANNOTATION = "holdfast.dev/at-creation"
#: Files of a v2 group that a runtime writes only if it is told to by their names, and what a new group has in them
#: (the kernel's Documentation/admin-guide/cgroup-v2.rst).
NEW_GROUP = MappingProxyType(
    {"memory.oom.group": "0", "memory.min": "0", "memory.low": "0", "memory.high": "max", "cpu.idle": "0"}
)
MOST = 16_384  # pods and containers of one synchronisation; a kubelet's own default is 110 pods
MOST_WATCHED = 4096  # containers between creation and start, and pods' containers that are left alone


class Event(enum.IntEnum):
    """NRI's events, by their numbers."""

    RUN_POD = 1
    STOP_POD = 2
    REMOVE_POD = 3
    CREATE = 4
    POST_START = 7
    STOP = 10
    REMOVE = 11


#: Every NRI since 0.2 knows these; one bit that a runtime does not know makes it refuse the plugin.
EVENT_MASK = sum(1 << (event - 1) for event in Event)


class Sandbox(Struct, frozen=True):
    """A pod as a runtime knows it. ``cgroup_parent`` is the kubelet's word for the pod's group."""

    id: str
    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=lambda: _NONE)
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)
    cgroup_parent: str = ""


class Life(enum.Enum):
    """How far a container is."""

    UNKNOWN = 0
    CREATED = 1
    PAUSED = 2
    RUNNING = 3
    STOPPED = 4


class Container(Struct, frozen=True):
    """A container as a runtime knows it. ``oom_score_adj``: what its first process has or will have.

    ``asked``: what the kubelet wanted it to be, where somebody else gave it another value. ``unified`` are files of its
    v2 group as the runtime is asked to write them.
    """

    id: str
    sandbox_id: str
    name: str
    life: Life = Life.UNKNOWN
    pid: int = 0
    oom_score_adj: int | None = None
    asked: int | None = None
    cgroups_path: str = ""
    unified: Mapping[str, str] = field(default_factory=lambda: _NONE)


class Feed(Protocol):
    """Who wants to know what there is (the directory of pods)."""

    def pod(self, pod: Sandbox) -> None:
        """A pod that is."""

    def container(self, container: Container) -> None:
        """A container that is, or that stopped."""

    def pod_gone(self, sandbox_id: str) -> None:
        """A pod that is no more."""

    def container_gone(self, container_id: str) -> None:
        """A container that is no more."""

    def everything(self, pods: Iterable[Sandbox], containers: Iterable[Container]) -> None:
        """These are all there are."""


class Wish(Struct, frozen=True):
    """What a container should be created with, and by which rule. ``group`` is the cgroup that is to hold it."""

    rule: str
    oom_score_adj: int | None = None
    group: str = ""
    unified: Mapping[str, str] = field(default_factory=lambda: _NONE)
    dry_run: bool = False


class Wishes(Protocol):
    """Who knows what a container should be created with."""

    async def at_creation(self, pod: Sandbox, container: Container) -> Wish | None:
        """The wish, or None where there is none; may raise anything."""


class Adjustment(Struct, frozen=True):
    """What a runtime is told; empty: nothing. ``unified`` are files of the container's v2 group."""

    oom_score_adj: int | None = None
    cgroups_path: str = ""
    unified: Mapping[str, str] = field(default_factory=lambda: _NONE)
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)

    def __bool__(self) -> bool:
        return self.oom_score_adj is not None or bool(self.cgroups_path or self.unified)


def adjustment_of(wish: Wish, container: Container, lowest: int = LOWEST) -> Adjustment:
    """A wish as this container's runtime can have it; ``lowest``: the least oom_score_adj it may write."""
    adj = wish.oom_score_adj
    if adj is not None:
        adj = max(LOWEST, min(HIGHEST, adj))
        if adj == container.oom_score_adj or adj < lowest:
            adj = None
    unified = {file: value for file, value in wish.unified.items() if before_us(file, container) is not None}
    made = Adjustment(adj, cgroups_path_in(wish.group, container), unified)
    if not made:
        return made
    words = [f"rule={wish.rule}"]
    if adj is not None:
        before = "unset" if container.oom_score_adj is None else container.oom_score_adj
        words.append(f"oom_score_adj={adj} asked={before}")
    if made.cgroups_path:
        words.append(f"cgroup={made.cgroups_path}")
    words += [f"{file}={value}" for file, value in unified.items()]
    return Adjustment(adj, made.cgroups_path, unified, {ANNOTATION: " ".join(words)})


def before_us(file: str, container: Container) -> str | None:
    """What a file of the container's group would say without us; None: not known, so it could not be given back.

    The engine reads such a file when the program runs, and then writes it. NRI before 0.12 tells nothing of the files
    that were asked for: there a new group's values are all that can be known.
    """
    return container.unified.get(file, NEW_GROUP.get(file))


def cgroups_path_in(group: str, container: Container) -> str:
    """The path of a container's own group below ``group``; empty where it is to stay, or cannot be said.

    A group of its own, because a runtime removes a container's group with the container and may end all that is in
    it. The systemd driver names slices, which a cgroup of a rule is not: there the engine moves it.
    """
    if not group or not container.cgroups_path.startswith("/"):
        return ""
    return f"{group}/{container.id}"


class Gathering:
    """The parts of one synchronisation, as far as there is room for them."""

    def __init__(self) -> None:
        self.pods: list[Sandbox] = []
        self.containers: list[Container] = []
        self.left_out = 0

    def add(self, pods: Iterable[Sandbox], containers: Iterable[Container]) -> None:
        """One more part."""
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


Key = tuple[str, str]  # the pod's uid, the container's name: what a next attempt has in common with the last


class Caution:
    """Whether a container may be given values, as far as earlier attempts to create it tell."""

    def __init__(self) -> None:
        self._trials: dict[Key, _Trial] = {}

    def allows(self, key: Key) -> bool:
        """Ask when there is something to give; what is allowed counts as given."""
        last = self._trials.get(key)
        if last in (None, _Trial.WITHOUT):  # nothing known, or it failed without us as well
            self._put(key, _Trial.ADJUSTED)
            return True
        if last is _Trial.ADJUSTED:
            self._put(key, _Trial.WITHOUT)
        return False

    def started(self, key: Key) -> bool:
        """It runs. True: only without us; it is left alone from now on."""
        last = self._trials.get(key)
        if last is _Trial.ADJUSTED:
            del self._trials[key]
        elif last is _Trial.WITHOUT:
            self._put(key, _Trial.LEFT_ALONE)
            return True
        return False

    def begin_anew(self, uids: Collection[str]) -> None:
        """The runtime was away, so who did not start proves nothing; pods other than ``uids`` are no more."""
        self._trials = {
            key: trial for key, trial in self._trials.items() if trial is _Trial.LEFT_ALONE and key[0] in uids
        }

    def forget(self, uid: str) -> None:
        """The pod is no more."""
        for key in [key for key in self._trials if key[0] == uid]:
            del self._trials[key]

    def _put(self, key: Key, trial: _Trial) -> None:
        self._trials.pop(key, None)
        if len(self._trials) >= MOST_WATCHED:
            del self._trials[next(iter(self._trials))]
        self._trials[key] = trial
