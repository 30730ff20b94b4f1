"""The server: it accepts on sockets, serves calls, and answers every accepted call before it ends.

Prometheus, OpenTelemetry and namespaces are left to interceptors (`services.Interceptor`).
"""

from __future__ import annotations

import asyncio
import errno
import random
import select
import socket
from collections.abc import Iterable, Mapping
from math import inf
from time import monotonic
from typing import Any

from holdfast import log
from holdfast.errors import PermissionDenied
from holdfast.ttrpc.handshake import Handshake, Peer, same_user
from holdfast.ttrpc.server_connection import ServerConnection
from holdfast.ttrpc.server_session import ServerSession
from holdfast.ttrpc.services import Interceptor, MethodLike, Services
from holdfast.ttrpc.streams import Kind, Limits

LOG = log.named(__name__)

BACKLOG = 1024
LOG_EVERY_S = 60.0  # between logs of refused connections, per kind
BOUND, CREDENTIALS = "limit", "credentials"
ACCEPTS_PER_TURN = 64  # so that a flood of connects does not delay the calls
ABORT_AFTER_S = 1.0  # for a client that does not read to take its last responses, after the grace
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.001, 1.0
#: Temporary accept(2) errors: out of descriptors or memory, and a peer that was gone before it was accepted.
_TEMPORARY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED, errno.EPERM})


class Server:
    """Serve registered services on any number of sockets."""

    def __init__(
        self,
        *,
        handshake: Handshake | None = None,
        interceptors: Iterable[Interceptor] = (),
        limits: Limits | None = None,
        max_connections: int = 0,
    ) -> None:
        """``handshake`` is `same_user` unless another is given; the first interceptor is the outermost.

        More than ``max_connections`` clients at once (0: any number) are closed without a byte, and counted in
        ``refused``: the connection of a shim that is quiet for hours is not closed for a newer one.
        """
        self._handshake = handshake if handshake is not None else same_user()
        self._services = Services(interceptors)
        self._limits = limits if limits is not None else Limits()
        self._sessions: set[ServerSession] = set()
        self._listeners: set[_Listener] = set()
        self._max_connections = max_connections
        self._adopting = 0
        #: Refused connections, by reason.
        self.refused = {BOUND: 0, CREDENTIALS: 0}
        self._told_at: dict[str, float] = {}
        self._closing = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def connections(self) -> int:
        """The number of connected clients."""
        return len(self._sessions)

    def register(self, service: str, methods: Mapping[str, MethodLike]) -> None:
        """Serve ``methods`` (by name) as ``service``; handlers are wrapped here, once.

        Raises:
            ServedAlready: the service is registered.
        """
        self._services.register(service, methods)

    def withdraw(self, service: str) -> None:
        """Serve ``service`` no more."""
        self._services.withdraw(service)

    @property
    def services(self) -> tuple[str, ...]:
        """The names of the registered services."""
        return self._services.names()

    def methods(self) -> tuple[tuple[str, Kind], ...]:
        """Return full name and kind of every registered method."""
        return tuple(self._services.methods())

    async def serve(self, listener: socket.socket) -> None:
        """Accept clients on a bound socket until `shutdown`, then wait for the last one to leave. Closes the socket.

        Raises:
            OSError: accept(2) fails permanently.
        """
        if self._closing:
            listener.close()
            return
        failure: OSError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                failure = await self._accept_until_stopped(listener, group)
                if failure is not None:
                    self.close()
                await self._empty.wait()
        finally:
            listener.close()
            self._abort_sessions()
        if failure is not None:
            raise failure

    def session(self, group: asyncio.TaskGroup, peer: Peer | None = None) -> asyncio.Protocol:
        """Return a protocol for a transport made elsewhere (a socket pair, a mux); handlers run in ``group``.

        No handshake is made: the code that made the transport chose the peer.
        """
        session = ServerSession(ServerConnection(self._services.resolve, self._limits), group, peer, self._forget)
        self._sessions.add(session)
        self._empty.clear()
        if self._closing:
            session.drain()
        return session

    async def shutdown(self, grace: float | None = None) -> None:
        """Stop: accept nothing new, answer every accepted call, close, return when all clients are gone.

        After ``grace`` seconds (None: no limit) running calls are cancelled and answered UNAVAILABLE. New calls on a
        draining connection are answered UNAVAILABLE, too.
        """
        self._stop_accepting()
        for session in list(self._sessions):
            session.drain()
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            await self._give_up()

    def close(self) -> None:
        """Stop at once: close connections, cancel handlers, send callers the responses that need no waiting."""
        self._stop_accepting()
        for session in list(self._sessions):
            session.give_up()
            session.abort()

    async def _give_up(self) -> None:
        for session in list(self._sessions):
            session.give_up()
        try:
            async with asyncio.timeout(ABORT_AFTER_S):
                await self._empty.wait()
        except TimeoutError:
            self._abort_sessions()
            await self._empty.wait()

    def _abort_sessions(self) -> None:
        for session in list(self._sessions):
            session.abort()

    def _stop_accepting(self) -> None:
        self._closing = True
        for listener in list(self._listeners):
            listener.stop()

    def _forget(self, session: ServerSession) -> None:
        self._sessions.discard(session)
        if not self._sessions:
            self._empty.set()

    async def _accept_until_stopped(self, sock: socket.socket, group: asyncio.TaskGroup) -> OSError | None:
        def admit(connection: socket.socket) -> None:
            if self._max_connections and len(self._sessions) + self._adopting >= self._max_connections:
                connection.close()
                if self._count_refused(BOUND):
                    LOG.warning("ttrpc: connections above the limit are refused", bound=self._max_connections)
                return
            peer = self._admitted(connection)
            if peer is not _REFUSED:
                self._adopting += 1
                group.create_task(self._adopt(connection, peer, group), name="ttrpc.adopt")

        listener = _Listener(sock, admit)
        self._listeners.add(listener)
        try:
            await listener.until_stopped()
        except OSError as error:
            return error
        finally:
            listener.stop()
            self._listeners.discard(listener)
        return None

    def _admitted(self, connection: socket.socket) -> Peer | None:
        """Return the peer, or `_REFUSED`: closed without a byte, as in every implementation."""
        try:
            return self._handshake(connection)
        except (PermissionDenied, OSError) as error:
            connection.close()
            if self._count_refused(CREDENTIALS):
                number = self.refused[CREDENTIALS]
                LOG.error("ttrpc: refusing connection after handshake", error=str(error), number=number)
            return _REFUSED

    def _count_refused(self, why: str) -> bool:
        """Count a refusal; return whether to log it, as a refused peer can connect again at once."""
        self.refused[why] += 1
        now = monotonic()
        if now < self._told_at.get(why, -inf) + LOG_EVERY_S:
            return False
        self._told_at[why] = now
        return True

    async def _adopt(self, connection: socket.socket, peer: Peer | None, group: asyncio.TaskGroup) -> None:
        self._adopting -= 1  # the session, which counts instead, is made before the first await
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self.session(group, peer), connection)
        except OSError as error:
            connection.close()
            LOG.debug("ttrpc: connection was gone before it was served", error=str(error))


