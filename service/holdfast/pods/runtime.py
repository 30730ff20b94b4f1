"""Where a container runtime listens for the kubelet, and how its socket is found."""

from __future__ import annotations

import os
import stat

from msgspec import Struct

#: In the order they are tried: containerd, CRI-O, then containerd where distributions keep it.
WELL_KNOWN = (
    "/run/containerd/containerd.sock",
    "/var/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/k0s/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
)
LOOK_AGAIN_S = 3.0  # for a socket where there is none
NAMES_ALONE = "pods are known by their cgroups' names alone, or as last told"


class Source(Struct, frozen=True):
    """Where the runtime is (empty: looked for), how often all is asked, and whether its events are (None: if safe)."""

    address: str = ""
    relist_s: float = 10.0
    events: bool | None = None
    proc_root: str = "/proc"

    def found(self) -> list[str]:
        """Paths of the sockets there are now: of the named one, or of the well-known ones."""
        named = self.address.removeprefix("unix://")
        return [path for path in ((named,) if named else WELL_KNOWN) if is_socket(path)]

    @property
    def nobody(self) -> str:
        """What to say when none is found."""
        return f"no container runtime's socket at {self.address or ', '.join(WELL_KNOWN)}"


def is_socket(path: str) -> bool:
    """Whether there is a socket, whoever listens or does not."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
