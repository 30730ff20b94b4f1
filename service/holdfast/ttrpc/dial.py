"""Connectors from a client to its server, and the delays between attempts."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple

ProtocolFactory = Callable[[], asyncio.Protocol]
#: Opens a byte stream, makes a protocol with the factory and connects the two, as ``loop.create_connection`` does.
Connector = Callable[[ProtocolFactory], Awaitable[object]]


def unix(address: str) -> Connector:
    """Return a connector to a unix socket: a path, ``unix://path``, or ``@name`` for an abstract one."""
    path = address.removeprefix("unix://")
    if path.startswith("@"):
        path = "\0" + path[1:]

    async def connect(factory: ProtocolFactory) -> object:
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, path)  # uvloop's own connect refuses an abstract name
            return await loop.create_unix_connection(factory, sock=sock)
        except BaseException:
            sock.close()
            raise

    return connect


def inherited(descriptor: int) -> Connector:
    """Return a connector to the peer of a socket inherited from our parent process; it can connect once."""
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)  # our child processes do not get it

    async def connect(factory: ProtocolFactory) -> object:
        sock.setblocking(False)
        return await asyncio.get_running_loop().create_unix_connection(factory, sock=sock)

    return connect


class Reconnect(NamedTuple):
    """Exponential delays with jitter between failed attempts to connect, in seconds."""

    first_s: float = 0.05
    factor: float = 2.0
    longest_s: float = 5.0
    jitter: float = 0.2
    """Share of the delay by which it may be shorter, so that many clients do not come back as one."""

    def delay_s(self, failures: int, chance: float | None = None) -> float:
        """Return the delay after so many failures in a row (at least 1); ``chance`` in [0, 1) is random by default."""
        grown = self.first_s * self.factor ** min(failures - 1, 64)
        drawn = random.random() if chance is None else chance  # noqa: S311
        return min(grown, self.longest_s) * (1 - self.jitter * drawn)
