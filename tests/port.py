"""TCP ports for programs that take the number of theirs at their start."""

from __future__ import annotations

import itertools
import secrets
import socket
from contextlib import suppress

#: Below what the kernel gives to outgoing connections (ip_local_port_range of ip(7)): none of those takes a port
#: between its choice and its use.
PORTS = range(20_000, 32_000)
_FIRST = secrets.randbelow(len(PORTS))  # another run of the tests begins elsewhere
_NEXT = itertools.cycle((*PORTS[_FIRST:], *PORTS[:_FIRST]))


def free_port() -> int:
    """A port that nothing listens on, on any address; another one each time."""
    for port in itertools.islice(_NEXT, len(PORTS)):
        with suppress(OSError), socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", port))
            return port
    raise AssertionError("every port is taken")
