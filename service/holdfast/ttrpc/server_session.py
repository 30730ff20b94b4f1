"""One connection of a server: its calls, its drain, its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from holdfast import log
from holdfast.errors import Code, from_status
from holdfast.ttrpc.calls import ServerCall
from holdfast.ttrpc.connection import ARRIVED, OPENED
from holdfast.ttrpc.handshake import Peer
from holdfast.ttrpc.server_connection import SERVER_CLOSED, ServerConnection
from holdfast.ttrpc.streams import ENDED, Stream
from holdfast.ttrpc.wire import Wire

LOG = log.named(__name__)


class ServerSession(Wire):
    """Run a handler per request, in tasks of ``group``; ``on_end`` is called once, at the end."""

    def __init__(
        self,
        connection: ServerConnection,
        group: asyncio.TaskGroup,
        peer: Peer | None,
        on_end: Callable[[ServerSession], None],
    ) -> None:
        super().__init__(connection)
        self.connection = connection
        self.peer = peer
        self._group = group
        self._on_end = on_end

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        connection = self.connection
        for event, stream in connection.receive(data, self.loop.time()):
            if event is OPENED:
                if stream.state is not ENDED:  # it was not refused by a frame directly after it
                    call = stream.owner = ServerCall(self, stream)
                    call.task = self._group.create_task(call.run(), name=call.full_method)
            elif stream.owner is None:
                continue
            elif event is ARRIVED:
                stream.owner.wake()
            else:
                stream.owner.cancel()
        if connection.outgoing:
            self._said_something()
        self.watch_deadlines()

    def eof_received(self) -> None:
        """Log an end inside a frame; the transport then closes, also for a half-closed socket, as in Go."""
        if self.connection.inside_frame:
            LOG.debug("ttrpc: connection ended inside a frame", peer=self.peer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all handlers: no caller waits for them."""
        super().connection_lost(exc)
        for stream in self.connection.lose():
            if stream.owner is not None:
                stream.owner.cancel()
        self._on_end(self)

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read its responses: it can make us keep only the accepted calls."""
        super().pause_writing()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again: the client reads again."""
        super().resume_writing()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def stream_is_late(self, stream: Stream) -> None:
        """Cancel the handler: its deadline passed and was answered."""
        stream.owner.cancel()
        self._close_when_drained()

    def respond(self, stream: Stream, payload: bytes) -> None:
        """Answer a call."""
        self.connection.respond(stream, payload)
        self._said_something()

    def finish(self, stream: Stream) -> None:
        """End a call whose replies were streamed."""
        self.connection.finish(stream)
        self._said_something()

    def fail(self, stream: Stream, code: int, text: str, details: tuple[Any, ...] = ()) -> None:
        """Answer a call with an error."""
        self.connection.fail(stream, code, text, details)
        self._said_something()

    async def send(self, stream: Stream, message: bytes) -> None:
        """Stream one reply; wait while the client reads more slowly."""
        await self.room()
        if stream.state is ENDED:  # a handler that ignored its cancellation
            raise stream.error or from_status(Code.CANCELED, "context canceled")
        self.connection.send(stream, message)
        self.flush_soon()

    def drain(self) -> None:
        """Accept no more calls; close once those in progress are answered."""
        self.connection.draining = True
        self._close_when_drained()

    def give_up(self) -> None:
        """End the drain: answer the callers, stop the handlers, close."""
        self.connection.draining = True
        for stream in list(self.connection.streams.values()):
            self.connection.fail(stream, Code.UNAVAILABLE, SERVER_CLOSED)
            stream.owner.cancel()
        self.close()

    def _said_something(self) -> None:
        self.flush_soon(now=not self.connection.streams)
        self._close_when_drained()

    def _close_when_drained(self) -> None:
        if self.connection.draining and not self.connection.streams:
            self.close()
