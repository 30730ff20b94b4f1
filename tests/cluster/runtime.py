"""A node's container runtime asked over CRI, as crictl asks it, beside the kubelet.

Messages are written by their field numbers (CRI's api.proto), apart from holdfast's own that are under test.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from tests.cluster.node import CONTAINERD, Node
from tests.peers.ttrpc_wire import field, parsed

SERVICE = "/runtime.v1.RuntimeService/"
CALL_S = 60.0
POD_UID = "io.kubernetes.pod.uid"


@dataclass(frozen=True, slots=True)
class Runtime:
    """The runtime of one node."""

    node: Node

    def sandbox_of(self, uid: str) -> str:
        """The id of the one sandbox of a pod."""
        label = field(1, POD_UID) + field(2, uid)
        answer = self._call("ListPodSandbox", field(1, field(3, label)))  # filter.label_selector
        return bytes(parsed(bytes(parsed(answer)[1]))[1]).decode()

    def stop_and_remove(self, sandbox: str) -> None:
        """StopPodSandbox and RemovePodSandbox, with nothing between them."""
        for method in ("StopPodSandbox", "RemovePodSandbox"):
            self._call(method, field(1, sandbox))

    def _call(self, method: str, request: bytes) -> bytes:
        """Call over the socket in the node's mount namespace."""
        pid = self.node.state.pid(self.node.name)
        with grpc.insecure_channel(f"unix:/proc/{pid}/root{CONTAINERD}") as channel:
            return bytes(channel.unary_unary(SERVICE + method)(request, timeout=CALL_S))
