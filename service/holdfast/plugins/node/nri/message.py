"""Conversion between NRI's messages and our values."""

from __future__ import annotations

from holdfast.api.nri.events.created_pb2 import ContainerCreated
from holdfast.api.nri.v1alpha1 import nri_pb2 as pb
from holdfast.pods.nri import Adjustment, NriContainerState, RuleValues, RuntimeContainer, Sandbox


def sandbox(pod: pb.PodSandbox) -> Sandbox:
    """Return a pod."""
    return Sandbox(
        pod.id, pod.uid, pod.namespace, pod.name, dict(pod.labels), dict(pod.annotations), pod.linux.cgroup_parent
    )


def container(container_message: pb.Container) -> RuntimeContainer:
    """Return a container; a state that NRI does not define becomes UNKNOWN."""
    linux = container_message.linux
    state = container_message.state
    return RuntimeContainer(
        container_message.id,
        container_message.pod_sandbox_id,
        container_message.name,
        NriContainerState(state) if 0 <= state <= NriContainerState.STOPPED.value else NriContainerState.UNKNOWN,
        container_message.pid,
        linux.oom_score_adj.value if linux.HasField("oom_score_adj") else None,
        cgroups_path=linux.cgroups_path,
        unified=dict(linux.resources.unified),
    )


def adjust(adjustment: Adjustment) -> pb.ContainerAdjustment:
    """Return an answer. A value of 0 is sent as an empty message, which differs from an absent one."""
    linux = pb.LinuxContainerAdjustment(cgroups_path=adjustment.cgroups_path)
    if adjustment.unified:
        linux.resources.unified.update(adjustment.unified)
    if adjustment.oom_score_adj is not None:
        linux.oom_score_adj.CopyFrom(pb.OptionalInt(value=adjustment.oom_score_adj))
    return pb.ContainerAdjustment(annotations=adjustment.annotations, linux=linux)


def created(
    pod: Sandbox, container: RuntimeContainer, values: RuleValues, made: Adjustment, outcome: str
) -> ContainerCreated:
    """Return the event about a container that a rule has values for."""
    return ContainerCreated(
        container_id=container.id,
        namespace=pod.namespace,
        pod=pod.name,
        container=container.name,
        rule=values.rule,
        outcome=outcome,
        oom_score_adj=made.oom_score_adj,
        asked=container.oom_score_adj,
        cgroups_path=made.cgroups_path,
        unified=made.unified,
    )
