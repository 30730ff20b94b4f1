"""One call on the server: its handler's view, and the response from the handler's outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, nullcontext
from math import inf
from typing import Any, Protocol

from google.protobuf.message import DecodeError, EncodeError

from holdfast import log
from holdfast.errors import Code, HoldfastError, MisusedStream, code_of, from_status
from holdfast.failure import contained, ends_the_task, fields
from holdfast.ttrpc.handshake import Peer
from holdfast.ttrpc.metadata import EMPTY, Metadata
from holdfast.ttrpc.services import BoundMethod
from holdfast.ttrpc.streams import ENDED, OPEN, Kind, Stream

LOG = log.named(__name__)

#: Texts for exceptions without a message: Go's sentences, which clients know.
_WORDS = {Code.CANCELED: "context canceled", Code.DEADLINE_EXCEEDED: "context deadline exceeded"}


class Session(Protocol):
    """The connection of a call, as far as the call needs it."""

    loop: asyncio.AbstractEventLoop
    peer: Peer | None

    def respond(self, stream: Stream, payload: bytes) -> None:
        """Answer the call."""

    def finish(self, stream: Stream) -> None:
        """End a call whose replies were streamed."""

    def fail(self, stream: Stream, code: int, text: str, details: tuple[Any, ...] = ()) -> None:
        """Answer the call with an error."""

    async def send(self, stream: Stream, message: bytes) -> None:
        """Stream one reply; wait while the client reads more slowly."""


class ServerCall:
    """The call that a handler serves. The handler's task is cancelled when no caller waits for it."""

    __slots__ = ("_bound", "_metadata", "_session", "_stream", "_waiter", "task")

    def __init__(self, session: Session, stream: Stream) -> None:
        self._session = session
        self._stream = stream
        self._bound: BoundMethod = stream.request[0]
        self._metadata: Metadata | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def full_method(self) -> str:
        """``/service/method``."""
        return self._bound.full_method

    @property
    def kind(self) -> Kind:
        """The method's shape."""
        return self._bound.kind

    @property
    def metadata(self) -> Metadata:
        """The metadata that the caller sent with the request."""
        if self._metadata is None:
            pairs = self._stream.request[1].metadata
            self._metadata = Metadata.received(pairs) if pairs else EMPTY
        return self._metadata

    @property
    def peer(self) -> Peer | None:
        """The process that connected, if the socket can report it."""
        return self._session.peer

    @property
    def deadline(self) -> float | None:
        """The time at which the caller stops waiting, in the loop's clock; None for never."""
        return None if self._stream.deadline == inf else self._stream.deadline

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, at least 0; None without one."""
        if self._stream.deadline == inf:
            return None
        return max(0.0, self._stream.deadline - self._session.loop.time())

    @property
    def active(self) -> bool:
        """Whether a response would still be sent."""
        return self._stream.state is not ENDED

    def wake(self) -> None:
        """Wake the handler's request iterator: a message or the end arrived."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def cancel(self) -> None:
        """Stop the handler."""
        if self.task is not None:
            self.task.cancel()

    async def next_request(self) -> Any:
        """Return the client's next message. Raises StopAsyncIteration once the client half-closed."""
        stream = self._stream
        while True:
            message = stream.take()
            if message is not None:
                return self._parse(message)
            if stream.state is not OPEN:
                raise stream.error or StopAsyncIteration
            if self._waiter is not None:
                raise MisusedStream("two readers of one request stream")
            self._waiter = self._session.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def run(self) -> None:
        """Run the handler and respond with its result or error. Never raises."""
        stream, session = self._stream, self._session
        try:
            kind = self._bound.kind
            argument = RequestStream(self) if kind.client_streaming else self._parse(stream.request[1].payload)
            outcome = self._bound.handler(argument, self)
            if kind.server_streaming:
                await self._send_all(outcome)
                if self.active:
                    session.finish(stream)
            else:
                payload = self._wire_form(await outcome)
                if self.active:
                    session.respond(stream, payload)
        except BaseException as raised:  # an author's code may raise anything
            if self.active:
                self._fail(raised)

    async def _send_all(self, replies: Any) -> None:
        async with aclosing(replies) if hasattr(replies, "aclose") else nullcontext():
            async for reply in replies:
                await self._session.send(self._stream, self._wire_form(reply))

    def _parse(self, data: bytes) -> Any:
        try:
            return self._bound.parse(data)
        except DecodeError as error:
            raise from_status(Code.INTERNAL, f"ttrpc: error unmarshalling payload: {error}") from None

    def _wire_form(self, reply: Any) -> bytes:
        if isinstance(reply, self._bound.response_type):
            try:
                data: bytes = reply.SerializeToString()
            except EncodeError as error:
                raise from_status(Code.INTERNAL, f"ttrpc: error marshaling payload: {error}") from None
            return data
        LOG.error("handler gave a reply that cannot be sent", method=self.full_method, error=f"it is {reply!r:.80}")
        if reply is None:
            raise from_status(Code.UNKNOWN, "ttrpc: marshal called with nil")
        raise from_status(Code.INTERNAL, f"ttrpc: error unsupported response type: {type(reply).__name__}")

    def _fail(self, raised: BaseException) -> None:
        error = raised if ends_the_task(raised) else contained(raised)
        code = code_of(error)
        text = str(error) or _WORDS.get(code) or type(error).__name__
        details = error.status_details() if isinstance(error, HoldfastError) else ()
        if isinstance(error, Exception) and (error is not raised or not isinstance(error, HoldfastError)):
            LOG.error("handler failed", method=self.full_method, **fields(raised, traced=log.is_debug()))
        self._session.fail(self._stream, code, text, details)


class RequestStream(AsyncIterator[Any]):
    """Iterator of the requests, for a handler of a streaming client."""

    __slots__ = ("_call",)

    def __init__(self, call: ServerCall) -> None:
        self._call = call

    async def __anext__(self) -> Any:
        return await self._call.next_request()
