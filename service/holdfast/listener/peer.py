"""The peer of a connection, as the bounds of a listener count it.

Over a unix socket it is the uid of the process that connected (SO_PEERCRED, unix(7)). Over TCP it is the address: IPv4
as it is, IPv6 by its /64, all of which belongs to one holder. Over loopback every process of the machine has the same
address, so the kernel is queried for the uid behind it (sock_diag(7)): a user's flood does not keep root's monitor out.
A closed socket no longer has an owner, and the kernel reports root for it: such a peer has left.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress

from holdfast.ttrpc.handshake import peer_of

_V4_MAPPED = bytes(10) + b"\xff\xff"
_V6_NETWORK = 8  # bytes
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1
#: nlmsghdr and inet_diag_req_v2 (linux/inet_diag.h): any state, no cookie.
_REQUEST = struct.Struct("=IHHII BBBxI")
_SOCKET_ID = struct.Struct("!HH16s16s")
_NO_INTERFACE_NO_COOKIE = struct.pack("=IQ", 0, 2**64 - 1)
_REQUEST_BYTES = _REQUEST.size + _SOCKET_ID.size + len(_NO_INTERFACE_NO_COOKIE)
_OWNER = struct.Struct("=II")  # uid and inode
_OWNER_AT = 16 + 4 + 48 + 12  # nlmsghdr, four bytes, inet_diag_sockid, three counters of inet_diag_msg


class Peers:
    """Peer look-up of one listener. It keeps one netlink socket, if it may have one."""

    def __init__(self) -> None:
        self._diag: socket.socket | None = None
        with suppress(OSError):  # a sandbox without netlink: loopback is one peer then
            self._diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG)

    def of(self, connection: socket.socket) -> str:
        """Return the peer of an accepted connection.

        Raises:
            OSError: the peer has left.
        """
        client = connection.getpeername()
        if not isinstance(client, tuple):
            return f"uid {peer_of(connection).uid}"
        key = address_key(client[0])
        if self._diag is not None and (key.startswith("127.") or key == "::/64"):
            try:
                uid, inode = _owner_of(self._diag, connection.family, client, connection.getsockname())
            except (OSError, struct.error):  # no module for it in this kernel
                return key
            if not inode:
                raise ConnectionAbortedError
            return f"uid {uid}"
        return key

    def close(self) -> None:
        """Close the netlink socket."""
        if self._diag is not None:
            self._diag.close()


def address_key(address: str) -> str:
    """The part of an address that a bound counts."""
    if ":" not in address:
        return address
    packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    if packed.startswith(_V4_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[len(_V4_MAPPED) :])
    return socket.inet_ntop(socket.AF_INET6, packed[:_V6_NETWORK] + bytes(16 - _V6_NETWORK)) + "/64"


def _owner_of(
    diag: socket.socket, family: int, client: tuple[object, ...], ours: tuple[object, ...]
) -> tuple[int, int]:
    """The uid and the inode of the socket at the other end; inode 0: it was closed, and the uid is no user's.

    Raises OSError, struct.error: the kernel does not know it.
    """
    (near, near_port), (far, far_port) = _packed(family, client), _packed(family, ours)
    if near.startswith(_V4_MAPPED):
        family, near, far = socket.AF_INET, near[12:].ljust(16, b"\0"), far[12:].ljust(16, b"\0")
    head = _REQUEST.pack(
        _REQUEST_BYTES, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0, family, socket.IPPROTO_TCP, 0, 2**32 - 1
    )
    diag.sendto(head + _SOCKET_ID.pack(near_port, far_port, near, far) + _NO_INTERFACE_NO_COOKIE, (0, 0))
    answer = diag.recv(4096)
    kind = struct.unpack_from("=IH", answer)[1]
    if kind != _SOCK_DIAG_BY_FAMILY:
        raise OSError(f"netlink message {kind}: {os.strerror(-struct.unpack_from('=i', answer, 16)[0])}")
    uid, inode = _OWNER.unpack_from(answer, _OWNER_AT)
    return uid, inode


def _packed(family: int, name: tuple[object, ...]) -> tuple[bytes, int]:
    address, port = str(name[0]).partition("%")[0], name[1]
    assert isinstance(port, int)
    return socket.inet_pton(family, address).ljust(16, b"\0"), port