_REFUSED = Peer(-1, -1, -1)


class _Listener:
    """Call accept(2) on one socket whenever it is readable, until stopped."""

    def __init__(self, sock: socket.socket, admit: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._admit = admit
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._retry: asyncio.TimerHandle | None = None
        self._delay_s = _FIRST_RETRY_S

    async def until_stopped(self) -> None:
        """Accept until stopped. Raises the OSError of a permanent failure."""
        self._sock.setblocking(False)
        self._sock.listen(BACKLOG)
        self._loop.add_reader(self._sock, self._on_readable)
        await self._stopped

    def stop(self) -> None:
        """Accept no more, and let the kernel refuse later connects."""
        if self._retry is not None:
            self._retry.cancel()
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _on_readable(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                if _hung_up(self._sock):
                    self._accept_failed(OSError(errno.EINVAL, "listener was shut down"))
                return
            except OSError as error:
                self._accept_failed(error)
                return
            self._delay_s = _FIRST_RETRY_S
            connection.setblocking(False)
            self._admit(connection)

    def _accept_failed(self, error: OSError) -> None:
        if error.errno not in _TEMPORARY:
            self._loop.remove_reader(self._sock)
            if not self._stopped.done():
                self._stopped.set_exception(error)
            return
        self._loop.remove_reader(self._sock)  # the socket stays readable: without this the loop would spin
        delay_s = self._delay_s * random.uniform(0.5, 1.0)  # noqa: S311
        self._delay_s = min(self._delay_s * 2, _LONGEST_RETRY_S)
        LOG.error("ttrpc: failed accept; backoff", error=str(error), seconds=delay_s)
        self._retry = self._loop.call_later(delay_s, self._loop.add_reader, self._sock, self._on_readable)


def _hung_up(listener: socket.socket) -> bool:
    """Whether the listener was shut down: it is then always readable, and accept(2) fails with EAGAIN."""
    poll = select.poll()
    poll.register(listener, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))
