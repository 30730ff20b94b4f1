"""Groups that a runtime makes for a test's pods: removed in each hierarchy, with what a failed test left in them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.running import until


def remove(name: str) -> None:
    """End the processes in the group of this name and below it, and remove the groups; a shim may remove them, too."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines() if " cgroup" in line]
    for mount in mounts:
        until(lambda top=Path(mount[4], name): _is_removed(top), f"{name} is removed from {mount[4]}")


def _is_removed(top: Path) -> bool:
    for folder, _, _ in os.walk(top, topdown=False):
        with suppress(OSError):  # it is gone since it was listed, or a process in it is still ending
            for pid in Path(folder, "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            Path(folder).rmdir()
    return not top.exists()
