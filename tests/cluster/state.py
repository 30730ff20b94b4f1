"""The files of a cluster, and its own processes."""

from __future__ import annotations

import fcntl
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests import guest

REPOSITORY = Path(__file__).parents[2]
CACHE = REPOSITORY / ".cache" / "cluster"
#: Where the clusters' folders are. In the guest the checkout is on virtiofs, which is not among the file systems that
#: cAdvisor knows, and so no kubelet starts on it; the folder for temporary files is in memory there.
CLUSTERS = Path(tempfile.gettempdir()) / "holdfast-test-clusters" if guest.is_inside() else CACHE


@dataclass(frozen=True, slots=True)
class State:
    """The folder of one cluster. A cluster's name and this checkout's path give its cgroup, so that a later run finds
    what a killed run left.
    """

    folder: Path

    @classmethod
    def of(cls, name: str) -> State:
        """The state of the cluster of this name in this checkout."""
        return cls(CLUSTERS / name)

    @property
    def cgroup(self) -> str:
        """The cgroup below which everything of this cluster is, in every hierarchy."""
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()
        return f"holdfast-test-cluster-{digest[:8]}"

    @property
    def kubeconfig(self) -> Path:
        """For a cluster administrator; valid in the cluster's network namespaces."""
        return self.folder / "etc" / "admin.kubeconfig"

    @property
    def programs(self) -> Path:
        """A folder with Kubernetes' components by their names."""
        return self.folder / "bin"

    def log(self, component: str) -> Path:
        """Return what a component printed, over all its restarts."""
        return self.folder / "log" / component

    def log_tail(self, component: str, lines: int = 15) -> str:
        """The end of a component's log, for a failure's reader."""
        with suppress(FileNotFoundError):
            return "\n".join(self.log(component).read_text(errors="replace").splitlines()[-lines:])
        return f"{component} has no log"

    def make(self) -> None:
        """Create the folders."""
        for name in ("bin", "etc", "log", "run", "pki"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait until no other process has this cluster up. The lock file lies beside the folder and stays."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.folder.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def record(self, component: str, pid: int) -> None:
        """Write down which process is the component now."""
        path = self.folder / "run" / f"{component}.pid"
        temporary = path.with_suffix(".new")
        temporary.write_text(f"{pid} {start_time(pid)}\n")
        temporary.rename(path)

    def pid(self, component: str) -> int | None:
        """The process that is the component, if that process still runs."""
        with suppress(OSError, ValueError):
            pid, started = map(int, (self.folder / "run" / f"{component}.pid").read_text().split())
            if start_time(pid) == started:
                return pid
        return None

    def paused(self, component: str) -> Path:
        """A file that keeps the supervisor from starting the component again."""
        return self.folder / "run" / f"{component}.paused"


def start_time(pid: int) -> int:
    """Return a process's start, in ticks since the boot: with its pid, its identity (proc_pid_stat(5), field 22)."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])


def node_names(count: int) -> list[str]:
    """The names of the nodes of a cluster of this size."""
    return [f"node-{number}" for number in range(1, count + 1)]
