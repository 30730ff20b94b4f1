"""The daemon's own oom_score_adj and cgroup: the first thing of a boot, so that all of it lives under them.

containerd's rules. An ``oom_score`` of 0 means "leave it alone"; one that cannot be had is logged, and the boot goes
on; not being allowed is silence for who cannot expect to be (not root, or root of a user namespace). The cgroup is
the opposite: every error ends the boot. v1 joins the group where it exists and makes it everywhere when it is
nowhere. v2, where containerd only joins, makes it too, with the controllers a daemon is watched and limited by.
"""

from __future__ import annotations

import errno
import os

from holdfast import kernel_text, log
from holdfast.cgroups import UNIFIED, Hierarchy, Mode, detect, is_below_the_mount
from holdfast.cgroups.face import checked_path
from holdfast.errors import BootError, HoldfastError, InvalidArgument, KernelRefused
from holdfast.process import namespace, oomscore

LOG = log.named(__name__)

#: What a service manager limits a daemon by; enabled down the path of a group we make on v2, as far as the host has it.
OWN_CONTROLLERS = frozenset({"cpu", "io", "memory", "pids"})
_NO_USER_NAMESPACE = [b"0", b"0", b"4294967295"]


def apply_to_self(oom_score: int, cgroup_path: str, *, proc_root: str, cgroup_root: str) -> None:
    """Bring ``oom_score`` (0: as it is) and ``cgroup.path`` (empty: as it is) into force for this process.

    To be called before there are threads: in a container that has the host's cgroup tree mounted, it first enters the
    host's cgroup namespace, in which that tree has the names that everybody else uses.

    Raises:
        BootError: the cgroup could not be made or joined.
    """
    see_whole_host(proc_root, cgroup_root)
    if oom_score:
        _set_oom_score(oom_score, proc_root)
    if cgroup_path:
        try:
            _enter_cgroup(cgroup_path, proc_root, cgroup_root)
        except KernelRefused as error:
            raise BootError(error.advice) from error
        except HoldfastError as error:
            raise BootError(f"cgroup.path: {error.message}") from error


def see_whole_host(proc_root: str, cgroup_root: str) -> bool:
    """Enter the cgroup namespace of pid 1 where the tree mounted for us is the host's and our namespace is not.

    For the calling thread and those it starts later, so to be called before there are others. A refusal is logged.
    Answers whether it entered.
    """
    try:
        if not is_below_the_mount(proc_root, cgroup_root):
            return False
        namespace.enter(f"{proc_root}/1/ns/cgroup", namespace.CGROUP)
    except KernelRefused as error:
        LOG.warning("the cgroups of other processes cannot be named", error=error.advice)
        return False
    return True


def _set_oom_score(score: int, proc_root: str) -> None:
    LOG.debug(f"changing OOM score to {score}")
    try:
        oomscore.check(score)
        permitted = _write_own(score, proc_root)
    except InvalidArgument as error:
        LOG.error(f"failed to change OOM score to {score}", error=error.message)
    except KernelRefused as error:
        LOG.error(f"failed to change OOM score to {score}", error=error)
    else:
        if not permitted:
            LOG.debug(f"not permitted to change OOM score to {score}")


def _write_own(score: int, proc_root: str) -> bool:
    """Write our own value; False where not being permitted is what was to be expected."""
    path = f"{proc_root}/{os.getpid()}/{oomscore.FILE}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelRefused("open", path, error.errno or 0) from error
    try:
        os.write(descriptor, b"%d" % score)
    except OSError as error:
        unprivileged = os.geteuid() != 0 or _in_user_namespace(proc_root)
        if error.errno in (errno.EACCES, errno.EPERM) and unprivileged:
            return False
        raise KernelRefused("write", path, error.errno or 0) from error
    finally:
        os.close(descriptor)
    return True


def _in_user_namespace(proc_root: str) -> bool:
    """Whether the first line of our uid_map is not the initial namespace's; no file means there are none."""
    try:
        return kernel_text.words(kernel_text.read(f"{proc_root}/self/uid_map").rstrip(b"\n")) != _NO_USER_NAMESPACE
    except KernelRefused as error:
        if error.errno == errno.ENOENT:
            return False
        raise


def _enter_cgroup(wanted: str, proc_root: str, cgroup_root: str) -> None:
    path = checked_path(wanted)
    hierarchy = detect(proc_root, cgroup_root)
    try:
        if hierarchy.mode is Mode.NONE:
            raise BootError(f"{path}: no cgroup file system is mounted at {cgroup_root}")
        names = (UNIFIED,) if hierarchy.mode is Mode.UNIFIED else hierarchy.v1_names
        existing = hierarchy.where(path, names)
        if not existing:
            hierarchy.create(path, names, _own_controllers(hierarchy))
        hierarchy.join(path, os.getpid(), existing or names)
    finally:
        hierarchy.close()
    LOG.debug("joined cgroup", path=path, mode=hierarchy.mode, created=not existing)


def _own_controllers(hierarchy: Hierarchy) -> frozenset[str]:
    unified = hierarchy.trees.get(UNIFIED)
    return OWN_CONTROLLERS & unified.controllers() if unified is not None else frozenset()
