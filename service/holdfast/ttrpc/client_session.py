"""One connection of a client: the calls that wait on it, and their end when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

from holdfast import log
from holdfast.errors import ConnectionClosed, DeadlineExceeded
from holdfast.ttrpc.client_connection import CLOSED, ClientConnection
from holdfast.ttrpc.streams import ENDED, Kind, Limits, Stream
from holdfast.ttrpc.wire import Wire

LOG = log.named(__name__)


def wake(stream: Stream) -> None:
    """Wake the task that waits on a stream; a client stream's owner is that task's waiter."""
    waiter = stream.owner
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


class ClientSession(Wire):
    """A connection shared by callers; each waits on a future of its own. ``on_end`` is called once, at its end."""

    def __init__(self, limits: Limits, on_end: Callable[[ClientSession], None]) -> None:
        self.connection = ClientConnection(limits)
        super().__init__(self.connection)
        self._on_end = on_end
        self._retiring = False
        self.ended = asyncio.Event()

    @property
    def usable(self) -> bool:
        """Whether another call can be made on this connection."""
        return not (self.lost or self._closing or self._retiring or self.connection.exhausted)

    def data_received(self, data: bytes) -> None:
        """Bytes from the server."""
        connection = self.connection
        strays = connection.strays
        for _, stream in connection.receive(data):
            wake(stream)
        if connection.strays != strays:
            LOG.debug("ttrpc: received message on inactive stream", frames=connection.strays - strays)
        self._close_when_retired()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake all waiting callers; their received messages can still be read."""
        super().connection_lost(exc)
        for stream in self.connection.lose():
            wake(stream)
        self.ended.set()
        self._on_end(self)

    def stream_is_late(self, stream: Stream) -> None:
        """Wake the caller: its deadline passed."""
        wake(stream)

    def open(self, request: bytes, kind: Kind, deadline: float) -> Stream:
        """Put a request on the wire; first `wait_for_room` while `paused`.

        Raises:
            ConnectionClosed: the connection ended meanwhile.
            HoldfastError: RESOURCE_EXHAUSTED, see `ClientConnection.open`.
        """
        if self.lost or self._closing:
            raise ConnectionClosed(CLOSED)
        stream = self.connection.open(request, kind, deadline)
        self.flush_soon(now=len(self.connection.streams) == 1)
        self.watch_deadlines()
        return stream

    async def wait_for_room(self, deadline: float) -> None:
        """Wait, no longer than the deadline, while the server does not read.

        Raises:
            DeadlineExceeded: the deadline passed before the call could be sent.
        """
        try:
            async with asyncio.timeout_at(None if deadline == inf else deadline):
                await self._may_write.wait()
        except TimeoutError:
            raise DeadlineExceeded from None

    async def answer(self, stream: Stream) -> bytes:
        """Wait for the response that ends a call whose server does not stream."""
        if stream.state is not ENDED:
            waiter = stream.owner = self.loop.create_future()
            try:
                await waiter
            except asyncio.CancelledError:
                self.abandon(stream)
                raise
        if stream.error is not None:
            raise stream.error
        if stream.answer is None:
            raise ConnectionClosed(CLOSED)
        return stream.answer

    async def next_message(self, stream: Stream) -> bytes | None:
        """Return a streaming server's next message; None after a successful end. Raises the call's error otherwise."""
        while True:
            message = stream.take()
            if message is not None:
                return message
            if not stream.remote_open:
                if stream.error is not None:
                    raise stream.error
                return None
            stream.owner = self.loop.create_future()
            try:
                await stream.owner
            finally:
                stream.owner = None

    async def send(self, stream: Stream, message: bytes) -> None:
        """Send one message; wait while the server reads more slowly."""
        await self.room()
        if stream.id not in self.connection.streams:
            raise stream.error or EOFError("ttrpc: stream closed")
        self.connection.send(stream, message)
        self.flush_soon()

    def half_close(self, stream: Stream) -> None:
        """Signal the end of our messages to the server; do nothing if it has ended the call already."""
        if stream.id in self.connection.streams:
            self.connection.half_close(stream)
            self.flush_soon()

    def abandon(self, stream: Stream) -> None:
        """Forget a call; ttrpc has no message that informs the server."""
        if stream.id in self.connection.streams:
            self.connection.abandon(stream)
        self._close_when_retired()

    def retire(self) -> None:
        """Accept no more calls, and close after the last one."""
        self._retiring = True
        self._close_when_retired()

    def _close_when_retired(self) -> None:
        if self._retiring and not self.connection.streams:
            self.close()
