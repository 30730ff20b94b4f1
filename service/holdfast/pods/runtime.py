"""Search for the socket on which a container runtime listens for the kubelet."""

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
LOOK_AGAIN_S = 3.0  # between two checks for a missing socket
NAMES_ALONE = "pods are known by their cgroups' names alone, or as last reported"


class RuntimeSource(Struct, frozen=True):
    """The runtime's address (empty: search), the seconds between lists, and whether to use events (None: if safe)."""

    address: str = ""
    relist_s: float = 10.0
    events: bool | None = None
    proc_root: str = "/proc"

    def found(self) -> list[str]:
        """Return the paths of the sockets that exist now: the named one, or the well-known ones."""
        named = self.address.removeprefix("unix://")
        return [path for path in ((named,) if named else WELL_KNOWN) if is_socket(path)]

    @property
    def why_none(self) -> str:
        """The message for the case that no socket is found."""
        return f"no container runtime's socket at {self.address or ', '.join(WELL_KNOWN)}"


def is_socket(path: str) -> bool:
    """Whether there is a socket, with or without a listener."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
