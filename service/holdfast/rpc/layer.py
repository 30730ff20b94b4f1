"""The interceptor chain, applied once to each method when it is registered: nothing is chained per call.

Order, outermost first: namespace, OpenTelemetry, Prometheus, errors → status. (Stacked per-call interceptors cost 20–33
% of the throughput, one wrapped handler under 5 %: docs/performance.md.) Two checks of the daemon stand inside the
chain, so that their refusals are counted: the gate (draining, the limit of calls), and on TCP the caller's right to the
method.

Four things differ from what grpc.aio does with a bare handler:
- Requests are parsed and replies printed here, so that a message that fails is counted and answered in grpc-go's words.
- Every stream is written by a coroutine. grpc.aio drives a generator from outside: if a client leaves while a message
  is being sent, the generator stays suspended until the garbage collector finds it.
- A call that ran into its deadline counts as DeadlineExceeded, not as Canceled.
- Blocking handlers are refused. The methods that generated base classes leave open answer UNIMPLEMENTED.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from msgspec import Struct, field

from holdfast import log
from holdfast.errors import (
    SHUTTING_DOWN,
    Code,
    HoldfastError,
    Internal,
    MisusedPlugin,
    Unavailable,
    Unimplemented,
    code_of,
)
from holdfast.failure import contained, ends_the_task, fields, sentence
from holdfast.rpc.call_scope import CallScope
from holdfast.rpc.counters import Counters, MethodCounters, MethodType
from holdfast.rpc.draining import Gate, StreamCall
from holdfast.rpc.status import STATUS_CODES, code_number, details_of, words_of

if TYPE_CHECKING:
    from holdfast.rpc.spans import CallTracing

LOG = log.named(__name__)

Behavior = Callable[[Any, Any], Any]
#: One call from its raw request to its raw reply; None where replies are written to the context.
Work = Callable[[Any, Any], Coroutine[Any, Any, bytes | None]]
#: Raises PermissionDenied for a caller that may not call the method; called with the gRPC context.
Authorize = Callable[[Any], None]

#: The caller gave up, or the client left: no caller is left to answer.
_UNANSWERABLE = (asyncio.CancelledError, GeneratorExit, grpc.aio.InternalError)

#: A client's cancellation arrives a moment before our own clock reaches the deadline it sent.
DEADLINE_SLACK_S = 0.02


class InterceptorLayer(Struct, frozen=True):
    """The layer that wraps every method of the daemon."""

    counters: Counters = field(default_factory=Counters)
    gate: Gate = field(default_factory=Gate)
    tracing: CallTracing | None = None

    def wrap(self, full_method: str, handler: Any, authorize: Authorize | None = None) -> Any:
        """Return a handler of the same shape around ``handler`` (a grpc.RpcMethodHandler).

        Raises:
            MisusedPlugin: its behaviour is not async.
        """
        kind = MethodType.of(handler.request_streaming, handler.response_streaming)
        method = _Method(self, full_method, self.counters.method(full_method, kind), handler, authorize)
        call = method.call(method.work(getattr(handler, _BEHAVIORS[kind])))
        return _MAKERS[kind](
            call,
            request_deserializer=method.parsed if handler.request_streaming else None,
            response_serializer=method.printed if handler.response_streaming else None,
        )


class _Method:
    """One wrapped method: the state that its calls share."""

    def __init__(
        self,
        layer: InterceptorLayer,
        full_method: str,
        counters: MethodCounters,
        handler: Any,
        authorize: Authorize | None,
    ) -> None:
        self._gate, self._tracing, self._counters = layer.gate, layer.tracing, counters
        self._full_method, self._authorize = full_method, authorize
        self._reads, self._writes = handler.request_streaming, handler.response_streaming
        self._parse = handler.request_deserializer or _as_it_is
        self._print = handler.response_serializer or _as_it_is

    def call(self, work: Work) -> Behavior:
        """Return ``work`` with the whole layer around it, as grpc.aio calls it."""
        gate, authorize, counters, tracing = self._gate, self._authorize, self._counters, self._tracing

        async def call(request: Any, context: Any) -> bytes | None:
            scope = CallScope(self._full_method, counters, tracing, context.invocation_metadata() or ())
            try:
                with gate:
                    if authorize is not None:
                        authorize(context)
                    data = await work(request, context)
                code = Code(code_number(context.code()))
            except BaseException as raised:  # an author's code may raise anything
                error = raised if ends_the_task(raised) else contained(raised)
                code = self._code(error, context)  # before anything is awaited: the caller may be gone by then
                words = words_of(error, code)
                answered = self._is_answered(error, context)
                if answered and (error is not raised or not isinstance(error, HoldfastError)):
                    LOG.error("handler failed", method=self._full_method, **fields(raised, traced=log.is_debug()))
                scope.end(code, words)  # before the answer: its receiver may read the counters
                if answered:
                    trailers = context.trailing_metadata() + details_of(error, code, words)
                    # Raises AbortError; or InternalError when the client left in the meantime, which grpc.aio is
                    # quiet about.
                    await context.abort(STATUS_CODES[code], words, trailers)
                if error is raised:
                    raise
                raise error from raised
            scope.end(code, "")
            return data

        return call

    def work(self, behavior: Behavior) -> Work:
        """Return the method's own part of a call.

        Raises:
            MisusedPlugin: it is not async.
        """
        if _is_generated(behavior):
            return self._left_open
        if self._writes and inspect.isasyncgenfunction(behavior):
            return self._stream(self._generator(behavior))
        if not inspect.iscoroutinefunction(behavior):
            raise MisusedPlugin(
                f"{self._full_method}: {getattr(behavior, '__qualname__', behavior)} must be an `async def`;"
                " call what blocks in it through asyncio.to_thread"
            )
        return self._stream(self._coroutine(behavior)) if self._writes else self._single(behavior)

    def _single(self, behavior: Behavior) -> Work:
        parse = None if self._reads else self.parsed

        async def work(request: Any, context: Any) -> bytes:
            reply = await behavior(request if parse is None else parse(request), context)
            if context.code():
                return b""  # the handler set a status; grpc drops the reply
            return self.printed(reply)

        return work

    def _coroutine(self, behavior: Behavior) -> Work:
        parse = None if self._reads else self.parsed

        async def work(request: Any, context: Any) -> None:
            await behavior(request if parse is None else parse(request), context)

        return work

    def _generator(self, behavior: Behavior) -> Work:
        parse = None if self._reads else self.parsed

        async def work(request: Any, context: Any) -> None:
            write = context.write
            async with aclosing(behavior(request if parse is None else parse(request), context)) as replies:
                async for reply in replies:
                    await write(reply)

        return work

    def _stream(self, inner: Work) -> Work:
        gate = self._gate

        async def work(request: Any, context: Any) -> None:
            stream = gate.add_stream()
            try:
                await inner(request, _Sender(context, stream))
            except asyncio.CancelledError:
                if not stream.cut:
                    raise
                stream.task.uncancel()
                raise Unavailable(SHUTTING_DOWN) from None
            finally:
                gate.drop_stream(stream)

        return work

    async def _left_open(self, request: Any, context: Any) -> None:
        raise Unimplemented(f"method {self._full_method.rpartition('/')[2]} not implemented")

    def parsed(self, data: bytes) -> Any:
        """Parse and count one incoming message."""
        self._counters.received += 1
        try:
            return self._parse(data)
        except Exception as error:  # protobuf's DecodeError, or whatever a hand-written deserializer raises
            raise Internal(f"grpc: error unmarshalling request: {error}") from error

    def printed(self, reply: Any) -> bytes:
        """Serialize and count one outgoing message."""
        try:
            data: bytes = self._print(reply)
        except Exception as error:
            LOG.error("handler gave a reply that cannot be sent", method=self._full_method, error=sentence(error))
            raise Internal(f"grpc: error while marshaling: {error}") from error
        self._counters.sent += 1
        return data

    def _code(self, error: BaseException, context: Any) -> Code:
        """The code under which a call that raised is counted."""
        if isinstance(error, HoldfastError):
            return error.code
        named = Code(code_number(context.code()))
        if named is not Code.OK:
            return named  # by context.abort, or by set_code before the handler raised something of its own
        if isinstance(error, asyncio.CancelledError):
            left_s = context.time_remaining()
            return Code.DEADLINE_EXCEEDED if left_s is not None and left_s <= DEADLINE_SLACK_S else Code.CANCELED
        if isinstance(error, grpc.aio.InternalError):
            return Code.CANCELED  # a write to a client that left
        return code_of(error)

    def _is_answered(self, error: BaseException, context: Any) -> bool:
        """Whether a caller is left to receive ``error``."""
        return not (context.done() or isinstance(error, _UNANSWERABLE))


class _Sender:
    """Context of a call that sends messages; for the drain, it marks the stream while a message is being sent.

    gRPC loses count of its messages when a send is cancelled: it refuses the status afterwards, and the caller would
    wait indefinitely.
    """

    def __init__(self, context: Any, stream: StreamCall) -> None:
        self._context, self._stream = context, stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, message: Any) -> None:
        """Send one message.

        Raises:
            Unavailable: the drain waited for this message to be sent.
        """
        stream = self._stream
        stream.sending = True
        try:
            await self._context.write(message)
        finally:
            stream.sending = False
        if stream.cut:
            raise Unavailable(SHUTTING_DOWN)


def _is_generated(behavior: Behavior) -> bool:
    """Whether this is the placeholder of a generated base class: the plugin does not implement the method."""
    return getattr(behavior, "__module__", "").endswith("_pb2_grpc")


def _as_it_is(data: Any) -> Any:
    return data


_BEHAVIORS = {
    MethodType.UNARY: "unary_unary",
    MethodType.SERVER_STREAM: "unary_stream",
    MethodType.CLIENT_STREAM: "stream_unary",
    MethodType.BIDI_STREAM: "stream_stream",
}
_MAKERS: dict[MethodType, Callable[..., Any]] = {
    MethodType.UNARY: grpc.unary_unary_rpc_method_handler,
    MethodType.SERVER_STREAM: grpc.unary_stream_rpc_method_handler,
    MethodType.CLIENT_STREAM: grpc.stream_unary_rpc_method_handler,
    MethodType.BIDI_STREAM: grpc.stream_stream_rpc_method_handler,
}
