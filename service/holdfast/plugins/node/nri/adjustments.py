"""Values of the placement rules for a container that is created: a pod from NRI in the form that rules match."""

from __future__ import annotations

from typing import Any

from holdfast.node.plan.creation import ContainerRequest
from holdfast.pods.cgroup_path import PodRef, group_of, pod_of_path
from holdfast.pods.nri import RuleValues, RuntimeContainer, Sandbox


class NoRuleValues:
    """Gives no values, where there are no rules (the placement plugin is off or failed)."""

    async def at_creation(self, pod: Sandbox, container: RuntimeContainer) -> RuleValues | None:
        """Return None."""
        del pod, container
        return None


class PlacementValues:
    """Asks the placement plugin (`holdfast.plugins.node.placement`)."""

    def __init__(self, placement: Any) -> None:
        self._at_creation = placement.at_creation

    async def at_creation(self, pod: Sandbox, container: RuntimeContainer) -> RuleValues | None:
        """Return the values that the rules in force give the container; None where they give none."""
        asked = container.oom_score_adj or 0  # without a value a runtime gives 0, or its own value if that is higher
        made = self._at_creation(ContainerRequest(pod_ref(pod, container), asked, group_of(container.cgroups_path)))
        if made is None:
            return None
        return RuleValues(made.rule, made.oom_score_adj, made.group, made.settings, made.dry_run)


def pod_ref(pod: Sandbox, container: RuntimeContainer) -> PodRef:
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
