"""CRI's responses as records. Nothing here makes a call.

A list is read in two steps: its bytes are cut into items, which costs a microsecond each, and only an item whose
bytes are new is parsed. On a node where nothing happened a relist of 500 pods is a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import msgspec

from holdfast.api.runtime.v1 import runtime_pb2 as pb
from holdfast.pods.record import ContainerRecord, ContainerState, PodRecord, interned, kept

_STATES = {
    pb.CONTAINER_CREATED: ContainerState.CREATED,
    pb.CONTAINER_RUNNING: ContainerState.RUNNING,
    pb.CONTAINER_EXITED: ContainerState.STOPPED,
    pb.CONTAINER_UNKNOWN: ContainerState.UNKNOWN,
}
_ITEM = 0x0A  # field 1, length-delimited: the items of both lists


R = TypeVar("R", PodRecord, ContainerRecord)


def pod_record(sandbox: pb.PodSandbox) -> PodRecord:
    """A sandbox."""
    (labels, cut), (annotations, cut_too) = kept(sandbox.labels), kept(sandbox.annotations)
    return PodRecord(
        interned(sandbox.id),
        sandbox.metadata.uid,
        sandbox.metadata.namespace,
        sandbox.metadata.name,
        labels,
        annotations,
        created_at_ns=sandbox.created_at,
        cut=cut or cut_too,
    )


def container_record(container: pb.Container) -> ContainerRecord:
    """A container, as a list reports it."""
    return ContainerRecord(
        container.id,
        interned(container.pod_sandbox_id),
        interned(container.metadata.name),
        _STATES[container.state],
        created_at_ns=container.created_at,
        detailed=False,
    )


def is_ready(sandbox: pb.PodSandbox) -> bool:
    """Whether a sandbox counts: the processes of a sandbox that is not ready have ended, or are about to end."""
    return bool(sandbox.state == pb.SANDBOX_READY)


def parse_pod(item: bytes) -> PodRecord | None:
    """A sandbox from its bytes; None when it is not ready."""
    some = pb.PodSandbox.FromString(item)
    return pod_record(some) if is_ready(some) else None


def parse_container(item: bytes) -> ContainerRecord | None:
    """A container from its bytes; None when it exited."""
    some = pb.Container.FromString(item)
    return container_record(some) if some.state != pb.CONTAINER_EXITED else None


def items(answer: bytes) -> Iterator[bytes]:
    """The bytes of each item of a ListPodSandboxResponse or ListContainersResponse.

    Raises:
        ValueError: it is not one.
    """
    at, end = 0, len(answer)
    while at < end:
        if answer[at] != _ITEM:
            raise ValueError(f"field {answer[at] >> 3} where a list has its items")
        at, length, shift = at + 1, 0, 0
        while True:
            if at >= end:
                raise ValueError("a list that ends within an item")
            byte = answer[at]
            at += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if at + length > end:
            raise ValueError("a list that ends within an item")
        yield answer[at : at + length]
        at += length


class Listing(Generic[R]):
    """One kind of list over time: the items that are new, and the ids of the unchanged ones."""

    def __init__(self, parse: Callable[[bytes], R | None], id_of: Callable[[R], str]) -> None:
        self._parse: Callable[[bytes], R | None] = parse
        self._id_of: Callable[[R], str] = id_of
        self._seen: dict[int, str] = {}  # hash of an item's bytes → id, empty for one that does not count

    def read(self, answer: bytes, is_known: Callable[[str], bool]) -> Iterator[R | str | None]:
        """Give an item at a time: a record if it is new, else its id; None for an item that does not count.

        Raises:
            ValueError: the answer is not a list.
        """
        seen: dict[int, str] = {}
        for item in items(answer):
            key = hash(item)
            known = self._seen.get(key)
            if known == "" or (known is not None and is_known(known)):
                seen[key] = known
                yield known or None
                continue
            record = self._parse(item)
            seen[key] = self._id_of(record) if record is not None else ""
            yield record
        self._seen = seen


# -- what "verbose" adds, as a JSON document:
# {"pid":4242,"config":{"linux":{"resources":{"oom_score_adj":985}}},"runtimeSpec":{"process":{"oomScoreAdj":985}}}


class _Resources(msgspec.Struct):
    oom_score_adj: int | None = None
    memory_limit_in_bytes: int = 0


class _ConfigLinux(msgspec.Struct):
    resources: _Resources | None = None


class _Config(msgspec.Struct):
    linux: _ConfigLinux | None = None


class _SpecProcess(msgspec.Struct):
    oomScoreAdj: int | None = None  # noqa: N815 (OCI's name)


class _SpecLinux(msgspec.Struct):
    cgroupsPath: str = ""  # noqa: N815


class _Spec(msgspec.Struct):
    process: _SpecProcess | None = None
    linux: _SpecLinux | None = None


class _Info(msgspec.Struct):
    pid: int = 0
    config: _Config | None = None
    runtimeSpec: _Spec | None = None  # noqa: N815


_INFO = msgspec.json.Decoder(_Info)


def detailed(record: ContainerRecord, answer: pb.ContainerStatusResponse) -> ContainerRecord:
    """Return a container with the data of its verbose status: pid, the values it was given, its start time.

    A runtime whose ``info`` is not the JSON we know gives less; that is no error.
    """
    status = answer.status
    info = _info_of(answer.info.get("info", ""))
    process = info.runtimeSpec.process if info.runtimeSpec else None
    linux = info.runtimeSpec.linux if info.runtimeSpec else None
    asked = info.config.linux.resources if info.config and info.config.linux else None
    told = status.resources.linux if status.HasField("resources") else None
    return ContainerRecord(
        record.id,
        record.sandbox_id,
        record.name,
        _STATES[status.state],
        info.pid,
        oom_score_adj=process.oomScoreAdj if process else None,
        oom_score_adj_asked=asked.oom_score_adj if asked else None,
        memory_limit=(asked.memory_limit_in_bytes if asked else 0) or (told.memory_limit_in_bytes if told else 0),
        cgroups_path=linux.cgroupsPath if linux else "",
        created_at_ns=status.created_at,
        started_at_ns=status.started_at,
    )


def _info_of(text: str) -> _Info:
    try:
        return _INFO.decode(text) if text else _Info()
    except msgspec.DecodeError:
        return _Info()
