"""What the rows are written with: names of plugins, lines of configuration, and looks at a running daemon."""

from __future__ import annotations

import re
from pathlib import Path

from tests.peers.case import SHARED, ctr
from tests.peers.daemon import Daemon

VERSION = "io.containerd.grpc.v1.version"
EVENTS = "io.containerd.grpc.v1.events"
EXCHANGE = "io.containerd.event.v1.exchange"
INTROSPECTION = "io.containerd.service.v1.introspection-service"
CONFIG = "@DIR@/config.toml"


def without(*uris: str) -> str:
    """All shared plugins but these, ok."""
    return " ".join(f"{uri}=ok" for uri in SHARED if uri not in uris)


def disabled(*uris: str) -> str:
    return f"disabled_plugins = {list(uris)!r}"


def required(*uris: str) -> str:
    return f"required_plugins = {list(uris)!r}"


def score(daemon: Daemon) -> str:
    return Path(f"/proc/{daemon.pid}/oom_score_adj").read_text().strip()


def groups(daemon: Daemon) -> str:
    """In which of its groups each v1 hierarchy has it, hierarchies by name; the hybrid's unified one says nothing."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{daemon.pid}/cgroup").read_text().splitlines()]
    return " ".join(sorted(f"{names}={path}" for _, names, path in lines if names))


def version(daemon: Daemon) -> str:
    """How ``ctr version`` fares: its status, which halves it printed, and its error."""
    done = ctr(daemon, "version")
    halves = [half for half in ("Client:", "Server:") if half in done.stdout]
    error = re.sub(r"WARNING: \w+ mismatch\n", "", done.stderr)  # ctr's version is not the server's
    return f"{done.returncode} {' '.join(halves)} {error.strip()}".strip()


def one_group(path: str) -> str:
    mounted = [line.split(":", 2)[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    return " ".join(sorted(f"{names}={path}" for names in mounted if names))


def socket_file(daemon: Daemon) -> str:
    """Modes of the two sockets."""
    paths = (daemon.address, daemon.ttrpc_address)
    return " ".join(f"{Path(path).stat().st_mode:o}" for path in paths)
