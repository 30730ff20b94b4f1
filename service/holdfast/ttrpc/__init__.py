"""ttrpc: RPC over one stream of frames, as containerd speaks it. Read `docs/ttrpc.md`, then frame → streams → connection.

`Server` and `Client` are what most programs need; the package uses nothing of holdfast but its errors and its log.
"""

from holdfast.ttrpc.calls import ServerCall
from holdfast.ttrpc.handshake import Handshake, Peer, anyone, require, same_user
from holdfast.ttrpc.metadata import Metadata
from holdfast.ttrpc.server import Server
from holdfast.ttrpc.services import Handler, Interceptor, Method
from holdfast.ttrpc.streams import Kind, Limits

__all__ = [
    "Handler",
    "Handshake",
    "Interceptor",
    "Kind",
    "Limits",
    "Metadata",
    "Method",
    "Peer",
    "Server",
    "ServerCall",
    "anyone",
    "require",
    "same_user",
]
