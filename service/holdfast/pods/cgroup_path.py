"""A pod from the name of a cgroup: uid, QoS class and container id, without a query.

The names are the kubelet's (pkg/kubelet/cm: ``pod_container_manager_linux.go``, ``cgroup_manager_linux.go``) and the
container runtimes'. ``U`` is the uid, ``U_`` the same with ``-`` as ``_``, ``ID`` the container's id of hex digits.

=========================  ==========================================================================================
systemd, guaranteed        ``/kubepods.slice/kubepods-podU_.slice/cri-containerd-ID.scope``
systemd, the other two     ``/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_.slice/crio-ID.scope``
cgroupfs, guaranteed       ``/kubepods/podU/ID``
cgroupfs, the other two    ``/kubepods/besteffort/podU/crio-ID``
kubelet with systemd,      ``…/kubepods-burstable-podU_.slice:cri-containerd:ID``, one group below the runtime's own
runtime with cgroupfs
=========================  ==========================================================================================

All of it may lie below a prefix (``--cgroup-root``, kind's ``/kubelet.slice/kubelet-kubepods.slice/…``, a nested node),
and more groups may follow the container's (``container`` of crun, a systemd inside). On nested nodes the process is in
the innermost pod. Docker's and other runtimes' scopes have other prefixes before the id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

from msgspec import Struct, field

_NONE: Mapping[str, str] = MappingProxyType({})

#: A uid with dashes or underscores; static pods: 32 hex digits (the hash of their file).
_UID = r"(?P<uid>[0-9a-f]{8}(?P<dash>[-_])(?:[0-9a-f]{4}(?P=dash)){3}[0-9a-f]{12}|[0-9a-f]{32})"
_SYSTEMD = re.compile(rf"(?:[A-Za-z0-9_.:\\-]*-)?kubepods(?:-(?P<qos>burstable|besteffort))?-pod{_UID}\.slice\Z")
_UNSPLIT = re.compile(
    rf"(?:[A-Za-z0-9_.\\-]*-)?kubepods(?:-(?P<qos>burstable|besteffort))?-pod{_UID}\.slice"
    r":(?P<runtime>[a-z][a-z-]*)?:(?P<id>[0-9a-f]{64}|[0-9a-f]{32})\Z"
)
_CGROUPFS = re.compile(rf"pod{_UID}\Z")
_LEAF = re.compile(r"(?:(?P<runtime>[a-z][a-z-]*?)-)?(?P<id>[0-9a-f]{64}|[0-9a-f]{32})(?:\.scope)?\Z")
_NOT_CONTAINERS = frozenset({"crio-conmon", "libpod-conmon"})
_CACHED = 1024  # paths, of up to 4 KiB
_QOS = frozenset({"burstable", "besteffort"})


class PodRef(Struct, frozen=True):
    """A pod as its cgroup names it. Fields from ``namespace`` on are empty until a source that knows the pod sets them.

    ``cgroup`` is the pod's own group, ``group`` the container's (the pod's own for a process in no container).
    ``main`` is the container's first process, pid and start ticks. ``oom_score_adj`` is the value the runtime gave
    that process, ``oom_score_adj_asked`` the value the kubelet asked the runtime for. ``group_confirmed``: the runtime
    names this very group for the container.
    """

    uid: str
    qos: str
    container_id: str = ""
    cgroup: str = ""
    group: str = ""
    namespace: str = ""
    name: str = ""
    container: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: _NONE)
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)
    main: tuple[int, int] | None = None
    oom_score_adj: int | None = None
    oom_score_adj_asked: int | None = None
    group_confirmed: bool = False


@lru_cache(maxsize=_CACHED)
def pod_of_path(path: str) -> PodRef | None:
    """Return the pod a cgroup belongs to, or None. ``PodRef.cgroup`` is the pod's own group."""
    parts = path.split("/")
    for at in range(len(parts) - 1, 0, -1):
        if found := _UNSPLIT.match(parts[at]):
            group = "/".join(parts[: at + 1])
            return PodRef(_dashed(found["uid"]), found["qos"] or "guaranteed", found["id"], group, group)
        uid, qos = _pod_part(parts, at)
        if uid:
            container = _container(parts[at + 1 :])
            cgroup = "/".join(parts[: at + 1])
            return PodRef(uid, qos, container, cgroup, f"{cgroup}/{parts[at + 1]}" if container else cgroup)
    return None


@lru_cache(maxsize=_CACHED)
def container_of_path(path: str) -> PodRef | None:
    """Return the innermost group named after a container, at any path, without uid and class; None without one."""
    parts = path.split("/")
    for at in range(len(parts) - 1, 0, -1):
        if container := _container(parts[at:]):
            return PodRef("", "", container, "/".join(parts[:at]) or "/", "/".join(parts[: at + 1]))
    return None


def pod_of(cgroups: Mapping[str, str]) -> PodRef | None:
    """Return the pod of a process by its paths (by hierarchy); a path that also names the container is preferred."""
    best: PodRef | None = None
    for path in dict.fromkeys(cgroups.values()):
        if "kubepods" not in path:
            continue
        found = pod_of_path(path)
        if found is not None and found.container_id:
            return found
        best = best or found
    return best


def _pod_part(parts: list[str], index: int) -> tuple[str, str]:
    """Return uid (with dashes) and QoS class if ``parts[at]`` is a pod's group; else empty texts."""
    part = parts[index]
    if found := _SYSTEMD.match(part):
        return _dashed(found["uid"]), found["qos"] or "guaranteed"
    found = _CGROUPFS.match(part)
    if not found:
        return "", ""
    above = parts[index - 1]
    if above in _QOS and _is_root(parts[index - 2]):
        return _dashed(found["uid"]), above
    return (_dashed(found["uid"]), "guaranteed") if _is_root(above) else ("", "")


def _is_root(part: str) -> bool:
    """Whether this is the kubelet's top group on the cgroupfs driver, however prefixed."""
    return part == "kubepods" or part.endswith("-kubepods")


def _dashed(uid: str) -> str:
    return uid.replace("_", "-")


def _container(below: list[str]) -> str:
    if not below:
        return ""
    found = _LEAF.match(below[0])
    return found["id"] if found and found["runtime"] not in _NOT_CONTAINERS else ""


def names_group(cgroups_path: str, group: str, unsplit: str = "") -> bool:
    """Whether ``cgroups_path``, a runtime's name for a container's cgroup, means this group.

    From a kubelet's systemd name (``SLICE:PREFIX:ID``) a runtime with cgroupfs makes one group, wherever its own group
    is. A user may give a group of theirs that name, so the path is no proof: ``unsplit`` is the group of that name in
    which the container's first process was found.
    """
    if not cgroups_path:
        return False
    return group in (group_of(cgroups_path), unsplit or None)


def unsplit_group(cgroups_path: str, paths: Iterable[str]) -> str:
    """Return the group that has all of ``SLICE:PREFIX:ID`` as its name, among the paths of a process; empty: none."""
    if ":" in cgroups_path and not cgroups_path.startswith("/"):
        for path in paths:
            above, found, _ = f"{path}/".partition(f"/{cgroups_path}/")
            if found:
                return f"{above}/{cgroups_path}"
    return ""


def group_of(cgroups_path: str) -> str:
    """Return the path of a container's own cgroup below the root; empty if ``cgroups_path`` gives none.

    ``/kubepods/burstable/podU/ID`` (cgroupfs) or ``kubepods-burstable-podU.slice:cri-containerd:ID`` (systemd, whose
    slices are nested by the dashes of their names, systemd.slice(5)).
    """
    if cgroups_path.startswith("/"):
        return cgroups_path.rstrip("/")
    slice_name, colon, scope = cgroups_path.partition(":")
    prefix, colon, name = scope.partition(":") if colon else ("", "", "")
    if not colon or not slice_name.endswith(".slice") or not name:
        return ""
    words = slice_name.removesuffix(".slice").split("-")
    slices = [f"{'-'.join(words[:at])}.slice" for at in range(1, len(words) + 1)]
    return f"/{'/'.join(slices)}/{prefix + '-' if prefix else ''}{name}.scope"
