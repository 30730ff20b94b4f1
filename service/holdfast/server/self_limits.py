"""The daemon's own oom_score_adj and cgroup. The boot applies them before any plugin starts.

The rules are containerd's. An ``oom_score`` of 0 changes nothing. A score that cannot be set is logged, and the boot
goes on; a missing permission is an error only where the daemon can expect to have it (root of the initial user
namespace). For the cgroup, every error ends the boot. On v1 the daemon joins the group in each hierarchy that has it,
and creates it in all hierarchies if none has it. On v2 containerd only joins; holdfast also creates the group, with the
controllers that monitor and limit a daemon.
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

#: Controllers by which a service manager limits a daemon; enabled along the path of a group we create on v2.
OWN_CONTROLLERS = frozenset({"cpu", "io", "memory", "pids"})
_NO_USER_NAMESPACE = [b"0", b"0", b"4294967295"]


def apply_to_self(oom_score: int, cgroup_path: str, *, proc_root: str, cgroup_root: str) -> None:
    """Apply ``oom_score`` (0: unchanged) and ``cgroup.path`` (empty: unchanged) to this process.

    Call it before threads exist: in a container with the host's cgroup tree mounted, it first enters the host's cgroup
    namespace, in which that tree has the names that all other programs use.

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
    """Enter the cgroup namespace of pid 1 if the mounted cgroup tree is the host's and our namespace is not.

    It applies to the calling thread and the threads that this one starts later, so call it before there are others. A
    refusal by the kernel is logged. Return whether the namespace was entered.
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
    """Write our own value; return False if the permission is missing and this was to be expected."""
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
    """Whether our uid_map differs from that of the initial namespace; without the file there are no user namespaces."""
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
