"""One connection of a server: its calls, its drain, its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
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

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


class ServerSession(Wire):
    """Runs a handler per request, in tasks that ``spawn``'s owner owns; ``on_end`` is called once, at the very end."""

    def __init__(
        self,
        connection: ServerConnection,
        spawn: Spawn,
        peer: Peer | None,
        on_end: Callable[[ServerSession], None],
    ) -> None:
        super().__init__(connection)
        self.connection = connection
        self.peer = peer
        self._spawn = spawn
        self._on_end = on_end

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        connection = self.connection
        for event, stream in connection.receive(data, self.loop.time()):
            if event is OPENED:
                if stream.state is not ENDED:  # nor was it refused by what came right after it
                    call = stream.owner = ServerCall(self, stream)
                    call.task = self._spawn(call.run(), call.full_method)
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
        """The client went away; a half-closed socket counts as that, as in Go."""
        if self.connection.inside_frame:
            LOG.debug("ttrpc: connection ended inside a frame", peer=self.peer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all handlers: no caller waits for them any more."""
        super().connection_lost(exc)
        for stream in self.connection.lose():
            if stream.owner is not None:
                stream.owner.cancel()
        self._on_end(self)

    def pause_writing(self) -> None:
        """A client that does not read its answers is read no more: what it can make us hold is what we accepted."""
        super().pause_writing()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again, so do we."""
        super().resume_writing()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def stream_is_late(self, stream: Stream) -> None:
        """The deadline was answered; the handler may stop."""
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
        """Stream one reply, no faster than the client reads."""
        await self.room()
        if stream.state is ENDED:  # a handler that did not let itself be cancelled
            raise stream.error or from_status(Code.CANCELED, "context canceled")
        self.connection.send(stream, message)
        self.flush_soon()

    def drain(self) -> None:
        """Accept no more calls; close once those in progress are answered."""
        self.connection.draining = True
        self._close_when_drained()

    def give_up(self) -> None:
        """The time to drain is over: tell the callers, stop the handlers, close."""
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
