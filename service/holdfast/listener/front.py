"""Relay before a gRPC server that others reach: it accepts and bounds connections, and passes bytes on in the process.

gRPC's core accepts every connection, keeps a silent one for two minutes, and bounds only their number
(``grpc.max_allowed_incoming_connections``): the first peer to take all of them keeps the others out. Here a connection
waits outside until its first byte; until then it costs one descriptor, for at most `SILENT_S`. Then it gets its own
connection to the server, and bytes are copied both ways, with at most `CHUNK` of them buffered each way: nothing more
is read for a peer that does not read.

The relay costs a call 0.1 ms. So a unix socket that only root may open has gRPC's own bound instead. A socket that
other users may open has the relay, as one of them must not take all connections. TLS passes through: the server behind
the relay speaks it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from holdfast import log
from holdfast.listener.acceptor import Acceptor
from holdfast.listener.connections import ConnectionMetrics, Connections
from holdfast.listener.descriptors import ConnectionBound

LOG = log.named(__name__)
SILENT_S = 10.0  # from accept(2) to the first byte
CHUNK = 64 << 10
FLUSH_S = 1.0  # time for the server's last bytes to reach its peers


class Front:
    """Relay that accepts on ``sock``, which it owns, for the server that listens on the unix socket ``target``.

    ``bounds``: of the connections that are passed on, and of those that have not sent a byte yet.
    """

    def __init__(
        self,
        listener: str,
        sock: socket.socket,
        target: str,
        bounds: tuple[ConnectionBound, ConnectionBound],
        metrics: ConnectionMetrics,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.target = target
        self.speaking = Connections(listener, bounds[0], metrics)
        self.silent = Connections(listener, bounds[1], metrics, kept_s=0)  # they cost nothing yet
        self._acceptor = Acceptor(listener, sock, self._take)
        self._expiry: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    def start(self) -> None:
        """Start accepting."""
        self._acceptor.start()

    async def close(self) -> None:
        """Stop accepting, pass on the last bytes of the server (which has stopped), and close."""
        self._acceptor.close()
        if self._expiry is not None:
            self._expiry.cancel()
        self.silent.end_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                while len(self.speaking):
                    self._changed.clear()
                    await self._changed.wait()
        self.speaking.end_all()

    def left(self) -> None:
        """Record that a connection has ended."""
        self._changed.set()

    def _take(self, client: socket.socket, peer: str) -> None:
        _Relay(self, client, peer)
        if self._expiry is None:
            self._expiry = self.loop.call_later(SILENT_S, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self.silent.end_quiet(SILENT_S)
        if len(self.silent):
            self._expiry = self.loop.call_later(SILENT_S / 10, self._expire)


class _Relay:
    """One client: outside until its first byte, then connected to the server until either closes."""

    def __init__(self, front: Front, client: socket.socket, peer: str) -> None:
        self.front, self._client, self._peer = front, client, peer
        self._server: socket.socket | None = None
        self.place = front.silent.admit(peer, self.close)
        front.loop.add_reader(client.fileno(), self._on_first_byte)

    def _on_first_byte(self) -> None:
        front, client = self.front, self._client
        self._leave()
        front.loop.remove_reader(client.fileno())
        try:
            if not client.recv(1, socket.MSG_PEEK):
                self.close()  # it closed without sending a byte
                return
            self.place = front.speaking.admit(self._peer, self.close)
            if self.place is None:
                self.close()
                return
            server = self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.connect(front.target)
        except OSError as error:
            LOG.debug("connection not passed on", listener=front.speaking.listener, error=error)
            self.close()
            return
        _Way(self, client, server).resume()
        _Way(self, server, client).resume()

    def touch(self) -> None:
        """Record that bytes passed."""
        if self.place is not None:
            self.place.touch()

    def _leave(self) -> None:
        if self.place is not None:
            self.place.leave()

    def close(self) -> None:
        """End both connections."""
        self._leave()
        for sock in (self._client, self._server):
            if sock is not None and sock.fileno() >= 0:
                self.front.loop.remove_reader(sock.fileno())
                self.front.loop.remove_writer(sock.fileno())
                sock.close()
        self.front.left()


class _Way:
    """Copying of one direction. It reads only what it can hold: one chunk, of which ``_left`` is not yet written."""

    def __init__(self, relay: _Relay, source: socket.socket, sink: socket.socket) -> None:
        self._relay, self._source, self._sink = relay, source, sink
        self._left = memoryview(b"")

    def resume(self) -> None:
        """Copy whenever the source is readable."""
        self._relay.front.loop.add_reader(self._source.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        try:
            data = self._source.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._relay.close()
            return
        self._relay.touch()
        self._left = memoryview(data)
        self._write()
        if self._left:
            loop = self._relay.front.loop
            loop.remove_reader(self._source.fileno())
            loop.add_writer(self._sink.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        self._write()
        if not self._left and self._sink.fileno() >= 0:
            self._relay.front.loop.remove_writer(self._sink.fileno())
            self.resume()

    def _write(self) -> None:
        try:
            self._left = self._left[self._sink.send(self._left) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._left = memoryview(b"")
            self._relay.close()
