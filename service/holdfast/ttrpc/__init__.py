"""ttrpc: RPC over a stream of frames, compatible with containerd. Read in this order: `frame`, `streams`, `connection`.

Most programs need `Server` and `Client` only; the package uses nothing of holdfast but its errors, `failure`, which
describes them in the log, and the log.

The protocol, without I/O:

- `frame`, `envelope`, `metadata`: frames, and what is in them
- `streams`: one stream
- `connection`, `server_connection`, `client_connection`: a connection, and its two ends
- `mux`: NRI's mux

The sockets:

- `server`, `server_session`, `calls`: a server, one connection of it, one call
- `services`: its services and their methods
- `client`, `client_session`, `methods`: a client, one connection of it, its methods
- `dial`, `handshake`: how a client connects, and which peer may
- `wire`: asyncio's side of a connection
- `mux_connection`: asyncio's side of a mux
- `protoc_plugin`: generates stubs
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
