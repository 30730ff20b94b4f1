"""A container runtime's report of a pod and of a container: one shape for CRI and NRI.

A container's own labels and annotations are not kept: they are the kubelet's book-keeping, and rules and people use the
pod's.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct, field
from msgspec.structs import replace

from holdfast.interning import Interned

#: Longer values are not kept: they hold manifests (``last-applied-configuration``), by which no rule selects.
LONGEST_VALUE = 1024
SHARED = 24  # shorter values are the same on many pods
#: Of the labels, and of the annotations, of one pod: its author chooses them, and each is checked for each process.
MOST_VALUES, MOST_VALUES_BYTES = 128, 16 * 1024


#: Ids, names, keys and short values, which many records have in common.
def _as_is(text: str) -> str:
    return text


interned = Interned(_as_is, 16_384)
_NONE: Mapping[str, str] = MappingProxyType({})


class ContainerState(enum.Enum):
    """The state of a container (CRI's ContainerState, NRI's with ``PAUSED`` as running)."""

    CREATED = "created"
    RUNNING = "running"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


class PodRecord(Struct, frozen=True, gc=False):
    """A pod sandbox. ``uid`` with dashes as the kubelet gives it, ``cgroup_parent`` as the runtime received it.

    ``cut``: it has more labels or annotations than are kept.
    """

    sandbox_id: str
    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=lambda: _NONE)
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)
    cgroup_parent: str = ""
    created_at_ns: int = 0
    cut: bool = False


class ContainerRecord(Struct, frozen=True, gc=False):
    """A container. A field that is not known yet is empty, 0 or None, and does not replace a known value.

    ``oom_score_adj`` is the value the runtime gave the container's first process; ``oom_score_adj_asked`` the value the
    kubelet asked the runtime for, where that is reported. ``pid`` in the runtime's (the host's) pid namespace, 0 while
    it does not run; ``start_ticks`` (field 22 of proc_pid_stat(5)) was read beside it and shows that it is still the
    same process; a source that has not read it leaves it 0. ``memory_limit`` in bytes, 0: none known.
    ``unsplit_group``: see `cgroup_path.unsplit_group`, read beside it as well. ``detailed`` False: from a list, which
    does not name the container's cgroup; its pod is not reported until it is detailed.
    """

    id: str
    sandbox_id: str
    name: str
    state: ContainerState = ContainerState.UNKNOWN
    pid: int = 0
    start_ticks: int = 0
    oom_score_adj: int | None = None
    oom_score_adj_asked: int | None = None
    memory_limit: int = 0
    cgroups_path: str = ""
    created_at_ns: int = 0
    started_at_ns: int = 0
    detailed: bool = True
    unsplit_group: str = ""

    def merged(self, update: ContainerRecord) -> ContainerRecord:
        """Return ``update`` with the fields that only the earlier record has; a restarted container keeps none."""
        if update.started_at_ns and self.started_at_ns and update.started_at_ns != self.started_at_ns:
            return update
        if update.pid and self.pid and update.pid != self.pid:
            return update
        known = {
            name: getattr(self, name)
            for name in _DETAILS
            if getattr(update, name) in (None, 0, "", ContainerState.UNKNOWN)
        }
        if update.oom_score_adj is not None:  # 0 is a value here
            known.pop("oom_score_adj", None)
        if update.oom_score_adj_asked is not None:
            known.pop("oom_score_adj_asked", None)
        return replace(update, **known) if known else update


_DETAILS = tuple(name for name in ContainerRecord.__struct_fields__ if name not in ("id", "sandbox_id"))


def kept(values: Mapping[str, str]) -> tuple[Mapping[str, str], bool]:
    """Return labels or annotations as they are kept: read-only, without long values and the kubelet's own marks.

    These marks (``io.kubernetes.pod.name`` and the like) repeat fields of a record. If there are more than
    `MOST_VALUES`, or `MOST_VALUES_BYTES`, the shortest are kept; then the second of the pair is True.
    """
    found = [
        (key, value)
        for key, value in values.items()
        if len(value) <= LONGEST_VALUE and not key.startswith("io.kubernetes.")
    ]
    if not found:
        return _NONE, False
    cut = len(found) > MOST_VALUES or sum(map(_size, found)) > MOST_VALUES_BYTES
    if cut:
        found = _shortest(found)
    pairs = ((interned(key), interned(value) if len(value) <= SHARED else value) for key, value in found)
    return MappingProxyType(dict(pairs)), cut


def _size(pair: tuple[str, str]) -> int:
    return len(pair[0]) + len(pair[1])


def _shortest(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    room, shortest = MOST_VALUES_BYTES, []
    for pair in sorted(pairs, key=lambda pair: (_size(pair), pair))[:MOST_VALUES]:
        room -= _size(pair)
        if room < 0:
            break
        shortest.append(pair)
    return shortest
