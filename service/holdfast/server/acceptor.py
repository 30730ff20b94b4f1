"""accept(2) on one listening socket, as cheap as it can be: 40 µs for a connection that is closed at once.

What a peer's connection may cost is decided before anything is made for it: no transport, no task, no buffer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from holdfast import log
from holdfast.server.peer import Peers

LOG = log.named(__name__)
PER_TURN = 16  # a flood of connects does not keep the loop from everything else
RETRY_S = 0.1  # after an accept(2) that failed: out of descriptors or memory

#: Takes an accepted, non-blocking connection, which it owns from then on, and its peer.
Take = Callable[[socket.socket, str], object]


class Acceptor:
    """Hands every connection of ``sock``, which this owns, to ``take``. On the loop's thread."""

    def __init__(self, listener: str, sock: socket.socket, take: Take) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener, self._sock, self._take = listener, sock, take
        self._peers = Peers()
        self._retry: asyncio.TimerHandle | None = None
        sock.setblocking(False)

    def start(self) -> None:
        """Accept from now on."""
        self._loop.add_reader(self._sock.fileno(), self.accept)

    def close(self) -> None:
        """Accept no more."""
        if self._retry is not None:
            self._retry.cancel()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._peers.close()

    def accept(self) -> None:
        """Take what waits, `PER_TURN` at the most."""
        for _ in range(PER_TURN):
            try:
                client, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if self._retry is None:  # once: descriptors may be short for long
                    LOG.error("accept failed; trying again", listener=self._listener, error=error)
                self._loop.remove_reader(self._sock.fileno())  # it stays readable: without this the loop would spin
                self._retry = self._loop.call_later(RETRY_S, self.start)
                return
            self._retry = None
            client.setblocking(False)
            try:
                peer = self._peers.of(client)
            except OSError:
                client.close()  # it has left
                continue
            self._take(client, peer)
