"""A daemon where a pod would have it: the service account's folder mounted, the API server in its environment."""

from __future__ import annotations

import sys
from pathlib import Path

from holdfast.plugins.node.placement.api_server import ACCOUNT

from tests.peers.daemon import ENVIRON

#: In a mount namespace of its own, where the kubelet's mount would be.
_SCRIPT = 'mount -t tmpfs none /run && mkdir -p "$1" && cp "$2"/* "$1" && shift 2 && exec "$@"'


def account_at(folder: Path, certificates) -> Path:
    """A service account's folder: the CA's certificate and a token."""
    (folder / "ca.crt").write_bytes(certificates.cert("ca").read_bytes())
    (folder / "token").write_text("first\n")
    return folder


def daemon(config: Path) -> list[object]:
    """The command of a daemon, outside of a pod."""
    return [sys.executable, "-m", "holdfast", "run", "-c", config]


def in_a_pod(config: Path, account: Path) -> list[object]:
    """The command of a daemon that finds ``account`` where a pod has it."""
    return ["unshare", "-m", "sh", "-c", _SCRIPT, "sh", ACCOUNT, account, *daemon(config)]


def environ(port: int) -> dict[str, str]:
    """The variables that the kubelet gives a container, with the API server at this port of loopback."""
    server = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT_HTTPS": str(port)}
    return {**ENVIRON, **server, "NODE_NAME": "node-7"}
