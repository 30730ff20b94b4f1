"""Conversion between NRI's messages and our values."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.api.nri.events.created_pb2 import ContainerCreated
from holdfast.api.nri.v1alpha1 import nri_pb2 as pb
from holdfast.node.plan.creation import ContainerAdjustment
from holdfast.pods.record import ContainerRecord, ContainerState, PodRecord, kept

#: The annotation of a container that was created with our values, for people: the values and the rule.
ANNOTATION = "holdfast.dev/at-creation"
_STATES: Mapping[int, ContainerState] = {
    pb.CONTAINER_CREATED: ContainerState.CREATED,
    pb.CONTAINER_PAUSED: ContainerState.RUNNING,
    pb.CONTAINER_RUNNING: ContainerState.RUNNING,
    pb.CONTAINER_STOPPED: ContainerState.STOPPED,
}


def pod_record(pod: pb.PodSandbox) -> PodRecord:
    """Return a pod."""
    (labels, cut), (annotations, cut_too) = kept(pod.labels), kept(pod.annotations)
    return PodRecord(
        pod.id, pod.uid, pod.namespace, pod.name, labels, annotations, pod.linux.cgroup_parent, cut=cut or cut_too
    )


def container_record(container: pb.Container) -> ContainerRecord:
    """Return a container; a state that NRI does not define becomes UNKNOWN."""
    linux = container.linux
    adj = linux.oom_score_adj.value if linux.HasField("oom_score_adj") else None
    return ContainerRecord(
        container.id,
        container.pod_sandbox_id,
        container.name,
        _STATES.get(container.state, ContainerState.UNKNOWN),
        container.pid,
        oom_score_adj=adj,
        oom_score_adj_asked=adj,
        cgroups_path=linux.cgroups_path,
    )


def adjust(made: ContainerAdjustment, container: ContainerRecord) -> pb.ContainerAdjustment:
    """Return an answer. A value of 0 is sent as an empty message, which differs from an absent one."""
    linux = pb.LinuxContainerAdjustment(cgroups_path=made.group)
    if made.settings:
        linux.resources.unified.update(made.settings)
    words = [f"rule={made.rule}"]
    if made.oom_score_adj is not None:
        linux.oom_score_adj.CopyFrom(pb.OptionalInt(value=made.oom_score_adj))
        before = "unset" if container.oom_score_adj is None else container.oom_score_adj
        words.append(f"oom_score_adj={made.oom_score_adj} asked={before}")
    if made.group:
        words.append(f"cgroup={made.group}")
    words += [f"{file}={value}" for file, value in made.settings.items()]
    return pb.ContainerAdjustment(annotations={ANNOTATION: " ".join(words)}, linux=linux)


def created(pod: PodRecord, container: ContainerRecord, made: ContainerAdjustment, outcome: str) -> ContainerCreated:
    """Return the event about a container that a rule has values for."""
    return ContainerCreated(
        container_id=container.id,
        namespace=pod.namespace,
        pod=pod.name,
        container=container.name,
        rule=made.rule,
        outcome=outcome,
        oom_score_adj=made.oom_score_adj,
        asked=container.oom_score_adj,
        cgroups_path=made.group,
        unified=made.settings,
    )
