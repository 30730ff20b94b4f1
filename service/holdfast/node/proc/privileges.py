"""Read this process's view of the machine (`model.privileges.Privileges`) from /proc."""

from __future__ import annotations

import os

from holdfast import kernel_text
from holdfast.cgroups import groups_of
from holdfast.errors import HoldfastError, KernelRefused
from holdfast.node.model.privileges import Privileges
from holdfast.node.model.process import PodLookup
from holdfast.node.proc.host import capabilities, in_initial_user_namespace

_INITIAL_PIDS = "pid:[4026531836]"  # PROC_PID_INIT_INO, include/linux/proc_ns.h: fixed for the machine's own namespace


def read_vantage(proc_root: str, pods: PodLookup, *, without_cgroups: str, cgroups_writable: bool) -> Privileges:
    """Return the view of this process.

    A value that cannot be read counts as the usual one of a host, so that nothing is reported without a reason.
    """
    hidepid, gid = _hidepid(proc_root)
    return Privileges(
        own_pid=os.getpid(),
        initial_pids=_initial_pids(proc_root),
        init_comm=_text(f"{proc_root}/1/comm"),
        init_in_pod=_init_in_pod(proc_root, pods),
        initial_users=in_initial_user_namespace(proc_root),
        capabilities=capabilities(proc_root),
        hidepid=hidepid,
        hidepid_gid=gid,
        gids=frozenset({os.getegid(), *os.getgroups()}),
        without_cgroups=without_cgroups,
        cgroups_writable=cgroups_writable,
    )


def _initial_pids(proc_root: str) -> bool:
    try:
        return os.readlink(f"{proc_root}/self/ns/pid") == _INITIAL_PIDS
    except OSError:
        return True


def _init_in_pod(proc_root: str, pods: PodLookup) -> bool:
    try:
        return pods.pod_of(groups_of(1, proc_root)) is not None
    except HoldfastError:
        return False


def _hidepid(proc_root: str) -> tuple[str, int]:
    """The option of the /proc that we read, and its ``gid=``; of several mounts at one place the last is visible."""
    # 60 58 0:48 / /proc rw,nosuid - proc proc rw,gid=27,hidepid=invisible
    found: dict[str, str] = {}
    try:
        for line in kernel_text.each_line(f"{proc_root}/self/mountinfo"):
            left, _, right = line.partition(b" - ")
            fields = left.split(b" ")
            if right.startswith(b"proc ") and len(fields) > 4 and kernel_text.decode(fields[4]) == proc_root:
                words = kernel_text.decode(right.rpartition(b" ")[2]).split(",")
                found = dict(word.partition("=")[::2] for word in words)
    except KernelRefused:
        return "", 0
    gid = found.get("gid", "0")
    return found.get("hidepid", ""), int(gid) if gid.isdecimal() else 0


def _text(path: str) -> str:
    try:
        return kernel_text.decode(kernel_text.read(path).removesuffix(b"\n"))
    except KernelRefused:
        return ""
