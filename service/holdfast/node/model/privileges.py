"""The privileges that this process lacks to place other processes: each with its effect and its remedy.

They are checked beforehand, because a pod that lacks a privilege looks healthy: without the host's PID namespace it
sees its own processes, and no error occurs. Sources: pid_namespaces(7), proc(5) on ``hidepid``, cgroup_namespaces(7),
capabilities(7).
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from holdfast.cgroups import Foreign

CAPABILITIES = {
    "CAP_SYS_RESOURCE": "an oom_score_adj can be raised, not lowered",
    "CAP_DAC_OVERRIDE": "processes of other users cannot be written to",
    "CAP_SYS_PTRACE": "the programs (exe) of other users' processes cannot be read",
}
_PAUSE = "pause"  # the first process of a pod that shares its PID namespace


class Privileges(Struct, frozen=True):
    """The machine as this process sees it.

    ``init_in_pod``: pid 1 is in a pod's cgroup. ``hidepid`` is the mount option's value, empty for none, and
    ``hidepid_gid`` the group it lets through. ``without_cgroups``: why there is no cgroup tree to use, or empty.
    """

    own_pid: int = 2
    initial_pids: bool = True
    init_comm: str = "systemd"
    init_in_pod: bool = False
    initial_users: bool = True
    capabilities: frozenset[str] = frozenset(CAPABILITIES)
    hidepid: str = ""
    hidepid_gid: int = 0
    gids: frozenset[int] = frozenset({0})
    without_cgroups: str = ""
    cgroups_writable: bool = True


class MissingPrivilege(Struct, frozen=True):
    """One missing privilege. ``disabling``: without it nothing at all can be enforced here."""

    what: str
    effect: str
    remedy: str
    disabling: bool = False


def lacks(seen: Privileges) -> tuple[MissingPrivilege, ...]:
    """All missing privileges, the worst first."""
    return tuple(_lacks(seen))


def _lacks(seen: Privileges) -> Iterator[MissingPrivilege]:
    if _has_own_pids(seen):
        yield MissingPrivilege(
            "the host's PID namespace",
            "only this container's own processes are seen; no rule is enforced for others",
            "hostPID: true in the pod, --pid host for docker",
            disabling=True,
        )
    yield from _cgroups(seen)
    if not seen.initial_users:
        yield MissingPrivilege(
            "the host's user namespace",
            "its capabilities count for nothing outside the container; the kernel refuses most writes",
            "hostUsers: true in the pod, --userns host for docker",
        )
    elif missing := [name for name in CAPABILITIES if name not in seen.capabilities]:
        yield MissingPrivilege(
            ", ".join(missing),
            "; ".join(CAPABILITIES[name] for name in missing),
            "securityContext.capabilities.add or privileged in the pod, --cap-add for docker, root elsewhere",
        )
    if _hides(seen):
        yield MissingPrivilege(
            f"the processes of other users (/proc is mounted with hidepid={seen.hidepid})",
            "they are not seen, and no rule is enforced for them",
            "CAP_SYS_PTRACE, or /proc mounted with hidepid=0",
        )


def _has_own_pids(seen: Privileges) -> bool:
    """Whether pid 1 is this process, or a pod's first one.

    A nested node (kind) is a host, too: its pid 1 is in no pod.
    """
    if seen.initial_pids:
        return False
    return seen.own_pid == 1 or seen.init_in_pod or seen.init_comm == _PAUSE


def _cgroups(seen: Privileges) -> Iterator[MissingPrivilege]:
    remedy = "mount the host's /sys/fs/cgroup there, writable: a hostPath volume in the pod, --volume for docker"
    if seen.without_cgroups == Foreign.NAMESPACE:
        remedy = "CAP_SYS_ADMIN and CAP_SYS_PTRACE in the pod, --cgroupns host for docker"
    if seen.without_cgroups:
        effect = "an oom_score_adj is enforced; nothing is moved, no cgroup setting is written"
        yield MissingPrivilege(f"the host's cgroup tree ({seen.without_cgroups})", effect, remedy)
    elif not seen.cgroups_writable:
        effect = "an oom_score_adj is enforced; moves and cgroup settings are refused"
        yield MissingPrivilege("permission to write the host's cgroup tree", effect, remedy)


def _hides(seen: Privileges) -> bool:
    if seen.hidepid in ("", "0", "off") or "CAP_SYS_PTRACE" in seen.capabilities:
        return False
    return seen.hidepid in ("4", "ptraceable") or seen.hidepid_gid not in seen.gids
