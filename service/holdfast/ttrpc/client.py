"""The client: typed callables over one shared connection, opened at the first call and opened again after a loss.

A call that was on the wire when the connection ended fails with ConnectionClosed: whether the server executed it is
unknown, so only the caller may repeat it. Later calls connect again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from math import inf
from typing import Any, NamedTuple, Self

from holdfast.errors import ConnectionClosed, DeadlineExceeded
from holdfast.ttrpc import envelope
from holdfast.ttrpc.client_connection import CLOSED
from holdfast.ttrpc.client_session import ClientSession
from holdfast.ttrpc.dial import Connector, Reconnect, unix
from holdfast.ttrpc.methods import (
    CallOptions,
    ClientCall,
    ClientInterceptor,
    ClientStreamMethod,
    Invoke,
    ReplyT,
    RequestT,
    ServerStreamMethod,
    UnaryMethod,
    parsed,
)
from holdfast.ttrpc.streams import Kind, Limits


class _Wanted(NamedTuple):
    """A method to call: its name, shape and the parser of its replies."""

    service: str
    method: str
    kind: Kind
    parse: Callable[[bytes], Any]


class Client:
    """Client of one server: one connection, any number of concurrent calls."""

    def __init__(
        self,
        target: str | Connector,
        *,
        interceptors: Iterable[ClientInterceptor] = (),
        reconnect: Reconnect | None = None,
        limits: Limits | None = None,
        on_disconnect: Callable[[], None] | None = None,
    ) -> None:
        """``target`` is a unix address (see `unix`), or your own connector; ``on_disconnect`` runs once per loss."""
        self._connect = unix(target) if isinstance(target, str) else target
        self._interceptors = tuple(interceptors)
        self._reconnect = reconnect if reconnect is not None else Reconnect()
        self._limits = limits if limits is not None else Limits()
        self._on_disconnect = on_disconnect
        self._session: ClientSession | None = None
        self._sessions: set[ClientSession] = set()  # the current one, and earlier ones with calls in progress
        self._connecting = asyncio.Lock()
        self._failures = 0
        self._not_before = 0.0
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def unary(
        self, service: str, method: str, request: type[RequestT], reply: type[ReplyT]
    ) -> UnaryMethod[RequestT, ReplyT]:
        """Return a callable for a unary method."""
        wanted = _wanted(service, method, Kind.UNARY, reply)
        return UnaryMethod(self._wrapped(wanted, self._unary_invoke(wanted)))

    def server_stream(
        self, service: str, method: str, request: type[RequestT], reply: type[ReplyT]
    ) -> ServerStreamMethod[RequestT, ReplyT]:
        """Return a callable for a method whose server streams."""
        wanted = _wanted(service, method, Kind.SERVER_STREAM, reply)
        return ServerStreamMethod(self._wrapped(wanted, self._stream_invoke(wanted)))

    def client_stream(
        self, service: str, method: str, request: type[RequestT], reply: type[ReplyT]
    ) -> ClientStreamMethod[RequestT, ReplyT]:
        """Return a callable for a method whose client streams."""
        wanted = _wanted(service, method, Kind.CLIENT_STREAM, reply)
        return ClientStreamMethod(self._wrapped(wanted, self._stream_invoke(wanted)))

    def bidi_stream(
        self, service: str, method: str, request: type[RequestT], reply: type[ReplyT]
    ) -> ClientStreamMethod[RequestT, ReplyT]:
        """Return a callable for a method where both stream."""
        wanted = _wanted(service, method, Kind.BIDI_STREAM, reply)
        return ClientStreamMethod(self._wrapped(wanted, self._stream_invoke(wanted)))

    async def close(self) -> None:
        """End the connection: calls in progress fail with ConnectionClosed, and so do all later calls."""
        self._closed = True
        for session in list(self._sessions):
            session.abort()
            await session.ended.wait()

    def _wrapped(self, wanted: _Wanted, invoke: Invoke) -> Invoke:
        for wrap in reversed(self._interceptors):  # the first one is outermost
            invoke = wrap(f"/{wanted.service}/{wanted.method}", wanted.kind, invoke)
        return invoke

    def _unary_invoke(self, wanted: _Wanted) -> Invoke:
        async def invoke(request: Any, options: CallOptions) -> Any:
            deadline, session = _deadline(options, self._session), self._session
            if session is None or not session.usable or session.paused:
                session = await self._ready(deadline, options)
            data = _request(wanted, request, options, deadline, session)
            stream = session.open(data, Kind.UNARY, deadline)
            return parsed(wanted.parse, await session.answer(stream))

        return invoke

    def _stream_invoke(self, wanted: _Wanted) -> Invoke:
        async def invoke(request: Any, options: CallOptions) -> Any:
            deadline = _deadline(options, self._session)
            session = await self._ready(deadline, options)
            data = _request(wanted, request, options, deadline, session)
            stream = session.open(data, wanted.kind, deadline)
            return ClientCall[Any, Any](session, stream, wanted.parse)

        return invoke

    async def _ready(self, deadline: float, options: CallOptions) -> ClientSession:
        """Return a connection that can take a call, and whose server reads."""
        session = self._session
        if session is None or not session.usable:
            session = await self._connected(deadline, options)
        if session.paused:
            await session.wait_for_room(deadline)
        return session

    async def _connected(self, deadline: float, options: CallOptions) -> ClientSession:
        try:
            async with asyncio.timeout_at(None if deadline == inf else deadline), self._connecting:
                while True:
                    if self._closed:
                        raise ConnectionClosed(CLOSED)
                    if self._session is not None and self._session.usable:
                        return self._session  # another call connected while this one waited
                    try:
                        return await self._attempt()
                    except OSError as error:
                        if not options.wait_for_ready:
                            raise ConnectionClosed(f"ttrpc: cannot connect: {error}") from error
        except TimeoutError:
            raise DeadlineExceeded from None

    async def _attempt(self) -> ClientSession:
        """Connect, after the delay that the last failures require."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._not_before - loop.time()))
        session = ClientSession(self._limits, self._ended)
        try:
            await self._connect(lambda: session)
        except OSError:
            self._failures += 1
            self._not_before = loop.time() + self._reconnect.delay_s(self._failures)
            raise
        if self._session is not None:
            self._session.retire()
        self._failures = 0
        self._session = session
        self._sessions.add(session)
        return session

    def _ended(self, session: ClientSession) -> None:
        self._sessions.discard(session)
        if self._session is session:
            self._session = None
        if self._on_disconnect is not None:
            self._on_disconnect()


def _wanted(service: str, method: str, kind: Kind, reply: Any) -> _Wanted:
    return _Wanted(service, method, kind, reply.FromString)


def _deadline(options: CallOptions, session: ClientSession | None) -> float:
    """Return the deadline of a call that begins now, in the loop's clock.

    Raises:
        DeadlineExceeded: the deadline has passed already.
    """
    if options.timeout is None:
        return inf
    if options.timeout <= 0:
        raise DeadlineExceeded
    # getting the running loop is a system call before Python 3.12
    loop = session.loop if session is not None else asyncio.get_running_loop()
    return loop.time() + options.timeout


def _request(wanted: _Wanted, request: Any, options: CallOptions, deadline: float, session: ClientSession) -> bytes:
    """Return the encoded Request; the remaining time is computed last, directly before sending."""
    timeout_nano = 0
    if deadline != inf:
        timeout_nano = int((deadline - session.loop.time()) * 1e9) or -1  # 0 would mean no deadline
    payload = b"" if request is None else request.SerializeToString()
    return envelope.encode_request(wanted.service, wanted.method, payload, timeout_nano, options.metadata)
