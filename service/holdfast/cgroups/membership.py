"""Which groups a process is in: ``/proc/PID/cgroup``, cgroups(7)."""

from __future__ import annotations

from holdfast.errors import KernelRefused, ProcessGone
from holdfast.interning import Interned

_interned = Interned()


def parse_groups(text: bytes) -> dict[str, str]:
    """Path by hierarchy name. A path may hold colons; a removed group's carries `` (deleted)``.

    Names and paths are interned: ten thousand processes share a few hundred of them.
    """
    # 4:memory:/kubepods/burstable/pod1   ·   1:name=systemd:/a:b   ·   0::/system.slice/ssh.service
    groups: dict[str, str] = {}
    for line in text.split(b"\n"):  # a path may hold any other byte, \r and \v too
        if line:
            _, name, path = line.decode(errors="surrogateescape").split(":", 2)
            groups[_interned(name)] = _interned(path)
    return groups


def groups_of(pid: int | str, proc_root: str) -> dict[str, str]:
    """The groups of a process (``"self"`` for the caller), by hierarchy name.

    Raises:
        ProcessGone: nobody has the number.
        KernelRefused: it cannot be read.
    """
    path = f"{proc_root}/{pid}/cgroup"
    try:
        with open(path, "rb", buffering=0) as file:
            return parse_groups(file.readall())
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessGone(f"{pid}") from error
    except OSError as error:
        raise KernelRefused("read", path, error.errno or 0) from error
