"""Who owns this process: from a cgroup's path to the container in it, and from there to its pod.

Theory
------
* The cgroup's name gives uid, QoS class and container id (`cgroup_path`); what a runtime told (`record`) gives the
  rest, but only for the group that the runtime names for the container: a directory of that name elsewhere is
  nobody's. Where a group is not the kubelet's, the runtime's word for it is all there is.
* Asked from the engine's thread, fed from the loop's. Every answer is an immutable value put into a dictionary whole;
  reading takes no lock, changing takes one.
* Whoever asks in vain is remembered: when the answer comes, the cgroups it was asked for are told to the listeners,
  so that nothing waits for a sweep. The first question in vain for a container is told too (`on_miss`): CRI asks the
  runtime for this one at once.
* A container that runs, and whose group the runtime named, is told of as well (`on_start`): where no process events
  arrive, nobody asks about its processes before the next sweep.
* What was told to be gone stays gone for an answer that was asked for before (`mark`): answers may be overtaken.
* Bounded: `MOST` sandboxes and containers; more are not taken in, and `refused` counts them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from time import monotonic
from typing import Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from holdfast.pods import cgroup_path
from holdfast.pods.cgroup_path import PodRef
from holdfast.pods.record import ContainerRecord, PodRecord, State

MOST = 16_384
MOST_ASKED = 4096
MOST_GONE = 1024  # ids that were told to be gone; an answer is overtaken by few
ASK_AGAIN_S = 0.25  # between two calls of `on_miss` for one container
PAUSE = "POD"  # the name of a sandbox's own container, as the kubelet and cAdvisor have always had it


class Start(Struct, frozen=True):
    """A container that runs: its pod (the sandbox's id, where the pod is not known), its cgroup and first process.

    ``group`` is empty where the runtime's word for it says no path, ``pid`` 0 where it is not told.
    """

    pod: str
    group: str
    pid: int = 0


Changed = Callable[[frozenset[str]], None]
Missed = Callable[[str], None]
R = TypeVar("R", PodRecord, ContainerRecord)


class _Known(Struct, Generic[R], gc=False):
    """A record, and when it was last put, by the directory's clock. There are thousands: each byte counts."""

    record: R
    put_at: int


class Directory:
    """The pods and containers of this node; satisfies ``node.snapshot.PodLookup``."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._now = clock
        self.refused = 0
        self.missed = 0
        #: Why pods are not told by a runtime now; empty while they are. Whoever feeds the directory puts it here.
        self.why_not: Callable[[], str] = lambda: "no container runtime is asked"
        self._lock = threading.Lock()
        self._pods: dict[str, _Known[PodRecord]] = {}
        self._containers: dict[str, _Known[ContainerRecord]] = {}
        self._of_sandbox: dict[str, set[str]] = {}  # containers by their sandbox, known or not
        self._of_uid: dict[str, set[str]] = {}  # sandboxes by their pod: one may be made anew
        self._clock = 0
        self._gone: dict[str, int] = {}  # when a sandbox or container was told to be gone, by `_clock`
        self._answers: dict[str, PodRef] = {}
        self._asked: dict[str, tuple[PodRef, float]] = {}
        self._listeners: list[Changed] = []
        self._on_miss: list[Missed] = []
        self._pod_listeners: list[Callable[[PodRecord], None]] = []
        self._new: list[PodRecord] = []  # for the pod listeners, once the lock is let go
        self._start_listeners: list[Callable[[Start], None]] = []
        self._starts: list[Start] = []

    # -- asking, from any thread -----------------------------------------------------------------------------------

    def pod_of(self, cgroups: Mapping[str, str]) -> PodRef | None:
        """The pod one of these paths (by hierarchy) belongs to; what no runtime told of it is empty."""
        ref = cgroup_path.pod_of(cgroups)
        if ref is None:
            ref = self._elsewhere(cgroups)
            if ref is None:
                return None
        key = ref.container_id or ref.uid
        answer = self._answers.get(key)
        if answer is not None and answer.group == ref.group:
            return answer
        return self._look_up(key, ref)

    def container(self, container_id: str) -> ContainerRecord | None:
        """What is known of a container."""
        known = self._containers.get(container_id)
        return known.record if known is not None else None

    def pod(self, sandbox_id: str) -> PodRecord | None:
        """What is known of a sandbox."""
        known = self._pods.get(sandbox_id)
        return known.record if known is not None else None

    @property
    def sizes(self) -> tuple[int, int]:
        """How many sandboxes and containers are known."""
        return len(self._pods), len(self._containers)

    def on_change(self, listener: Changed) -> Callable[[], None]:
        """Call ``listener`` with the cgroups whose pod is another than was last answered; on the feeding thread.

        What is returned ends it.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def on_pod(self, listener: Callable[[PodRecord], None]) -> Callable[[], None]:
        """Call ``listener`` with those known now, then with each that is new or changed; what is returned ends it.

        On the feeding thread.
        """
        self._pod_listeners.append(listener)
        for pod in self.pods():
            listener(pod)
        return lambda: self._pod_listeners.remove(listener)

    def on_start(self, listener: Callable[[Start], None]) -> Callable[[], None]:
        """Call ``listener`` once with each container that runs, as soon as its group is known; on the feeding thread.

        What is returned ends it.
        """
        self._start_listeners.append(listener)
        return lambda: self._start_listeners.remove(listener)

    def pods(self) -> list[PodRecord]:
        """Every sandbox that is known."""
        return [known.record for known in list(self._pods.values())]

    def on_miss(self, listener: Missed) -> None:
        """Call ``listener`` with the id of a container that somebody asked for in vain; on the asking thread."""
        self._on_miss.append(listener)

    # -- feeding -------------------------------------------------------------------------------------------------

    def put_pod(self, pod: PodRecord, mark: int | None = None) -> None:
        """A sandbox that is; what was known of it before is replaced.

        With ``mark``, one that was removed after it is not taken in.
        """
        with self._lock:
            changed = set() if self._went_after(mark, pod.sandbox_id) else self._put_pod(pod)
        self._tell(changed)

    def put_container(self, container: ContainerRecord, mark: int | None = None) -> None:
        """A container that is; its pod may come later. One that stopped is forgotten.

        With ``mark``, one that was removed after it is not taken in.
        """
        with self._lock:
            changed = set() if self._went_after(mark, container.id) else self._put_container(container)
        self._tell(changed)

    def settle(self, container_id: str) -> None:
        """Nothing more can be known of a container: it is told of as it is.

        That is no word of whether it is there, so a list that was asked for before still says whether it goes.
        """
        with self._lock:
            known = self._containers.get(container_id)
            changed = self._put_container(replace(known.record, detailed=True), known.put_at) if known else set()
        self._tell(changed)

    def remove(self, key: str) -> None:
        """A container, or a sandbox with its containers, that is no more: runtimes name both alike."""
        with self._lock:
            for container_id in tuple(self._of_sandbox.get(key, ())):
                self._remove(container_id)
            self._remove(key)

    def mark(self) -> int:
        """Now, for `replace_all` and `put_container`: taken before the runtime is asked."""
        with self._lock:
            self._clock += 1
            return self._clock

    def replace_all(
        self,
        pods: Iterable[PodRecord],
        containers: Iterable[ContainerRecord],
        mark: int,
        unchanged: Iterable[str] = (),
    ) -> None:
        """These are all there are: what is not among them goes, unless it was put after ``mark``.

        ``unchanged`` are ids of sandboxes and containers that are as they were when they were last put.
        """
        changed: set[str] = set()
        with self._lock:
            keep = set(unchanged)
            for pod in pods:
                if self._went_after(mark, pod.sandbox_id):
                    continue
                keep.add(pod.sandbox_id)
                changed |= self._put_pod(pod)
            for container in containers:
                if self._went_after(mark, container.id):
                    continue
                if container.state is not State.STOPPED:
                    keep.add(container.id)
                changed |= self._put_container(container)
            self._drop_others(keep, mark)
        self._tell(changed)

    # -- inside, under the lock ----------------------------------------------------------------------------------

    def _put_pod(self, pod: PodRecord) -> set[str]:
        known = self._pods.get(pod.sandbox_id)
        if known is None and self._is_full():
            return set()
        self._clock += 1
        self._pods[pod.sandbox_id] = _Known(pod, self._clock)
        if known is not None and known.record == pod:
            return set()
        if known is not None and known.record.uid != pod.uid:
            self._drop(self._of_uid, known.record.uid, pod.sandbox_id)
        self._of_uid.setdefault(pod.uid, set()).add(pod.sandbox_id)
        if self._pod_listeners:
            self._new.append(pod)
        own = self._of_sandbox.get(pod.sandbox_id, ())
        unasked = set().union(*(self._unasked(self._containers[one].record) for one in own)) if known is None else set()
        return unasked | self._changed({pod.sandbox_id, pod.uid, *own})

    def _put_container(self, container: ContainerRecord, put_at: int | None = None) -> set[str]:
        """``put_at``: when it was last told to be there, if not now."""
        if container.state is State.STOPPED:
            self._forget(container.id)
            return set()
        known = self._containers.get(container.id)
        if known is None and self._is_full():
            return set()
        before = known.record if known is not None else None
        merged = container if before is None else before.merged(container)
        self._clock += 1
        self._containers[container.id] = _Known(merged, self._clock if put_at is None else put_at)
        if before == merged:
            return set()
        if before is not None and before.sandbox_id != merged.sandbox_id:
            self._drop(self._of_sandbox, before.sandbox_id, container.id)
        self._of_sandbox.setdefault(container.sandbox_id, set()).add(container.id)
        if self._start_listeners and _runs(merged) and not (before is not None and _runs_as(before, merged)):
            self._starts.append(self._start(merged))
        unasked = self._unasked(merged)
        if before is not None and before.pid in (0, merged.pid):
            unasked -= self._unasked(before)
        return self._changed((container.id,)) | unasked

    def _start(self, container: ContainerRecord) -> Start:
        pod = self._pods.get(container.sandbox_id)
        group = cgroup_path.group_of(container.cgroups_path)
        return Start(pod.record.uid if pod is not None else container.sandbox_id, group, container.pid)

    def _is_full(self) -> bool:
        full = len(self._pods) + len(self._containers) >= MOST
        self.refused += full
        return full

    def _went_after(self, mark: int | None, key: str) -> bool:
        return mark is not None and self._gone.get(key, -1) > mark

    def _drop_others(self, keep: Collection[str], mark: int) -> None:
        for known in (self._containers, self._pods):
            for key in [key for key, one in known.items() if key not in keep and one.put_at <= mark]:
                self._forget(key)

    def _remove(self, key: str) -> None:
        """Forget it, and that it was told to be gone."""
        self._forget(key)
        self._clock += 1
        self._gone.pop(key, None)  # so that the oldest is first
        self._gone[key] = self._clock
        if len(self._gone) > MOST_GONE:
            del self._gone[next(iter(self._gone))]

    def _forget(self, key: str) -> None:
        """Know nothing more of a container, or of a sandbox; containers of the sandbox stay, in nobody's pod."""
        self._answers.pop(key, None)
        self._asked.pop(key, None)
        container = self._containers.pop(key, None)
        if container is not None:
            self._drop(self._of_sandbox, container.record.sandbox_id, key)
        pod = self._pods.pop(key, None)
        if pod is not None:
            self._drop(self._of_uid, pod.record.uid, key)
            for answered in (pod.record.uid, *self._of_sandbox.get(key, ())):
                self._answers.pop(answered, None)

    @staticmethod
    def _drop(index: dict[str, set[str]], key: str, one: str) -> None:
        members = index.get(key, set())
        members.discard(one)
        if not members:
            index.pop(key, None)

    def _pod_of_uid(self, uid: str) -> PodRecord | None:
        """The newest sandbox of a pod."""
        sandboxes = [self._pods[key].record for key in self._of_uid.get(uid, ())]
        return max(sandboxes, key=lambda pod: pod.created_at_ns, default=None)

    def _changed(self, keys: Iterable[str]) -> set[str]:
        """The groups that were asked for under these keys and have another answer now."""
        groups: set[str] = set()
        for key in keys:
            before = self._answers.pop(key, None)
            asked = before or self._asked.get(key, (None,))[0]
            answer = self._answer(asked) if asked is not None else None
            if answer is None:
                continue
            if answer.container or not answer.container_id:
                self._answers[key] = answer
                self._asked.pop(key, None)
            if answer != before:
                groups.add(answer.group)
        return groups

    def _unasked(self, container: ContainerRecord) -> set[str]:
        """The group of a container that runs, where its name says nothing of a pod: nobody can have asked for it.

        Whoever decided about its processes before took them for nobody's. A runtime may tell its group and no pid.
        """
        if not (container.pid or _runs(container)) or container.sandbox_id not in self._pods:
            return set()
        group = cgroup_path.group_of(container.cgroups_path)
        return {group} if group and cgroup_path.pod_of_path(group) is None else set()

    # -- inside --------------------------------------------------------------------------------------------------

    def _look_up(self, key: str, ref: PodRef) -> PodRef:
        missed = False
        with self._lock:
            answer = self._answer(ref)
            if answer is not None and (answer.container or not ref.container_id):
                self._answers[key] = answer
                return answer
            now = self._now()
            known = self._asked.get(key)
            if known is None or now - known[1] >= ASK_AGAIN_S:
                if known is None and len(self._asked) >= MOST_ASKED:
                    self._asked.pop(next(iter(self._asked)))
                self._asked[key] = (ref, now)
                missed = bool(ref.container_id)
                self.missed += missed
        if missed:
            for listener in self._on_miss:
                listener(ref.container_id)
        return answer or ref

    def _answer(self, ref: PodRef) -> PodRef | None:
        """What is known for a group: its pod, by the uid if need be, and the container; None without a pod."""
        container, own = self.container(ref.container_id), self.pod(ref.container_id)
        pod = own or (self.pod(container.sandbox_id) if container else self._pod_of_uid(ref.uid))
        if pod is None:
            return None
        answer = replace(
            ref, uid=ref.uid or pod.uid, namespace=pod.namespace, name=pod.name, labels=pod.labels,
            annotations=pod.annotations, container=PAUSE if own else "",
        )  # fmt: skip
        if container is None:
            return answer
        if not container.detailed:
            return None
        confirmed = cgroup_path.names_group(container.cgroups_path, ref.group)
        if container.cgroups_path and not confirmed:
            return None  # a group of another place that is only called so
        return replace(
            answer,
            container=container.name,
            group_confirmed=confirmed,
            main=(container.pid, container.start_ticks) if container.pid and container.start_ticks else None,
            oom_score_adj=container.oom_score_adj,
            oom_score_adj_asked=container.oom_score_adj_asked,
        )

    def _elsewhere(self, cgroups: Mapping[str, str]) -> PodRef | None:
        """A container we were told of, in a group that the kubelet did not name and the runtime does."""
        if not self._pods:
            return None
        for path in cgroups.values():
            found = cgroup_path.container_of_path(path)
            if found is None:
                continue
            known = self._containers.get(found.container_id)
            if known is not None and cgroup_path.names_group(known.record.cgroups_path, found.group):
                return found
        return None

    def _tell(self, changed: Collection[str]) -> None:
        new, self._new = self._new, []
        for pod in new:
            for told in tuple(self._pod_listeners):
                told(pod)
        if changed:
            groups = frozenset(changed)
            for listener in tuple(self._listeners):
                listener(groups)
        starts, self._starts = self._starts, []
        for start in starts:
            for started in tuple(self._start_listeners):
                started(start)


def _runs(container: ContainerRecord) -> bool:
    """Whether its processes can be found. A list alone does not say where it is."""
    return container.state is not State.CREATED and container.detailed and bool(container.cgroups_path or container.pid)


def _runs_as(before: ContainerRecord, now: ContainerRecord) -> bool:
    """Whether it was running before, and was not started anew since."""
    return _runs(before) and before.pid in (0, now.pid)
