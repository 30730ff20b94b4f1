"""Parts of a scenario: a namespace, pods and their processes, and states to wait for.

Objects are given as Python mappings and go through kubectl; values of processes are read from this machine's /proc,
which is the nodes' too.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.cluster.cgroup_tree import groups, hierarchies, members
from tests.cluster.cluster import Cluster
from tests.cluster.images import BUSYBOX
from tests.running import SLOW, until
from tests.running import adj_of as adj

PATIENCE_S = 120.0 * SLOW
LOOK_S = 0.1
#: What a container does that only has to be there.
SLEEP = ["sleep", "infinity"]
LIMIT = {"memory": "64Mi"}
#: Of one process, until it is told: then it starts another one that takes more than the limit, and goes on.
GREEDY = ["sh", "-c", "mkfifo /go; read told </go; dd if=/dev/zero of=/dev/null bs=256M count=1; exec sleep infinity"]

Object = dict[str, Any]
Answer = TypeVar("Answer")


def becomes(expected: Answer, look: Callable[[], Answer], within_s: float = PATIENCE_S) -> None:
    """Look until the answer is the expected one. The kernel reports no change of an oom_score_adj."""
    deadline = time.monotonic() + within_s
    while (seen := look()) != expected:
        assert time.monotonic() < deadline, f"after {within_s:.0f} s still {seen!r}, expected {expected!r}"
        time.sleep(LOOK_S)


def of_living(pids: Iterable[int], read: Callable[[int], Answer]) -> list[Answer]:
    """Return what `read` says of each process; one that has ended since it was listed is left out."""
    found = []
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            found.append(read(pid))
    return found


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process for as long as the block; it may be killed meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace of the cluster, and kubectl in it."""

    cluster: Cluster
    name: str

    def kubectl(self, *words: str | Path, text: str = "") -> str:
        """Run kubectl in the namespace; its output. A failure fails the test, with what kubectl printed."""
        return self.cluster.kubectl(f"--namespace={self.name}", *words, text=text).stdout

    def refusal(self, *words: str | Path, text: str = "") -> str:
        """Run kubectl, which must fail; its error."""
        done = self.cluster.kubectl(f"--namespace={self.name}", *words, text=text, check=False)
        assert done.returncode, f"not refused: {words}\n{done.stdout}"
        return done.stderr

    def create(self, labels: Mapping[str, str] | None = None) -> None:
        """Create the namespace, and wait until pods can be created in it."""
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": dict(labels or {})}}
        self.cluster.kubectl("create", "--filename=-", text=json.dumps(made))
        becomes(
            0, lambda: self.cluster.kubectl(f"--namespace={self.name}", "get", "sa/default", check=False).returncode
        )

    def drop(self) -> None:
        """Delete the namespace; its pods end without grace, the rest in the background."""
        self.kubectl("delete", "pods", "--all", "--grace-period=0", "--force", "--wait=false")
        self.cluster.kubectl("delete", "namespace", self.name, "--ignore-not-found", "--wait=false")

    def apply(self, *objects: Object) -> None:
        """Apply objects. A ``List`` is in no group's schema: for one, kubectl asks for the schema of all groups."""
        self.kubectl("apply", "--filename=-", text="\n".join(map(json.dumps, objects)))

    def get(self, what: str, *words: str) -> Object:
        """One object (``pod/web``), or a list of them (``pods``, then ``--selector=…``)."""
        found: Object = json.loads(self.kubectl("get", what, *words, "--output=json"))
        return found

    def items(self, what: str, *words: str) -> list[Object]:
        """All objects of a kind."""
        return list(self.get(what, *words)["items"])

    def delete(self, *what: str) -> None:
        """Delete objects at once, and wait until they are gone."""
        self.kubectl("delete", *what, "--grace-period=0", "--force", "--ignore-not-found")

    def wait(self, what: str, condition: str = "condition=Ready", within_s: float = PATIENCE_S) -> None:
        """Wait for a condition (``condition=Ready``, ``jsonpath=…``, ``delete``)."""
        self.kubectl("wait", what, f"--for={condition}", f"--timeout={within_s:.0f}s")

    def wait_gone(self, *selector: str, kind: str = "pods") -> None:
        """Wait until there is no such object."""
        becomes(0, lambda: len(self.items(kind, *selector)))

    def start(self, *pods: Object) -> list[Pod]:
        """Create pods made by `pod`, and wait until all of them are Ready."""
        self.apply(*pods)
        names = [one["metadata"]["name"] for one in pods]
        self.kubectl(
            "wait", *(f"pod/{name}" for name in names), "--for=condition=Ready", f"--timeout={PATIENCE_S:.0f}s"
        )
        found = {one["metadata"]["name"]: one for one in self.items("pods")}
        return [Pod(self, found[name]) for name in names]

    def pod(self, name: str) -> Pod:
        """A pod that exists, as the API has it now."""
        return Pod(self, self.get(f"pod/{name}"))


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as the API had it at the request, and its processes as they are now."""

    namespace: Namespace
    object: Object

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.object["metadata"]["name"])

    @property
    def uid(self) -> str:
        """The uid of the API; for a static pod the kubelet's own, which its cgroup has."""
        mirrored = self.object["metadata"].get("annotations", {}).get("kubernetes.io/config.mirror")
        return str(mirrored or self.object["metadata"]["uid"])

    def container_id(self, container: str = "") -> str:
        """The runtime's id of a container; of the first one by default."""
        status = self.object["status"]
        found = {
            one["name"]: one.get("containerID", "").rpartition("//")[2]
            for key in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
            for one in status.get(key, [])
        }
        return str(found[container] if container else next(iter(found.values())))

    def processes(self, container: str = "") -> list[int]:
        """Pids of a container's processes; of the first container by default."""
        return self._in_group(self.container_id(container))

    def group(self, container: str = "") -> Path:
        """A container's cgroup in the hierarchy that has the memory controller; of the first container by default."""
        return self._pod_group() / self.container_id(container)

    def pause(self) -> list[int]:
        """Pids of the sandbox's own container."""
        known = {self.container_id(one["name"]) for one in self.object["status"]["containerStatuses"]}
        return [pid for name, pids in self._groups().items() if name not in known for pid in pids]

    def values(self, container: str = "") -> set[int]:
        """The oom_score_adj of a container's processes."""
        return set(of_living(self.processes(container), adj))

    def execute(self, *command: str, container: str = "") -> str:
        """Run a command in a container; its output."""
        where = [f"--container={container}"] if container else []
        return self.namespace.kubectl("exec", self.name, *where, "--", *command)

    def printed(self, container: str = "") -> str:
        """Return what a container printed, from its first line on: it is Ready before its first instruction."""
        where = [f"--container={container}"] if container else []
        return until(
            lambda: self.namespace.kubectl("logs", self.name, *where), f"{self.name} has printed a line", PATIENCE_S
        )

    def overfill(self) -> None:
        """Have a pod made by `greedy` take more memory than it may."""
        self.execute("sh", "-c", "echo >/go")

    def _in_group(self, name: str) -> list[int]:
        return self._groups().get(name, [])

    def _groups(self) -> dict[str, list[int]]:
        """Container id → pids."""
        return {group.name: members(group) for group in groups(self._pod_group())}

    def _pod_group(self) -> Path:
        """The pod's own cgroup; at first there is none."""
        top = memory_hierarchy() / self.namespace.cluster.state.cgroup
        return next((group for group in groups(top) if group.name == f"pod{self.uid}"), top / "no-such-pod")


