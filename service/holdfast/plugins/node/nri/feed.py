"""The feed from NRI to the directory of pods."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from holdfast.cgroups import parse_groups
from holdfast.errors import HoldfastError
from holdfast.pods.cgroup_path import unsplit_group
from holdfast.pods.directory import Directory
from holdfast.pods.record import ContainerRecord, PodRecord
from holdfast.process import ProcRoot


class DirectoryFeed:
    """Feeds a directory; a pid is stored with the start time that its process has now."""

    def __init__(self, directory: Directory, proc: ProcRoot) -> None:
        self._directory, self._proc = directory, proc

    def pod(self, pod: PodRecord) -> None:
        """Add or update a pod."""
        self._directory.put_pod(pod)

    def container(self, container: ContainerRecord) -> None:
        """Add or update a container; it may have stopped."""
        self._directory.put_container(self._with_first_process(container))

    def pod_gone(self, sandbox_id: str) -> None:
        """Remove a pod."""
        self._directory.remove(sandbox_id)

    def container_gone(self, container_id: str) -> None:
        """Remove a container."""
        self._directory.remove(container_id)

    def everything(self, pods: Iterable[PodRecord], containers: Iterable[ContainerRecord]) -> None:
        """Take in all pods and containers that exist; remove all others."""
        mark = self._directory.mark()
        self._directory.replace_all(pods, map(self._with_first_process, containers), mark)

    def _with_first_process(self, container: ContainerRecord) -> ContainerRecord:
        """Return a container with field 22 of proc_pid_stat(5) of its first process, and its unsplit group.

        It is unchanged if the process is gone, or if we may not read it.
        """
        if not container.pid:
            return container
        try:
            with self._proc.open(container.pid) as process:
                groups = parse_groups(process.read("cgroup"))
                ticks, group = process.start_ticks(), unsplit_group(container.cgroups_path, groups.values())
        except HoldfastError:
            return container
        return replace(container, start_ticks=ticks, unsplit_group=group)
