"""The cgroups of a cluster: one root in every hierarchy, and every process of the cluster below it.

A process stays below the root whatever it forks, so that the root is the list of what must end.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.running import SLOW

ENDS_S = 60.0 * SLOW


def hierarchies() -> list[Path]:
    """The cgroup hierarchies of this machine: several with v1, one with v2, all of them on a hybrid machine."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    kinds = {line[4]: line[line.index("-") + 1] for line in lines}
    return [Path(where) for where, kind in kinds.items() if kind in ("cgroup", "cgroup2")]


@dataclass(frozen=True, slots=True)
class CgroupTree:
    """The groups of this name at the top of every hierarchy."""

    name: str

    @property
    def roots(self) -> list[Path]:
        """The root in each hierarchy, whether it exists or not."""
        return [hierarchy / self.name for hierarchy in hierarchies()]

    def make(self, *below: str) -> None:
        """Create the root and these groups below it."""
        for root in self.roots:
            delegate(root.parent)
            for group in (root, *(root / name for name in below)):
                group.mkdir(parents=True, exist_ok=True)
                inherit_cpuset(group)
            if below:
                delegate(root)

    def entry(self, below: str) -> list[Path]:
        """Files that take a process's pid to put it into this group."""
        return [root / below / "cgroup.procs" for root in self.roots]

    def processes(self) -> set[int]:
        """Pids of all processes below the root, zombies excepted."""
        return {pid for root in self.roots for group in groups(root) for pid in members(group)}

    def kill(self) -> None:
        """End every process below the root and wait until they are gone."""
        deadline = time.monotonic() + ENDS_S
        while left := self.processes():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            reap()
            if time.monotonic() > deadline:
                raise TimeoutError(f"still there after {ENDS_S} s in {self.name}: {sorted(left)}")
            time.sleep(0.02)

    def remove(self) -> None:
        """Remove the groups; the kernel may keep one busy for a moment after its last process."""
        deadline = time.monotonic() + ENDS_S
        for root in self.roots:
            for group in reversed(list(groups(root))):
                while group.exists():
                    try:
                        group.rmdir()
                    except OSError:
                        if time.monotonic() > deadline:
                            raise
                        time.sleep(0.02)


def groups(root: Path) -> Iterator[Path]:
    """The group and all groups below it, parents first; what does not exist, or is removed meanwhile, is left out."""
    try:
        below = sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:
        return
    yield root
    for path in below:
        yield from groups(path)


def members(group: Path) -> list[int]:
    """Processes in this very group. A zombie is listed until its parent has read its status."""
    with suppress(OSError):
        return [pid for pid in map(int, (group / "cgroup.procs").read_text().split()) if not is_zombie(pid)]
    return []


def is_zombie(pid: int) -> bool:
    """Whether only the process's status is left."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def reap() -> None:
    """Collect the status of every child that ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def inherit_cpuset(group: Path) -> None:
    """A new v1 cpuset is empty, and takes no process until it has processors and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = group / name
        if file.exists() and not (group / "cgroup.subtree_control").exists() and not file.read_text().strip():
            file.write_text((group.parent / name).read_text())


def delegate(group: Path) -> None:
    """Give the groups below a v2 group every controller; a group that has processes of its own cannot."""
    control = group / "cgroup.subtree_control"
    if control.exists():
        for name in (group / "cgroup.controllers").read_text().split():
            with suppress(OSError):
                control.write_text(f"+{name}")
