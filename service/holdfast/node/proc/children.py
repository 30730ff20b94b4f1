"""The children that a process started before the kernel's events report its forks, as the kernel lists them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from holdfast import kernel_text
from holdfast.errors import KernelRefused


def children_of(proc_root: str, pid: int) -> Iterator[int]:
    """Yield the children of all threads of a process (proc_pid_task(5), ``children``); none when it is gone.

    Also none on a kernel without CONFIG_PROC_CHILDREN, where the next rescan finds them.

    Raises:
        KernelRefused: no descriptor or memory is left; the process may have children.
    """
    tasks = f"{proc_root}/{pid}/task"
    try:
        for thread in os.listdir(tasks):
            # 1201 1202 1207
            yield from map(int, kernel_text.words(kernel_text.read(f"{tasks}/{thread}/children").rstrip(b"\n")))
    except (OSError, KernelRefused, ValueError) as error:
        refused = KernelRefused("read", tasks, getattr(error, "errno", None) or 0)
        if refused.is_want:
            raise refused from error
