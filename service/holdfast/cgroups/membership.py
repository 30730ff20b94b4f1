"""The groups of a process: ``/proc/PID/cgroup``, cgroups(7)."""

from __future__ import annotations

import errno

from holdfast import kernel_text
from holdfast.errors import KernelRefused, ProcessGone


def parse_groups(text: bytes) -> dict[str, str]:
    """Return the paths by hierarchy. A path may hold any byte but ``\\n``; a removed group's carries `` (deleted)``.

    Raises:
        UnknownKernelText: a line is no ``number:name:path``.
    """
    # 4:memory:/kubepods/burstable/pod1   ·   1:name=systemd:/a:b   ·   0::/system.slice/ssh.service
    groups: dict[str, str] = {}
    for line in kernel_text.lines(text):
        number, _, rest = line.partition(b":")
        name, colon, path = rest.partition(b":")
        if not colon or not number.isdigit():
            raise kernel_text.malformed("cgroup of a process")
        groups[kernel_text.shared(name)] = kernel_text.shared(path)
    return groups


def is_member(text: bytes, hierarchy: str, group: str) -> bool:
    """Whether the text of ``/proc/PID/cgroup`` names this group; quicker than `parse_groups`."""
    line = b":%s:%s\n" % (kernel_text.encode(hierarchy), kernel_text.encode(group))
    at = text.find(line)
    while at >= 0:
        if text[text.rfind(b"\n", 0, at) + 1 : at].isdigit():  # else it is the end of another line's path
            return True
        at = text.find(line, at + 1)
    return False


def groups_of(pid: int | str, proc_root: str) -> dict[str, str]:
    """The groups of a process (``"self"`` for the caller), by hierarchy name.

    Raises:
        ProcessGone: no process has the number.
        KernelRefused: the file cannot be read.
    """
    try:
        return parse_groups(kernel_text.read(f"{proc_root}/{pid}/cgroup"))
    except KernelRefused as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):
            raise ProcessGone(f"{pid}") from error
        raise
