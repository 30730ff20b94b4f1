"""accept(2) on one listening socket, as cheap as it can be: 20 µs for a connection that is closed at once.

A connection is handed over as a bare socket, so that ``take`` applies a peer's bounds before it makes a task or a
buffer.

A client can connect again as soon as its connection is closed, without end, and the kernel keeps the connections of
all clients in one queue. So this queue is emptied at once while few come. While many do, it is left for `PAUSE_S` each
time, and for up to `LONGEST_S` if emptying it took more than `SHARE` of a processor: 1,500 clients that connect again
at once then do so five times a second, and a good client waits for a fifth of a second.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from time import monotonic, thread_time

from holdfast import log
from holdfast.listener.peer import Peers
from holdfast.listener.sockets import BACKLOG

LOG = log.named(__name__)
PER_TURN = 16  # so that a flood of connects leaves the loop time for other work
CROWD = 64  # connections within `PAUSE_S`, after which the queue is left: scrapers and browsers make fewer
PAUSE_S, LONGEST_S = 0.05, 0.15
SHARE = 0.2
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
        self._pause: asyncio.TimerHandle | None = None
        self._number, self._since, self._took_s = 0, monotonic(), 0.0  # connections accepted since, and their CPU time
        sock.setblocking(False)

    def start(self) -> None:
        """Start accepting."""
        self._loop.add_reader(self._sock.fileno(), self.accept)

    def close(self) -> None:
        """Stop accepting and close the socket."""
        for later in (self._retry, self._pause):
            if later is not None:
                later.cancel()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._peers.close()

    def accept(self) -> None:
        """Accept the waiting connections, at most `PER_TURN`."""
        began = thread_time()
        emptied = self._accept()
        self._took_s += thread_time() - began
        if self._number >= BACKLOG or (emptied and self._number > CROWD):
            self._leave_queue()
        elif emptied and (now := monotonic()) - self._since > PAUSE_S:
            self._number, self._since, self._took_s = 0, now, 0.0

    def _accept(self) -> bool:
        """Return whether the queue is empty."""
        for _ in range(PER_TURN):
            try:
                client, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return True
            except OSError as error:
                if self._retry is None:  # logged once: a shortage of descriptors may last
                    LOG.error("accept failed; trying again", listener=self._listener, error=error)
                self._loop.remove_reader(self._sock.fileno())  # it stays readable: without this the loop would spin
                self._retry = self._loop.call_later(RETRY_S, self.start)
                return False
            self._retry = None
            self._number += 1
            client.setblocking(False)
            try:
                peer = self._peers.of(client)
            except OSError:
                client.close()  # the peer has left
                continue
            self._take(client, peer)
        return False

    def _leave_queue(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        pause_s = min(max(PAUSE_S, self._took_s * (1 / SHARE - 1)), LONGEST_S)
        self._pause = self._loop.call_later(pause_s, self.start)
        self._number, self._took_s = 0, 0.0
