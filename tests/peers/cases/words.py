"""The words of the rows: names of plugins, lines of configuration, and observations of a daemon."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.peers.case import SHARED, STORE, ctr
from tests.peers.daemon import Daemon

VERSION = "io.containerd.grpc.v1.version"
EVENTS = "io.containerd.grpc.v1.events"
EXCHANGE = "io.containerd.event.v1.exchange"
INTROSPECTION = "io.containerd.service.v1.introspection-service"
CONTENT = "io.containerd.content.v1.content"
SCHEDULER = "io.containerd.gc.v1.scheduler"
CONFIG = "@DIR@/config.toml"
SIDE = f"holdfast-test-side-{os.getpid()}"  # groups of this run begin with it


def services(*names: str) -> tuple[str, ...]:
    """The ends of the URIs of both plugins of each service."""
    return tuple(end for name in names for end in (f"service.v1.{name}-service", f"grpc.v1.{name}"))


#: What fails with the exchange, the collector, the store: who looks them up itself, and who needs those.
NEED_EXCHANGE = (*services("containers", "content", "namespaces"), "grpc.v1.events")
NEED_SCHEDULER = services("images", "leases")
NEED_CONTENT = ("metadata.v1.bolt", "gc.v1.scheduler", *services(*STORE))


def without(*uris: str, failed: tuple[str, ...] = ()) -> str:
    """All shared plugins but these, ok; or ``error`` those of ``failed``, named by the end of their URI."""
    kept = (uri for uri in SHARED if uri not in uris)
    return " ".join(f"{uri}={'error' if uri.endswith(failed) else 'ok'}" for uri in kept)


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
    """Return the result of ``ctr version``: its status, which halves it printed, and its error."""
    done = ctr(daemon, "version")
    halves = [half for half in ("Client:", "Server:") if half in done.stdout]
    error = re.sub(r"WARNING: \w+ mismatch\n", "", done.stderr)  # ctr's version is not the server's
    return f"{done.returncode} {' '.join(halves)} {error.strip()}".strip()


def one_group(path: str) -> str:
    mounted = [line.split(":", 2)[1] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    return " ".join(sorted(f"{names}={path}" for names in mounted if names))


def modes(daemon: Daemon) -> str:
    """Modes of its two directories and of its two sockets."""
    root, state = ((daemon.dir / name).stat().st_mode for name in ("root", "state"))
    return f"root {root:o}, state {state:o}, sockets {socket_file(daemon)}"


def socket_file(daemon: Daemon) -> str:
    """Modes of the two sockets."""
    paths = (daemon.address, daemon.ttrpc_address)
    return " ".join(f"{Path(path).stat().st_mode:o}" for path in paths)


def sockets(daemon: Daemon) -> str:
    """Names of the sockets in the case's folder."""
    return " ".join(sorted(path.name for path in daemon.dir.iterdir() if path.is_socket()))
