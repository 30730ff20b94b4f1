"""The refusal of a rule for a write that the kernel or the journal refused."""

from __future__ import annotations

import errno

from holdfast.errors import HoldfastError, KernelRefused, NotFound, Unavailable
from holdfast.node.model.decision import Field, Reason, Refusal

#: errno of a refused write → the reason it is counted under.
_REASONS = {
    errno.EACCES: Reason.CAPABILITY,
    errno.EPERM: Reason.CAPABILITY,
    errno.EBUSY: Reason.INTERNAL_PROCESS,
    errno.EOPNOTSUPP: Reason.THREADED,
    errno.ENOSPC: Reason.CPUSET,
    errno.EINVAL: Reason.BAD_VALUE,
    errno.ERANGE: Reason.BAD_VALUE,
    errno.ENOENT: Reason.NO_CONTROLLER,
}


def refusal_of(error: HoldfastError, which: Field) -> Refusal:
    """Return the rule's refusal for a refused write."""
    if isinstance(error, KernelRefused):
        reason = _REASONS.get(error.errno, Reason.KERNEL)
        if which is Field.CGROUP and error.errno == errno.EINVAL:
            reason = Reason.KERNEL
        return Refusal(reason, which, error.advice)
    if isinstance(error, Unavailable):
        return Refusal(Reason.JOURNAL, which, error.message)
    return Refusal(Reason.NO_CONTROLLER if isinstance(error, NotFound) else Reason.KERNEL, which, str(error))
