"""Relay before a gRPC server that others reach: it accepts and bounds connections, and passes bytes on in the process.

gRPC's core accepts every connection, keeps a silent one for two minutes, and bounds only their number
(``grpc.max_allowed_incoming_connections``): the first peer to take all of them keeps the others out. Here a connection
waits outside until its first byte; until then it costs one descriptor, for at most `SILENT_S`. Then it gets its own
connection to the server, and bytes are copied both ways, with at most `CHUNK` of them buffered each way: nothing more
is read for a peer that does not read. A peer that connects again and again waits for the server (`rounds`).

The relay costs a call 0.1 ms. So a unix socket that only root may open has gRPC's own bound instead. A socket that
other users may open has the relay, as one of them must not take all connections. TLS passes through: the server behind
the relay speaks it.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import Callable
from time import monotonic

import grpc

from holdfast import log
from holdfast.listener import client_frames
from holdfast.listener.acceptor import Acceptor
from holdfast.listener.client_frames import ClientFrames
from holdfast.listener.connections import CUT_CALLS, ConnectionMetrics, Connections
from holdfast.listener.descriptors import ConnectionBound
from holdfast.listener.rounds import Rounds
from holdfast.listener.shares import Shares

LOG = log.named(__name__)
SILENT_S = 10.0  # from accept(2) until it is passed on
#: A round takes at least this long: to set a connection up and to answer its calls takes 5 ms of a processor, and one
#: peer with 16 connections in a round takes less than a fifth of it.
ROUND_S = 0.5
RETRY_S = 0.05  # after the server did not say that it has handled everything
#: A call that no server has. It is answered in its turn: what came before it is handled then.
CAUGHT_UP = "/holdfast/CaughtUp"
ANSWERED = {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED}
OF_ROOT = "uid 0"  # may cut any number of calls: a runtime's client ends streams early, and root may do anything
CHUNK = 64 << 10
TURN = 4 << 10  # is read first in a turn of a peer beyond its share: at most 455 calls, two seconds of the share
FLUSH_S = 1.0  # time for the server's last bytes to reach its peers


class Front:
    """Relay that accepts on ``sock``, which it owns, for a server in this process.

    ``server``: the unix sockets on which it listens, one for the clients' connections, and one without TLS for the
    relay's own calls. ``bounds``: of the connections that are passed on, and of those that are not yet. ``frames``
    counts what the frames of one client cost.
    """

    def __init__(
        self,
        listener: str,
        sock: socket.socket,
        server: tuple[str, str],
        bounds: tuple[ConnectionBound, ConnectionBound],
        metrics: ConnectionMetrics,
        frames: type[ClientFrames] = ClientFrames,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.target, self._own = server
        self.speaking = Connections(listener, bounds[0], metrics, kept_s=0)  # `rounds` sets their pace
        self.silent = Connections(listener, bounds[1], metrics, kept_s=0)  # they cost nothing yet
        self._acceptor = Acceptor(listener, sock, self._take)
        self._expiry: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self.frames = frames
        self.cut_calls, self.work = Shares(*client_frames.CUT_CALLS), Shares(*client_frames.WORK)
        self._paused: dict[str, dict[_Way, None]] = {}  # of each peer, the way whose turn is next comes first
        self._rounds: Rounds[_Relay] = Rounds(bounds[0], self.cut_calls.exceeded)
        self._round_began = monotonic()
        self._pacing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start accepting."""
        self._acceptor.start()

    async def close(self) -> None:
        """Stop accepting, pass on the last bytes of the server (which has stopped), and close."""
        self._acceptor.close()
        if self._expiry is not None:
            self._expiry.cancel()
        if self._pacing is not None:
            self._pacing.cancel()
            await asyncio.wait([self._pacing])
        self.silent.end_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                while len(self.speaking):
                    self._changed.clear()
                    await self._changed.wait()
        self.speaking.end_all()

    def left(self, relay: _Relay) -> None:
        """Record that a connection has ended."""
        self._rounds.forget(relay.peer, relay)
        if relay.inward is not None:
            self._paused.get(relay.peer, {}).pop(relay.inward, None)
        self._changed.set()

    def spoke(self, relay: _Relay) -> None:
        """Pass on a connection whose first byte has come, now or in a later round."""
        if self._rounds.take(relay.peer):
            relay.pass_on()
            return
        self._rounds.wait(relay.peer, relay)
        if self._pacing is None or self._pacing.done():  # also where one failed: the log has its error
            self._pacing = self.loop.create_task(self._pace())

    def pause(self, peer: str, way: _Way) -> None:
        """Let a connection wait for its turn: its peer is beyond its share of the daemon's work."""
        self.speaking.paused()
        if peer not in self._paused:
            self._paused[peer] = {}
            self.loop.call_later(self.work.wait_s(peer), self._give_turn, peer)
        self._paused[peer][way] = None

    def _give_turn(self, peer: str) -> None:
        ways = self._paused[peer]
        if ways:
            first = next(iter(ways))
            del ways[first]
            first.take_turn()
        if ways:
            self.loop.call_later(self.work.wait_s(peer), self._give_turn, peer)
        else:
            del self._paused[peer]

    async def _pace(self) -> None:
        """Begin rounds as long as connections wait for one."""
        while self._rounds:  # others may have come while the channel was closed
            async with grpc.aio.insecure_channel(f"unix:{self._own}") as channel:
                caught_up: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CAUGHT_UP)
                while self._rounds:
                    await asyncio.sleep(self._round_began + ROUND_S - monotonic())
                    asked = monotonic()
                    await _answered(caught_up)
                    self._round_began = monotonic()
                    for relay in self._rounds.begin(self._round_began - asked):
                        relay.pass_on()

    def _take(self, client: socket.socket, peer: str) -> None:
        _Relay(self, client, peer)
        if self._expiry is None:
            self._expiry = self.loop.call_later(SILENT_S, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self.silent.end_quiet(SILENT_S)
        if len(self.silent):
            self._expiry = self.loop.call_later(SILENT_S / 10, self._expire)


async def _answered(call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]) -> None:
    """Wait until the server has taken this call, and so every call that came before it."""
    while True:
        try:
            await call(b"")
        except grpc.aio.AioRpcError as error:
            if error.code() in ANSWERED:
                return
        await asyncio.sleep(RETRY_S)


