"""Real containerd and holdfast, each with directories of its own, started until READY=1 and stopped by pid."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.needs import path_of
from tests.running import PATIENCE_S, Running

#: Our command, whether or not it is installed, and what its environment needs for that.
HOLDFAST = (sys.executable, "-m", "holdfast")
ENVIRON = {"PYTHONPATH": str(Path(__file__).parents[2] / "service")}

#: Every case's beginning; what a case adds to the top goes before the first table, and its tables after the last.
#: NRI of containerd 2.3 would listen on the machine's one socket.
BASE = """\
{version}
root = "{dir}/root"
state = "{dir}/state"
{top}
[grpc]
  address = "{dir}/s.sock"
{grpc}
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
{tables}
{metrics}
[plugins."io.containerd.nri.v1.nri"]
  disable = true
"""

#: Ours listens by default, on a port that two tests at once would both want.
NO_METRICS = '[metrics]\n  address = ""'
NO_WEB = '\n[web]\n  address = ""\n'

#: Ends what a case about the chassis has no use for, and its cost with it.
LEAN = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
)

#: As another user, but still able to read our interpreter and sources wherever the clone lies.
AS_NOBODY = (
    *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
    "--bounding-set=-all,+dac_read_search",
)


class Daemon(Running):
    """A daemon, and the notify socket that it reports its state to."""

    def __init__(
        self,
        command: Sequence[str | Path],
        directory: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        notify: Path | None = None,
    ) -> None:
        self.dir = directory
        self.address = str(directory / "s.sock")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Abstract: any user may send to it, and no file stays. A path is for a daemon in another network namespace.
        name = str(notify) if notify else f"@hf-{os.getpid()}-{time.monotonic_ns()}"
        self.notify.bind(name.replace("@", "\0", 1) if notify is None else name)
        self.states: list[str] = []
        super().__init__(command, cwd=cwd, env={"NOTIFY_SOCKET": name, **(env or {})})

    @property
    def ttrpc_address(self) -> str:
        """Return where its ttrpc server listens by default."""
        return self.address + ".ttrpc"

    def told(self, state: str, within_s: float = PATIENCE_S) -> bool:
        """Wait until it has said this state (``READY=1``); False when it ended first."""
        deadline = time.monotonic() + within_s
        while True:
            over = self.ended()  # looked at before the socket is drained: what it said last still counts
            while select.select([self.notify], [], [], 0)[0]:
                self.states += self.notify.recv(4096).decode().splitlines()
            if state in self.states or over:
                return state in self.states
            left = deadline - time.monotonic()
            assert left > 0, f"not {state} in time:\n{self.said}"
            select.select([self.notify, self._pidfd], [], [], left)

    def booted(self) -> bool:
        """Wait until it serves; False when it gave up."""
        return self.told("READY=1")

    def ready(self) -> Self:
        """Wait until it serves; an error with all it said when it gave up."""
        assert self.booted(), f"did not boot:\n{self.said}"
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(None, None, None)
        self.notify.close()


def write_config(directory: Path, top: str = "", tables: str = "", grpc: str = "", version: str = "2") -> Path:
    """Write the case's config.toml: BASE and what the case adds. ``@DIR@`` stands for its directory.

    Without a ``version`` the line stays empty, so that the numbers of all others are the same.
    """
    metrics = "" if "[metrics" in tables or "metrics =" in top else NO_METRICS
    line = f"version = {version}" if version else ""
    words = BASE.format(dir=directory, version=line, top=top, grpc=grpc, tables=tables, metrics=metrics)
    path = directory / "config.toml"
    path.write_text(words.replace("@DIR@", str(directory)))
    return path


def containerd(directory: Path, config: Path, *arguments: str, prefix: Sequence[str] = (), **options: object) -> Daemon:
    """Start real containerd 1.6; wait with `Daemon.ready` or `Daemon.booted`."""
    command = [*prefix, path_of("containerd"), "--config", config, *arguments]
    return Daemon(command, directory, **options)  # type: ignore[arg-type]


def containerd23(
    directory: Path, config: Path, *arguments: str, prefix: Sequence[str] = (), **options: object
) -> Daemon:
    """Start real containerd 2.3, as `containerd` starts 1.6."""
    command = [*prefix, path_of("containerd23/containerd"), "--config", config, *arguments]
    return Daemon(command, directory, **options)  # type: ignore[arg-type]


def holdfast(
    directory: Path,
    config: Path | None,
    *arguments: str,
    prefix: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    **options: object,
) -> Daemon:
    """Start our daemon as a user does: ``holdfast run -c FILE``, without a page, whose port two at once would want."""
    if config and config.suffix == ".toml" and config.exists():
        text = config.read_text(errors="surrogateescape")
        config.write_text(text if "[web]" in text else text + NO_WEB, errors="surrogateescape")
    command = [*prefix, *HOLDFAST, "run", *(["-c", str(config)] if config else []), *arguments]
    return Daemon(command, directory, env={**ENVIRON, **(env or {})}, **options)  # type: ignore[arg-type]