def memory_hierarchy() -> Path:
    """The hierarchy that has the memory controller."""
    (found,) = [one for one in hierarchies() if (one / "memory.use_hierarchy").exists() or is_v2_alone(one)]
    return found


def is_v2_alone(hierarchy: Path) -> bool:
    """Whether it is cgroup v2's, with the memory controller."""
    controllers = hierarchy / "cgroup.controllers"
    return controllers.exists() and "memory" in controllers.read_text().split()


def pod(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    command: Sequence[str] = SLEEP,
    containers: Sequence[Object] = (),
    requests: Mapping[str, str] | None = None,
    limits: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A pod of busybox, BestEffort unless something is requested; ``containers`` made by `container` replace its one.

    ``spec`` is joined over the pod's: ``hostPID=True``, ``initContainers=[…]``, ``nodeName="node-2"``.
    """
    own = list(containers) or [container("main", command=command, requests=requests, limits=limits)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels or {}), "annotations": dict(annotations or {})},
        "spec": {"terminationGracePeriodSeconds": 0, "enableServiceLinks": False, "containers": own, **spec},
    }


def greedy(name: str) -> Object:
    """A pod in which the kernel kills a process at `Pod.overfill`; its container goes on."""
    return pod(name, command=GREEDY, requests=LIMIT, limits=LIMIT)


def container(
    name: str,
    *,
    command: Sequence[str] = SLEEP,
    requests: Mapping[str, str] | None = None,
    limits: Mapping[str, str] | None = None,
    **fields: Any,
) -> Object:
    """A container of busybox."""
    resources = {key: dict(value) for key, value in (("requests", requests), ("limits", limits)) if value}
    made = {"name": name, "image": BUSYBOX, "imagePullPolicy": "Never", "command": list(command)}
    return {**made, "resources": resources, **fields}
