"""A client's methods: one object per method, typed by its messages, and the streaming call it begins."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar, cast

from google.protobuf.message import DecodeError

from holdfast.errors import MisusedStream, PeerBrokeProtocol
from holdfast.ttrpc.client_session import ClientSession
from holdfast.ttrpc.metadata import EMPTY, Metadata
from holdfast.ttrpc.streams import Kind, Stream

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")
MetadataLike = Mapping[str, str | Iterable[str]]


class CallOptions(NamedTuple):
    """Options of one call."""

    timeout: float | None = None
    """Seconds for the whole call, connecting and queueing included; the server receives what is left."""
    metadata: Metadata = EMPTY
    wait_for_ready: bool = False
    """Keep trying to connect until the timeout, instead of failing with the first attempt."""


#: The call that an interceptor wraps: ``async (request or None, options) -> reply or ClientCall``.
Invoke = Callable[[Any, CallOptions], Coroutine[Any, Any, Any]]


class ClientInterceptor(Protocol):
    """Wraps each method once, when its stub is made; the returned callable makes every call."""

    def __call__(self, full_method: str, kind: Kind, invoke: Invoke, /) -> Invoke:
        """``full_method`` is ``/service/method``. Return ``invoke`` itself to change nothing."""


_NO_OPTIONS = CallOptions()


def _options(timeout: float | None, metadata: MetadataLike | None, *, wait_for_ready: bool) -> CallOptions:
    if timeout is None and metadata is None and not wait_for_ready:
        return _NO_OPTIONS
    if metadata is None:
        return CallOptions(timeout, EMPTY, wait_for_ready)
    return CallOptions(timeout, metadata if isinstance(metadata, Metadata) else Metadata(metadata), wait_for_ready)


class UnaryMethod(Generic[RequestT, ReplyT]):
    """One request, one reply."""

    __slots__ = ("_invoke",)

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke

    def __call__(
        self,
        request: RequestT,
        *,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        wait_for_ready: bool = False,
    ) -> Coroutine[Any, Any, ReplyT]:
        """Call it; the call begins when awaited.

        Raises (when awaited):
            HoldfastError: the error with which the server, the deadline or the connection ended the call.
        """
        return self._invoke(request, _options(timeout, metadata, wait_for_ready=wait_for_ready))


class ServerStreamMethod(Generic[RequestT, ReplyT]):
    """One request, any number of replies: ``async with method(request) as call: async for reply in call``."""

    __slots__ = ("_invoke",)

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke

    def __call__(
        self,
        request: RequestT,
        *,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        wait_for_ready: bool = False,
    ) -> Opening[RequestT, ReplyT]:
        """Prepare the call; it begins when awaited or entered."""
        return Opening(self._invoke, request, _options(timeout, metadata, wait_for_ready=wait_for_ready))


class ClientStreamMethod(Generic[RequestT, ReplyT]):
    """Any number of requests; replies by the method's kind: `ClientCall.finish` for one, iteration for many."""

    __slots__ = ("_invoke",)

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke

    def __call__(
        self,
        *,
        timeout: float | None = None,
        metadata: MetadataLike | None = None,
        wait_for_ready: bool = False,
    ) -> Opening[RequestT, ReplyT]:
        """Prepare the call; it begins when awaited or entered."""
        return Opening(self._invoke, None, _options(timeout, metadata, wait_for_ready=wait_for_ready))


class Opening(Generic[RequestT, ReplyT]):
    """A streaming call to begin. Enter it: leaving the block ends the call, also after an error inside."""

    __slots__ = ("_call", "_invoke", "_options", "_request")

    def __init__(self, invoke: Invoke, request: Any, options: CallOptions) -> None:
        self._invoke = invoke
        self._request = request
        self._options = options
        self._call: ClientCall[RequestT, ReplyT] | None = None

    async def _open(self) -> ClientCall[RequestT, ReplyT]:
        self._call = cast("ClientCall[RequestT, ReplyT]", await self._invoke(self._request, self._options))
        return self._call

    def __await__(self) -> Any:
        return self._open().__await__()

    async def __aenter__(self) -> ClientCall[RequestT, ReplyT]:
        return await self._open()

    async def __aexit__(self, *_: object) -> None:
        if self._call is not None:
            self._call.cancel()


class ClientCall(Generic[RequestT, ReplyT]):
    """A streaming call in progress."""

    __slots__ = ("_closed", "_parse", "_session", "_stream")

    def __init__(self, session: ClientSession, stream: Stream, parse: Callable[[bytes], Any]) -> None:
        self._session = session
        self._stream = stream
        self._parse = parse
        self._closed = not stream.kind.client_streaming

    async def send(self, request: RequestT) -> None:
        """Send one message; waits while the server reads more slowly than we send.

        Raises:
            MisusedStream: after `half_close`, or the method's client does not stream.
            EOFError: the server ended the call successfully already.
            HoldfastError: the call failed; only RESOURCE_EXHAUSTED leaves it running.
        """
        if self._closed:
            raise MisusedStream("ttrpc: stream closed")
        await self._session.send(self._stream, cast(Any, request).SerializeToString())

    async def half_close(self) -> None:
        """Signal the end of our messages to the server; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._session.half_close(self._stream)

    async def finish(self) -> ReplyT:
        """Half-close, and wait for the one reply of a server that does not stream."""
        if self._stream.kind.server_streaming:
            raise MisusedStream("this method streams its replies: iterate over the call")
        await self.half_close()
        stream = self._stream
        if stream.answer is None and stream.error is None:
            await self._session.answer(stream)
        if stream.error is not None:
            raise stream.error
        return cast(ReplyT, parsed(self._parse, stream.answer or b""))

    def __aiter__(self) -> Self:
        if not self._stream.kind.server_streaming:
            raise MisusedStream("this method has one reply: call finish()")
        return self

    async def __anext__(self) -> ReplyT:
        message = await self._session.next_message(self._stream)
        if message is None:
            raise StopAsyncIteration
        return cast(ReplyT, parsed(self._parse, message))

    async def receive(self) -> ReplyT:
        """Return the next reply.

        Raises:
            EOFError: the server ended the call successfully.
        """
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise EOFError("ttrpc: end of stream") from None

    def cancel(self) -> None:
        """End the call on our side. The server is not informed; its later frames are dropped."""
        self._closed = True
        self._session.abandon(self._stream)


def parsed(parse: Callable[[bytes], Any], data: bytes) -> Any:
    """Return a reply from its bytes. Raises PeerBrokeProtocol when they are no reply."""
    try:
        return parse(data)
    except DecodeError as error:
        raise PeerBrokeProtocol(f"ttrpc: error unmarshalling payload: {error}") from None
