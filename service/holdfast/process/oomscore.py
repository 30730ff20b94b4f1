"""``oom_score_adj``: check, read, and write it with a read-back.

The kernel's rules (Documentation/filesystems/proc.rst §3.1, fs/proc/base.c): -1000 (never kill) to 1000. Raising is
free. Going below the lowest value a process with CAP_SYS_RESOURCE last gave it needs that capability, in the
*initial* user namespace. Children inherit the value and an exec keeps it. Threads share one value.
"""

from __future__ import annotations

import errno

from holdfast import kernel_text
from holdfast.errors import InvalidArgument, KernelRefused
from holdfast.process.identity import OpenProcess

MIN = -1000
MAX = 1000
FILE = "oom_score_adj"
CAPABILITY = "CAP_SYS_RESOURCE"
_SHARED = tuple(range(MIN, MAX + 1))  # one object for equal values: each known process has three


def check(value: int) -> int:
    """Return the value if the kernel accepts it.

    Raises:
        InvalidArgument: it is out of range; the text is containerd's.
    """
    if not MIN <= value <= MAX:
        raise InvalidArgument(f"value out of range ({value}): OOM score must be between {MIN} and {MAX}")
    return value


def parsed(text: bytes) -> int:
    """Return the number in the file.

    Raises:
        UnknownKernelText: there is none.
    """
    try:
        value = int(text)
    except ValueError:
        raise kernel_text.malformed(f"{FILE} of a process") from None
    return _SHARED[value - MIN] if MIN <= value <= MAX else value


def read(process: OpenProcess) -> int:
    """Return the process's current value.

    Raises:
        ProcessGone: the process ended.
        UnknownKernelText: the text is no number.
    """
    return parsed(process.peek(FILE))


def write(process: OpenProcess, value: int) -> None:
    """Set the process's value, and read it back; the errors are those of `replace`."""
    _set(process, value, None)


def replace(process: OpenProcess, old: int, new: int) -> bool:
    """Set the process's value and read it back, if it is still ``old``; False: another program wrote another one.

    The kernel has no compare-and-set: a value that is written in the microsecond between the read and the write is
    lost (`last_look.replace`).

    Raises:
        InvalidArgument: out of range.
        ProcessGone: the process ended.
        KernelRefused: not permitted (the remedy names the capability), or the value read back is another one
            because another program wrote at the same moment (EAGAIN).
    """
    return _set(process, new, b"%d\n" % old)


def _set(process: OpenProcess, value: int, old: bytes | None) -> bool:
    check(value)
    try:
        present = process.exchange(FILE, b"%d" % value, old)
    except KernelRefused as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            error.remedy = f"lowering it to {value} needs {CAPABILITY} in the initial user namespace (a privileged pod)"
        raise
    if present is None:
        return False
    if parsed(present) != value:
        raise KernelRefused(
            "write", f"{process.pid}/{FILE}", errno.EAGAIN, "another program sets it too; find and stop it"
        )
    return True
