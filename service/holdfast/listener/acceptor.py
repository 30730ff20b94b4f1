"""accept(2) on one listening socket, as cheap as it can be: 40 µs for a connection that is closed at once.

A connection is handed over as a bare socket, so that ``take`` applies a peer's bounds before it makes a transport, a
task or a buffer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from holdfast import log
from holdfast.listener.peer import Peers

LOG = log.named(__name__)
PER_TURN = 16  # so that a flood of connects leaves the loop time for other work
RETRY_S = 0.1  # after an accept(2) that failed: out of descriptors or memory

#: Callback with an accepted, non-blocking connection, which it then owns, and its peer.
Take = Callable[[socket.socket, str], object]


class Acceptor:
    """Acceptor of the connections of ``sock``: it owns the socket and hands each connection to ``take``. Loop thread
    only.
    """

    def __init__(self, listener: str, sock: socket.socket, take: Take) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener, self._sock, self._take = listener, sock, take
        self._peers = Peers()
        self._retry: asyncio.TimerHandle | None = None
        sock.setblocking(False)

    def start(self) -> None:
        """Start accepting."""
        self._loop.add_reader(self._sock.fileno(), self.accept)

    def close(self) -> None:
        """Stop accepting and close the socket."""
        if self._retry is not None:
            self._retry.cancel()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._peers.close()

    def accept(self) -> None:
        """Accept the waiting connections, at most `PER_TURN`."""
        for _ in range(PER_TURN):
            try:
                client, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if self._retry is None:  # logged once: a shortage of descriptors may last
                    LOG.error("accept failed; trying again", listener=self._listener, error=error)
                self._loop.remove_reader(self._sock.fileno())  # it stays readable: without this the loop would spin
                self._retry = self._loop.call_later(RETRY_S, self.start)
                return
            self._retry = None
            client.setblocking(False)
            try:
                peer = self._peers.of(client)
            except OSError:
                client.close()  # the peer has left
                continue
            self._take(client, peer)
