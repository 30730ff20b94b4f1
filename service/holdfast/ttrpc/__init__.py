"""ttrpc: RPC over a stream of frames, compatible with containerd. Read in this order: `frame`, `streams`, `connection`.

Most programs need `Server` and `Client` only; the package uses nothing of holdfast but its errors, what is said of them
in the log (`failure`), and the log.
"""

from holdfast.ttrpc.calls import ServerCall
from holdfast.ttrpc.client import Client
from holdfast.ttrpc.dial import Reconnect, unix
from holdfast.ttrpc.handshake import Handshake, Peer, anyone, require, same_user
from holdfast.ttrpc.metadata import Metadata
from holdfast.ttrpc.methods import (
    CallOptions,
    ClientCall,
    ClientInterceptor,
    ClientStreamMethod,
    Invoke,
    ServerStreamMethod,
    UnaryMethod,
)
from holdfast.ttrpc.server import Server
from holdfast.ttrpc.services import Handler, Interceptor, Method, Registrar
from holdfast.ttrpc.streams import Kind, Limits

__all__ = [
    "CallOptions",
    "Client",
    "ClientCall",
    "ClientInterceptor",
    "ClientStreamMethod",
    "Handler",
    "Handshake",
    "Interceptor",
    "Invoke",
    "Kind",
    "Limits",
    "Metadata",
    "Method",
    "Peer",
    "Reconnect",
    "Registrar",
    "Server",
    "ServerCall",
    "ServerStreamMethod",
    "UnaryMethod",
    "anyone",
    "require",
    "same_user",
    "unix",
]
