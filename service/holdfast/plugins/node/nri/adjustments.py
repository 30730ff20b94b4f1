"""Values of the placement rules for a container that is created, in the form that its runtime can apply."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

from msgspec.structs import replace

from holdfast.node.plan.creation import ContainerAdjustment, ContainerRequest
from holdfast.pods.cgroup_path import PodRef, group_of, pod_of_path
from holdfast.pods.record import ContainerRecord, PodRecord

LOWEST, HIGHEST = -1000, 1000
#: Files of a v2 group that a runtime writes only if they are given by name, and a new group's values in them
#: (the kernel's Documentation/admin-guide/cgroup-v2.rst).
NEW_GROUP = MappingProxyType(
    {"memory.oom.group": "0", "memory.min": "0", "memory.low": "0", "memory.high": "max", "cpu.idle": "0"}
)


class RuleValuesSource(Protocol):
    """Gives the values that a container should be created with."""

    async def at_creation(self, pod: PodRecord, container: ContainerRecord) -> ContainerAdjustment | None:
        """Return the values, or None if there are none; may raise any error."""


class PlacementValues:
    """Asks the placement plugin (`holdfast.plugins.node.placement`); without one there are no values."""

    def __init__(self, placement: Any) -> None:
        self._placement = placement

    async def at_creation(self, pod: PodRecord, container: ContainerRecord) -> ContainerAdjustment | None:
        """Return the values that the rules in force give the container; None where they give none."""
        if self._placement is None:
            return None
        asked = container.oom_score_adj or 0  # without a value a runtime gives 0, or its own value if that is higher
        request = ContainerRequest(pod_ref(pod, container), asked, group_of(container.cgroups_path))
        made: ContainerAdjustment | None = self._placement.at_creation(request)
        return made


def pod_ref(pod: PodRecord, container: ContainerRecord) -> PodRef:
    """Return a pod in the form that rules match; its QoS class is in the name of the kubelet's group for it."""
    parent = pod.cgroup_parent
    of_parent = pod_of_path(parent if parent.startswith("/") else f"/{parent}") if parent else None
    return PodRef(
        uid=pod.uid,
        qos=of_parent.qos if of_parent else "",
        container_id=container.id,
        namespace=pod.namespace,
        name=pod.name,
        container=container.name,
        labels=pod.labels,
        annotations=pod.annotations,
        oom_score_adj=container.oom_score_adj,
        oom_score_adj_asked=container.oom_score_adj,
    )


def for_runtime(
    values: ContainerAdjustment, container: ContainerRecord, unified: Mapping[str, str], lowest: int = LOWEST
) -> ContainerAdjustment:
    """Return the part of the values that the runtime can apply; ``group`` is then the container's own below the rule's.

    ``unified`` are files of the v2 group as the request to the runtime has them, ``lowest`` is the least oom_score_adj
    that the runtime may write. Values that are set already are left out.
    """
    adj = values.oom_score_adj
    if adj is not None:
        adj = max(LOWEST, min(HIGHEST, adj))
        if adj == container.oom_score_adj or adj < lowest:
            adj = None
    settings = {file: value for file, value in values.settings.items() if before_us(file, unified) is not None}
    return replace(values, oom_score_adj=adj, group=cgroups_path_in(values.group, container), settings=settings)


def before_us(file: str, unified: Mapping[str, str]) -> str | None:
    """Return the value of a file of the container's group without us; None: unknown, so it could not be restored.

    The engine reads such a file when the program runs, and then writes it. NRI before 0.12 does not report the
    requested files: there only a new group's values are known.
    """
    return unified.get(file, NEW_GROUP.get(file))


def cgroups_path_in(group: str, container: ContainerRecord) -> str:
    """Return the path of a container's own group below ``group``; empty if it is to stay, or has no such path.

    The container has its own group, because a runtime removes a container's group with the container and may end all
    processes in it. The systemd driver names slices, which a rule's cgroup is not: there the engine makes the move.
    """
    if not group or not container.cgroups_path.startswith("/"):
        return ""
    return f"{group}/{container.id}"
