"""The owner of a process: from a cgroup's path to the container in it, and from there to its pod.

Theory
------
* The cgroup's name gives uid, QoS class and container id (`cgroup_path`); a runtime's report (`record`) gives the rest,
  but only for the group that the runtime names for the container: a directory of that name elsewhere belongs to no
  container. For a group that is not the kubelet's, the runtime's name for it is the only source.
* The engine's thread queries, the loop's thread feeds. Every answer is an immutable value put into a dictionary whole;
  reading takes no lock, changing takes one.
* A query without an answer is remembered: when the answer comes, the listeners receive the cgroups of the query, so
  that nothing waits for a rescan. The first such query for a container is reported too (`on_miss`): the CRI client asks
  the runtime for this one at once.
* A container that runs, and whose group the runtime named, is reported as well (`on_start`): where no process events
  arrive, nothing queries its processes before the next rescan.
* A removed record stays removed for a response that was requested before (`mark`): responses may be overtaken.
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
from holdfast.pods.record import ContainerRecord, ContainerState, PodRecord

MOST = 16_384
MOST_ASKED = 4096
MOST_GONE = 1024  # ids of removed records; few removals overtake a response
ASK_AGAIN_S = 0.25  # between two calls of `on_miss` for one container
PAUSE = "POD"  # the name of a sandbox's own container, as the kubelet and cAdvisor have always had it


class Start(Struct, frozen=True):
    """A container that runs: its pod (the sandbox's id, where the pod is not known), its cgroup and first process.

    ``group`` is empty if the runtime's name for it gives no path, ``pid`` 0 if it is not reported.
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
    """The pods and containers of this node; satisfies ``node.model.process.PodLookup``."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._now = clock
        self.refused = 0
        self.missed = 0
        #: Why no runtime reports pods now; empty while one does. The feeder of the directory sets it.
        self.why_not: Callable[[], str] = lambda: "no container runtime is queried"
        self._lock = threading.Lock()
        self._pods: dict[str, _Known[PodRecord]] = {}
        self._containers: dict[str, _Known[ContainerRecord]] = {}
        self._of_sandbox: dict[str, set[str]] = {}  # containers by their sandbox, known or not
        self._of_uid: dict[str, set[str]] = {}  # sandboxes by their pod: one may be made again
        self._clock = 0
        self._gone: dict[str, int] = {}  # when a sandbox or container was removed, by `_clock`
        self._answers: dict[str, PodRef] = {}
        self._asked: dict[str, tuple[PodRef, float]] = {}
        self._listeners: list[Changed] = []
        self._on_miss: list[Missed] = []
        self._pod_listeners: list[Callable[[PodRecord], None]] = []
        self._new: list[PodRecord] = []  # for the pod listeners, once the lock is released
        self._start_listeners: list[Callable[[Start], None]] = []
        self._starts: list[Start] = []

    # -- asking, from any thread -----------------------------------------------------------------------------------

    def pod_of(self, cgroups: Mapping[str, str]) -> PodRef | None:
        """Return the pod that one of these paths (by hierarchy) belongs to; fields not reported are empty."""
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
        """Return the record of a container; None if it is unknown."""
        known = self._containers.get(container_id)
        return known.record if known is not None else None

    def pod(self, sandbox_id: str) -> PodRecord | None:
        """Return the record of a sandbox; None if it is unknown."""
        known = self._pods.get(sandbox_id)
        return known.record if known is not None else None

    @property
    def sizes(self) -> tuple[int, int]:
        """The numbers of known sandboxes and containers."""
        return len(self._pods), len(self._containers)

    def on_change(self, listener: Changed) -> Callable[[], None]:
        """Call ``listener`` with the cgroups whose pod differs from the last answer; on the feeding thread.

        Return a function that ends it.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def on_pod(self, listener: Callable[[PodRecord], None]) -> Callable[[], None]:
        """Call ``listener`` with every pod known now, then with each new or changed one; on the feeding thread.

        Return a function that ends it.
        """
        self._pod_listeners.append(listener)
        for pod in self.pods():
            listener(pod)
        return lambda: self._pod_listeners.remove(listener)

    def on_start(self, listener: Callable[[Start], None]) -> Callable[[], None]:
        """Call ``listener`` once with each container that runs, as soon as its group is known; on the feeding thread.

        Return a function that ends it.
        """
        self._start_listeners.append(listener)
        return lambda: self._start_listeners.remove(listener)

    def pods(self) -> list[PodRecord]:
        """Return every known sandbox."""
        return [known.record for known in list(self._pods.values())]

    def on_miss(self, listener: Missed) -> Callable[[], None]:
        """Call ``listener`` with the id of a container that a query did not find; on the querying thread.

        Return a function that ends it.
        """
        self._on_miss.append(listener)
        return lambda: self._on_miss.remove(listener)

    # -- feeding -------------------------------------------------------------------------------------------------

    def put_pod(self, pod: PodRecord, mark: int | None = None) -> None:
        """Add a sandbox, or replace its earlier record.

        With ``mark``, a sandbox that was removed after it is not taken in.
        """
        with self._lock:
            changed = set() if self._went_after(mark, pod.sandbox_id) else self._put_pod(pod)
        self._tell(changed)

    def put_container(self, container: ContainerRecord, mark: int | None = None) -> None:
        """Add or update a container; its pod may come later. Forget a container that stopped.

        With ``mark``, a container that was removed after it is not taken in.
        """
        with self._lock:
            changed = set() if self._went_after(mark, container.id) else self._put_container(container)
        self._tell(changed)

    def settle(self, container_id: str) -> None:
        """Report a container as it is: nothing more can be known of it.

        This does not say whether it exists, so a list that was requested before still decides whether it goes.
        """
        with self._lock:
            known = self._containers.get(container_id)
            changed = self._put_container(replace(known.record, detailed=True), known.put_at) if known else set()
        self._tell(changed)

    def remove(self, key: str) -> None:
        """Remove a container, or a sandbox with its containers: runtimes name both alike."""
        with self._lock:
            for container_id in tuple(self._of_sandbox.get(key, ())):
                self._remove(container_id)
            self._remove(key)

    def mark(self) -> int:
        """Return the mark of now, for `replace_all`, `put_pod` and `put_container`; take it before the request."""
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
        """Take in all sandboxes and containers that exist; remove others, unless they were put after ``mark``.

        ``unchanged`` are ids of sandboxes and containers that have not changed since they were last put.
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
                if container.state is not ContainerState.STOPPED:
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
        """``put_at``: when it was last reported to exist, if not now."""
        if container.state is ContainerState.STOPPED:
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
        """Forget a record, and remember its removal."""
        self._forget(key)
        self._clock += 1
        self._gone.pop(key, None)  # so that the oldest is first
        self._gone[key] = self._clock
        if len(self._gone) > MOST_GONE:
            del self._gone[next(iter(self._gone))]

    def _forget(self, key: str) -> None:
        """Drop the record of a container, or of a sandbox; containers of the sandbox stay, in no known pod."""
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
    def _drop(index: dict[str, set[str]], key: str, member: str) -> None:
        members = index.get(key, set())
        members.discard(member)
        if not members:
            index.pop(key, None)

    def _pod_of_uid(self, uid: str) -> PodRecord | None:
        """Return the newest sandbox of a pod."""
        sandboxes = [self._pods[key].record for key in self._of_uid.get(uid, ())]
        return max(sandboxes, key=lambda pod: pod.created_at_ns, default=None)

    def _changed(self, keys: Iterable[str]) -> set[str]:
        """Return the groups that were queried under these keys and have another answer now."""
        groups: set[str] = set()
        for key in keys:
            before = self._answers.pop(key, None)
            asked = before or self._asked.get(key, (None,))[0]
            answer = self._answer(asked) if asked is not None else None
            if answer is None:
                groups |= self._named_group(key) if asked is not None else set()
                continue
            if answer.container or not answer.container_id:
                self._answers[key] = answer
                self._asked.pop(key, None)
            if answer != before:
                groups.add(answer.group)
        return groups

    def _named_group(self, key: str) -> set[str]:
        """Return the group that the runtime names for a container that was queried by a group elsewhere.

        A user who gives a group of theirs the container's name may query first, and the container's own query is then
        not remembered.
        """
        container = self.container(key)
        if container is None or not container.detailed or container.sandbox_id not in self._pods:
            return set()
        self._asked.pop(key, None)
        return {container.unsplit_group or cgroup_path.group_of(container.cgroups_path)} - {""}

    def _unasked(self, container: ContainerRecord) -> set[str]:
        """Return the group of a running container, if its name gives no pod: no earlier query was for it.

        An earlier decision took its processes as being in no pod. A runtime may report its group and no pid.
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
            for listener in tuple(self._on_miss):
                listener(ref.container_id)
        return answer or ref

    def _answer(self, ref: PodRef) -> PodRef | None:
        """Return the pod of a group, by the uid if need be, and the container.

        None without a pod, before the container is detailed, or if the runtime names another group for it.
        """
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
        confirmed = cgroup_path.names_group(container.cgroups_path, ref.group, container.unsplit_group)
        if container.cgroups_path and not confirmed:
            return None  # a group elsewhere with the container's name
        return replace(
            answer,
            container=container.name,
            group_confirmed=confirmed,
            main=(container.pid, container.start_ticks) if container.pid and container.start_ticks else None,
            oom_score_adj=container.oom_score_adj,
            oom_score_adj_asked=container.oom_score_adj_asked,
        )

    def _elsewhere(self, cgroups: Mapping[str, str]) -> PodRef | None:
        """Return a reported container, in a group that the runtime names and the kubelet does not."""
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
    """Whether the container's processes can be found. A list alone does not give its group."""
    return (
        container.state is not ContainerState.CREATED
        and container.detailed
        and bool(container.cgroups_path or container.pid)
    )


def _runs_as(before: ContainerRecord, now: ContainerRecord) -> bool:
    """Whether the container was running before, and was not restarted since."""
    return _runs(before) and before.pid in (0, now.pid)
