"""Check which peer may connect: by its credentials, which the kernel records at connect(2), before a byte is read.

A handshake is a function of the accepted socket: it returns the peer, or raises PermissionDenied; then the connection
is closed without a byte. Source: unix(7), SO_PEERCRED.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple

from holdfast.errors import PermissionDenied

_UCRED = struct.Struct("3i")  # struct ucred: pid, uid, gid
ANY = -1


class Peer(NamedTuple):
    """The process at the other end when it connected; another process may have its pid now."""

    pid: int
    uid: int
    gid: int


Handshake = Callable[[socket.socket], "Peer | None"]


def peer_of(connection: socket.socket) -> Peer:
    """Return the peer of a unix socket.

    Raises:
        PermissionDenied: it is no unix socket.
    """
    if connection.family != socket.AF_UNIX:
        raise PermissionDenied("ttrpc: require unix socket")
    return Peer(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


def anyone(connection: socket.socket) -> Peer | None:
    """Admit every peer; only the socket's file mode restricts access."""
    return peer_of(connection) if connection.family == socket.AF_UNIX else None


def require(uid: int = ANY, gid: int = ANY) -> Handshake:
    """Admit peers with this effective uid and gid; `ANY` is not checked."""

    def check(connection: socket.socket) -> Peer:
        peer = peer_of(connection)
        if uid not in (ANY, peer.uid) or gid not in (ANY, peer.gid):
            raise PermissionDenied(f"ttrpc: invalid credentials: uid {peer.uid}, gid {peer.gid}")
        return peer

    return check


def same_user(*, check_gid: bool = True) -> Handshake:
    """Admit peers with our effective uid and gid, as they are now: the check between containerd and its shims.

    ``check_gid=False`` is for a daemon with a group of its own while its clients are plain root.
    """
    return require(os.geteuid(), os.getegid() if check_gid else ANY)