class _Relay:
    """One client: outside until its first byte, then connected to the server until either closes."""

    def __init__(self, front: Front, client: socket.socket, peer: str) -> None:
        self.front, self._client, self.peer = front, client, peer
        self._server: socket.socket | None = None
        self._frames = None if peer == OF_ROOT else front.frames()
        self.inward: _Way | None = None
        self.place = front.silent.admit(peer, self.close)
        front.loop.add_reader(client.fileno(), self._on_first_byte)

    def _on_first_byte(self) -> None:
        self.front.loop.remove_reader(self._client.fileno())
        if _has_left(self._client):
            self.close()
        else:
            self.front.spoke(self)

    def pass_on(self) -> None:
        """Connect to the server, and copy from now on."""
        front, client = self.front, self._client
        self._leave()
        if _has_left(client):
            self.close()
            return
        self.place = front.speaking.admit(self.peer, self.close)
        try:
            server = self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.connect(front.target)
        except OSError as error:
            LOG.debug("connection not passed on", listener=front.speaking.listener, error=error)
            self.close()
            return
        self.inward = _Way(self, client, server, self._may_send, self._has_turn)
        self.inward.resume()
        _Way(self, server, client, self._may_receive).resume()

    def _has_turn(self, way: _Way) -> bool:
        """Whether the client may be read now; it has its turn later otherwise."""
        if self._frames is None or not self.front.work.exceeded(self.peer):
            return True
        self.front.pause(self.peer, way)
        return False

    def _may_send(self, data: memoryview) -> bool:
        """Count what these bytes of the client cost; False if they cut too many calls."""
        self._touch()
        if self._frames is None:
            return True
        self._frames.sent(data)
        self.front.work.add(self.peer, self._frames.take_work())
        self.front.cut_calls.add(self.peer, reset := self._frames.take_reset())
        if not reset or not self.front.cut_calls.exceeded(self.peer):
            return True
        self.front.speaking.count(CUT_CALLS, self.peer)
        return False

    def _may_receive(self, data: memoryview) -> bool:
        self._touch()
        if self._frames is not None:
            self._frames.received(data)
        return True

    def _touch(self) -> None:
        if self.place is not None:
            self.place.touch()

    def _leave(self) -> None:
        if self.place is not None:
            self.place.leave()

    def close(self) -> None:
        """End both connections."""
        self._leave()
        if self._frames is not None:
            self.front.cut_calls.add(self.peer, self._frames.leave())
        for sock in (self._client, self._server):
            if sock is not None and sock.fileno() >= 0:
                self.front.loop.remove_reader(sock.fileno())
                self.front.loop.remove_writer(sock.fileno())
                sock.close()
        self.front.left(self)


def _has_left(client: socket.socket) -> bool:
    """Whether the client sends nothing more, or is gone: its answers have no reader."""
    asked = select.poll()
    asked.register(client, select.POLLRDHUP)
    return bool(asked.poll(0))


class _Way:
    """Copying of one direction. It reads only what it can hold: one chunk, of which ``_left`` is not yet written.

    ``may_pass`` sees each chunk first; the connection ends with one that may not. Where ``may_read`` is False, the
    source is left alone until `take_turn`.
    """

    def __init__(
        self,
        relay: _Relay,
        source: socket.socket,
        sink: socket.socket,
        may_pass: Callable[[memoryview], bool],
        may_read: Callable[[_Way], bool] = lambda _: True,
    ) -> None:
        self._relay, self._source, self._sink, self._may_pass, self._may_read = relay, source, sink, may_pass, may_read
        self._left = memoryview(b"")

    def resume(self) -> None:
        """Copy whenever the source is readable."""
        self._relay.front.loop.add_reader(self._source.fileno(), self._on_readable)

    def take_turn(self) -> None:
        """Copy a little now, and more whenever the source may be read."""
        self.resume()
        self._copy(TURN)

    def _on_readable(self) -> None:
        if self._may_read(self):
            self._copy(CHUNK)
        else:
            self._relay.front.loop.remove_reader(self._source.fileno())

    def _copy(self, most: int) -> None:
        try:
            data = self._source.recv(most)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._left = memoryview(data)
        if not data or not self._may_pass(self._left):
            self._relay.close()
            return
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
