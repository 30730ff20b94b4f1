"""The feed from NRI to the directory of pods."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.cgroups import parse_groups
from holdfast.errors import HoldfastError
from holdfast.pods.cgroup_path import unsplit_group
from holdfast.pods.directory import Directory
from holdfast.pods.nri import NriContainerState, RuntimeContainer, Sandbox
from holdfast.pods.record import ContainerRecord, ContainerState, PodRecord, kept
from holdfast.process import ProcRoot

#: The directory's states by NRI's.
_STATES = {
    NriContainerState.UNKNOWN: ContainerState.UNKNOWN,
    NriContainerState.CREATED: ContainerState.CREATED,
    NriContainerState.PAUSED: ContainerState.RUNNING,
    NriContainerState.RUNNING: ContainerState.RUNNING,
    NriContainerState.STOPPED: ContainerState.STOPPED,
}


class DirectoryFeed:
    """Feeds a directory (`pods.nri.PodFeed`); a pid is stored with the start time that its process has now."""

    def __init__(self, directory: Directory, proc: ProcRoot) -> None:
        self._directory, self._proc = directory, proc

    def pod(self, pod: Sandbox) -> None:
        """Add or update a pod."""
        self._directory.put_pod(_pod(pod))

    def container(self, container: RuntimeContainer) -> None:
        """Add or update a container; it may have stopped."""
        self._directory.put_container(self._container(container))

    def pod_gone(self, sandbox_id: str) -> None:
        """Remove a pod."""
        self._directory.remove(sandbox_id)

    def container_gone(self, container_id: str) -> None:
        """Remove a container."""
        self._directory.remove(container_id)

    def everything(self, pods: Iterable[Sandbox], containers: Iterable[RuntimeContainer]) -> None:
        """Take in all pods and containers that exist; remove all others."""
        mark = self._directory.mark()
        self._directory.replace_all(map(_pod, pods), map(self._container, containers), mark)

    def _container(self, container: RuntimeContainer) -> ContainerRecord:
        start_ticks, group = self._first_process(container)
        return ContainerRecord(
            container.id,
            container.sandbox_id,
            container.name,
            _STATES[container.state],
            container.pid,
            start_ticks,
            container.oom_score_adj,
            container.oom_score_adj if container.asked is None else container.asked,
            cgroups_path=container.cgroups_path,
            unsplit_group=group,
        )

    def _first_process(self, container: RuntimeContainer) -> tuple[int, str]:
        """Return field 22 of proc_pid_stat(5) of its first process, and its unsplit group.

        0 and empty for a process that is gone, or that we may not read.
        """
        if not container.pid:
            return 0, ""
        try:
            with self._proc.open(container.pid) as process:
                groups = parse_groups(process.read("cgroup"))
                return process.start_ticks(), unsplit_group(container.cgroups_path, groups.values())
        except HoldfastError:
            return 0, ""


def _pod(pod: Sandbox) -> PodRecord:
    (labels, cut), (annotations, cut_too) = kept(pod.labels), kept(pod.annotations)
    return PodRecord(
        pod.id, pod.uid, pod.namespace, pod.name, labels, annotations, pod.cgroup_parent, cut=cut or cut_too
    )
