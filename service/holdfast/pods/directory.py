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
* What was told to be gone stays gone for an answer that was asked for before (`mark`): answers may be overtaken.
* Bounded: `MOST` sandboxes and containers; more are not taken in, and `refused` counts them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from time import monotonic

from msgspec.structs import replace

from holdfast.pods import cgroup_path
from holdfast.pods.cgroup_path import PodRef
from holdfast.pods.record import ContainerRecord, PodRecord, State

MOST = 16_384
MOST_ASKED = 4096
MOST_GONE = 1024  # containers that were told to be gone; an answer is overtaken by few
ASK_AGAIN_S = 0.25  # between two calls of `on_miss` for one container
PAUSE = "POD"  # the name of a sandbox's own container, as the kubelet and cAdvisor have always had it

Changed = Callable[[frozenset[str]], None]
Missed = Callable[[str], None]


class Directory:
    """The pods and containers of this node; satisfies ``node.snapshot.PodLookup``."""

    def __init__(self) -> None:
        self.refused = 0
        self.missed = 0
        #: Why pods are not told by a runtime now; empty while they are. Whoever feeds the directory puts it here.
        self.why_not: Callable[[], str] = lambda: "no container runtime is asked"
        self._lock = threading.Lock()
        self._pods: dict[str, PodRecord] = {}
        self._containers: dict[str, ContainerRecord] = {}
        self._of_sandbox: dict[str, set[str]] = {}
        self._by_uid: dict[str, str] = {}
        self._touched: dict[str, int] = {}  # when a sandbox or container was last put, by `_clock`
        self._clock = 0
        self._gone: dict[str, int] = {}  # when a container was told to be gone, by `_clock`
        self._answers: dict[str, PodRef] = {}
        self._asked: dict[str, tuple[PodRef, float]] = {}
        self._listeners: list[Changed] = []
        self._on_miss: list[Missed] = []
        self._pod_listeners: list[Callable[[PodRecord], None]] = []
        self._new: list[PodRecord] = []  # for the pod listeners, once the lock is let go

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
        return self._containers.get(container_id)

    def pod(self, sandbox_id: str) -> PodRecord | None:
        """What is known of a sandbox."""
        return self._pods.get(sandbox_id)

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
        for pod in list(self._pods.values()):
            listener(pod)
        return lambda: self._pod_listeners.remove(listener)

    def pods(self) -> list[PodRecord]:
        """Every sandbox that is known."""
        return list(self._pods.values())

    def on_miss(self, listener: Missed) -> None:
        """Call ``listener`` with the id of a container that somebody asked for in vain; on the asking thread."""
        self._on_miss.append(listener)

    # -- feeding -------------------------------------------------------------------------------------------------

    def put_pod(self, pod: PodRecord) -> None:
        """A sandbox that is; what was known of it before is replaced."""
        with self._lock:
            changed = self._put_pod(pod)
        self._tell(changed)

    def put_container(self, container: ContainerRecord, mark: int | None = None) -> None:
        """A container that is; its pod may come later. One that stopped is forgotten.

        With ``mark``, one that was removed after it is not taken in.
        """
        with self._lock:
            changed = set() if self._went_after(mark, container.id) else self._put_container(container)
        self._tell(changed)

    def remove_container(self, container_id: str) -> None:
        """A container that is no more."""
        with self._lock:
            self._remove_container(container_id)
            self._clock += 1
            self._gone[container_id] = self._clock
            if len(self._gone) > MOST_GONE:
                del self._gone[next(iter(self._gone))]

    def remove_pod(self, sandbox_id: str) -> None:
        """A sandbox that is no more, with its containers."""
        with self._lock:
            self._remove_pod(sandbox_id)

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
        self._touch(pod.sandbox_id)
        if known == pod:
            return set()
        self._pods[pod.sandbox_id] = pod
        if self._pod_listeners:
            self._new.append(pod)
        newest = self._pods.get(self._by_uid.get(pod.uid, ""))
        if newest is None or newest.created_at_ns <= pod.created_at_ns:  # a pod's sandbox may be made anew
            self._by_uid[pod.uid] = pod.sandbox_id
        own = self._of_sandbox.get(pod.sandbox_id, ())
        unasked = set().union(*(self._unasked(self._containers[one]) for one in own)) if known is None else set()
        return unasked | self._changed({pod.sandbox_id, pod.uid, *own})

    def _put_container(self, container: ContainerRecord) -> set[str]:
        if container.state is State.STOPPED:
            self._remove_container(container.id)
            return set()
        known = self._containers.get(container.id)
        if known is None and self._is_full():
            return set()
        self._touch(container.id)
        merged = container if known is None else known.merged(container)
        if known == merged:
            return set()
        self._containers[container.id] = merged
        self._of_sandbox.setdefault(container.sandbox_id, set()).add(container.id)
        anew = known is None or known.pid != merged.pid
        return self._changed((container.id,)) | (self._unasked(merged) if anew else set())

    def _is_full(self) -> bool:
        full = len(self._pods) + len(self._containers) >= MOST
        self.refused += full
        return full

    def _went_after(self, mark: int | None, container_id: str) -> bool:
        return mark is not None and self._gone.get(container_id, -1) > mark

    def _touch(self, key: str) -> None:
        self._clock += 1
        self._touched[key] = self._clock

    def _drop_others(self, keep: Collection[str], mark: int) -> None:
        for container_id in [key for key in self._containers if key not in keep and self._touched[key] <= mark]:
            self._remove_container(container_id)
        for sandbox_id in [key for key in self._pods if key not in keep and self._touched[key] <= mark]:
            self._remove_pod(sandbox_id)

    def _remove_container(self, container_id: str) -> None:
        known = self._containers.pop(container_id, None)
        self._touched.pop(container_id, None)
        self._answers.pop(container_id, None)
        self._asked.pop(container_id, None)
        if known is not None and (siblings := self._of_sandbox.get(known.sandbox_id)):
            siblings.discard(container_id)
            if not siblings:
                del self._of_sandbox[known.sandbox_id]

    def _remove_pod(self, sandbox_id: str) -> None:
        known = self._pods.pop(sandbox_id, None)
        for container_id in tuple(self._of_sandbox.get(sandbox_id, ())):
            self._remove_container(container_id)
        self._touched.pop(sandbox_id, None)
        self._answers.pop(sandbox_id, None)
        if known is not None and self._by_uid.get(known.uid) == sandbox_id:
            del self._by_uid[known.uid]
            self._answers.pop(known.uid, None)

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

        Whoever decided about its processes before took them for nobody's.
        """
        if not container.pid or container.sandbox_id not in self._pods:
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
            now = monotonic()
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
        container = self._containers.get(ref.container_id)
        own = self._pods.get(ref.container_id)
        pod = own or self._pods.get(container.sandbox_id if container else self._by_uid.get(ref.uid, ""))
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
            if known is not None and cgroup_path.names_group(known.cgroups_path, found.group):
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
