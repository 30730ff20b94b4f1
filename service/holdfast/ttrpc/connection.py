"""One connection, either end of it, without a socket: bytes in, events and bytes out.

Whoever drives a connection gives it what was read (`receive`), acts on the events, and writes what piles up in
`outgoing`; each item there is one frame. Time is the driver's too: deadlines are in its clock, `earliest` says when to
call `expire`. Every refusal's code and text is ttrpc 1.2.9's.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from holdfast.errors import Code, DeadlineExceeded, HoldfastError, MisusedStream, PeerBrokeProtocol, from_status
from holdfast.ttrpc import envelope
from holdfast.ttrpc.frame import (
    DATA,
    MAX_DATA_BYTES,
    MAX_STREAM_ID,
    NO_DATA,
    REMOTE_CLOSED,
    REMOTE_OPEN,
    REQUEST,
    RESPONSE,
    Frame,
    FrameReader,
    Oversized,
    encode,
    too_long,
)
from holdfast.ttrpc.streams import (
    CLIENT_TABLE,
    OVER_BUDGET,
    SERVER_TABLE,
    Act,
    Kind,
    Limits,
    Purse,
    State,
    Stream,
    arrival_of,
)

EVEN_ID = "StreamID must be odd for client initiated streams"
USED_ID = "StreamID cannot be re-used and must increment"
GONE_ID = "StreamID is no longer active"
SERVER_CLOSED = "ttrpc: server closed"
CLOSED = "ttrpc: closed"


class Event(enum.Enum):
    """What happened to a stream."""

    OPENED = "opened"  # server: a call to run
    ARRIVED = "arrived"  # a message, or the end of messages
    ENDED = "ended"  # the stream is over: answered, failed, or refused


Events = list[tuple[Event, Stream]]


class Target(Protocol):
    """What the connection must know of a method."""

    @property
    def kind(self) -> Kind:
        """Its shape."""


class Refused(Exception):
    """A request that leads nowhere: the code and sentence it is answered with."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


#: From a request's bytes to the method and the rest of the request. Raises Refused or PeerBrokeProtocol.
Resolve = Callable[[bytes], tuple[Target, envelope.Parts]]


class Connection:
    """What both ends share: the reader, the table of live streams, their deadlines, the outbox."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.streams: dict[int, Stream] = {}
        self.outgoing: list[bytes] = []
        self.outgoing_bytes = 0
        self.earliest = inf  # no live stream's deadline is before this
        self._reader = FrameReader()
        self._purse = Purse(limits.connection_bytes)

    @property
    def held_bytes(self) -> int:
        """What the mailboxes and requests of all streams hold."""
        return self._purse.spent

    @property
    def inside_frame(self) -> bool:
        """Whether an end of the byte stream now would cut a frame."""
        return self._reader.partial

    def take_outgoing(self) -> list[bytes]:
        """The frames to write, in order; the outbox is empty afterwards."""
        frames, self.outgoing, self.outgoing_bytes = self.outgoing, [], 0
        return frames

    def expire(self, now: float) -> list[Stream]:
        """End every stream whose deadline has passed. Costs a look at each live stream, so it is called rarely."""
        late = [stream for stream in self.streams.values() if stream.deadline <= now]
        for stream in late:
            self._end_late(stream)
        self.earliest = min((stream.deadline for stream in self.streams.values()), default=inf)
        return late

    def send(self, stream: Stream, message: bytes) -> None:
        """Send one message on a stream.

        Raises:
            HoldfastError: RESOURCE_EXHAUSTED, the message does not fit a frame; nothing was sent.
        """
        if len(message) > MAX_DATA_BYTES:
            raise from_status(Code.RESOURCE_EXHAUSTED, too_long(len(message)))
        self._put(stream.id, DATA, 0, message)

    def _end_late(self, stream: Stream) -> None:
        self._forget(stream, DeadlineExceeded())

    def _forget(self, stream: Stream, error: HoldfastError | None = None, *, keep: bool = False) -> None:
        self.streams.pop(stream.id, None)
        stream.end(error, keep=keep)

    def _put(self, stream_id: int, kind: int, flags: int, data: bytes) -> None:
        frame = encode(stream_id, kind, flags, data)
        self.outgoing.append(frame)
        self.outgoing_bytes += len(frame)

    def _watch(self, stream: Stream) -> None:
        self.streams[stream.id] = stream
        if stream.deadline < self.earliest:
            self.earliest = stream.deadline


class ServerConnection(Connection):
    """The server's end. Streams open when the client's requests arrive and end with one answer each."""

    def __init__(self, resolve: Resolve, limits: Limits) -> None:
        super().__init__(limits)
        self._resolve = resolve
        self._last_id = 0
        self.draining = False  # new requests are told so; those accepted are answered

    def receive(self, data: bytes, now: float) -> Events:
        """Act on bytes from the client."""
        events: Events = []
        for frame in self._reader.feed(data):
            if isinstance(frame, Oversized):
                self._reject(frame.stream_id, Code.RESOURCE_EXHAUSTED, too_long(frame.data_bytes), events)
            elif not frame.stream_id & 1:
                self._answer(frame.stream_id, Code.INVALID_ARGUMENT, EVEN_ID)
            elif frame.kind == REQUEST:
                self._on_request(frame, now, events)
            elif frame.kind == DATA:
                self._on_data(frame, events)
        return events

    def respond(self, stream: Stream, payload: bytes) -> None:
        """End a call well with its one response; a response that does not fit becomes RESOURCE_EXHAUSTED."""
        data = envelope.encode_response(payload)
        if len(data) > MAX_DATA_BYTES:
            self.fail(stream, Code.RESOURCE_EXHAUSTED, too_long(len(data)))
            return
        self._forget(stream)
        self._put(stream.id, RESPONSE, 0, data)

    def finish(self, stream: Stream) -> None:
        """End a call whose server was streaming well."""
        self._forget(stream)
        self._put(stream.id, DATA, REMOTE_CLOSED | NO_DATA, b"")

    def fail(self, stream: Stream, code: int, text: str, details: tuple[Any, ...] = ()) -> None:
        """End a call badly."""
        self._forget(stream, from_status(code, text, details))
        self._answer(stream.id, code, text, details)

    def lose(self) -> list[Stream]:
        """The connection is gone: nobody can be answered any more. Returns the streams that were live."""
        live = list(self.streams.values())
        for stream in live:
            self._forget(stream, from_status(Code.CANCELED, "context canceled"))
        return live

    def _end_late(self, stream: Stream) -> None:
        self.fail(stream, Code.DEADLINE_EXCEEDED, "context deadline exceeded")

    def _answer(self, stream_id: int, code: int, text: str, details: tuple[Any, ...] = ()) -> None:
        data = envelope.encode_failure(code, text, details)
        if len(data) > MAX_DATA_BYTES:
            data = envelope.encode_failure(code, text[:4096])
        self._put(stream_id, RESPONSE, 0, data)

    def _reject(self, stream_id: int, code: int, text: str, events: Events) -> None:
        """Answer an id; if it is a live stream's, that answer was its end."""
        stream = self.streams.get(stream_id)
        if stream is None:
            self._answer(stream_id, code, text)
        else:
            self.fail(stream, code, text)
            events.append((Event.ENDED, stream))

    def _on_request(self, frame: Frame, now: float, events: Events) -> None:
        if frame.stream_id <= self._last_id:
            self._answer(frame.stream_id, Code.INVALID_ARGUMENT, USED_ID)
            return
        self._last_id = frame.stream_id
        try:
            target, parts = self._admit(frame)
        except Refused as refusal:
            self._answer(frame.stream_id, refusal.code, refusal.text)
            return
        except PeerBrokeProtocol as broken:
            self._answer(frame.stream_id, Code.INVALID_ARGUMENT, str(broken))
            return
        kind = target.kind
        more = kind.client_streaming and not frame.flags & REMOTE_CLOSED
        timeout_nano = parts.timeout_nano
        deadline = now + timeout_nano / 1e9 if timeout_nano else inf
        stream = Stream(frame.stream_id, kind, State.OPEN if more else State.HALF_CLOSED, deadline, self._purse)
        stream.request = (target, parts)
        if timeout_nano < 0:
            self._answer(stream.id, Code.DEADLINE_EXCEEDED, "context deadline exceeded")
        elif not self._keep_request(stream, parts.payload):
            self._answer(stream.id, Code.RESOURCE_EXHAUSTED, "ttrpc: connection holds too many unread bytes")
        else:
            self._watch(stream)
            events.append((Event.OPENED, stream))

    def _admit(self, frame: Frame) -> tuple[Target, envelope.Parts]:
        if self.draining:
            raise Refused(Code.UNAVAILABLE, SERVER_CLOSED)
        if len(self.streams) >= self.limits.concurrent_calls:
            most = self.limits.concurrent_calls
            raise Refused(Code.RESOURCE_EXHAUSTED, f"ttrpc: more than {most} concurrent calls on one connection")
        return self._resolve(frame.data)

    def _keep_request(self, stream: Stream, payload: bytes) -> bool:
        """A streaming client's request may carry message 1; any other request is message 1, even an empty one."""
        if not stream.kind.client_streaming:
            return stream.hold(len(payload), MAX_DATA_BYTES * 2)
        return not payload or stream.put(payload, self.limits.stream_bytes)

    def _on_data(self, frame: Frame, events: Events) -> None:
        stream = self.streams.get(frame.stream_id)
        if stream is None:
            self._answer(frame.stream_id, Code.INVALID_ARGUMENT, GONE_ID)
            return
        act = SERVER_TABLE[stream.state, arrival_of(frame.flags, frame.data)]
        if act is Act.IGNORE:
            return
        if act in (Act.DELIVER, Act.DELIVER_AND_CLOSE) and not stream.put(frame.data, self.limits.stream_bytes):
            self._reject(stream.id, Code.INVALID_ARGUMENT, OVER_BUDGET, events)
        elif act in (Act.REFUSE_BODY, Act.REFUSE_LATE):
            self._reject(stream.id, Code.INVALID_ARGUMENT, act.value, events)
        else:
            if act is not Act.DELIVER:
                stream.state = State.HALF_CLOSED
            events.append((Event.ARRIVED, stream))


class ClientConnection(Connection):
    """The client's end. Streams open by `open` and end with the server's answer, a deadline, or the caller's loss of interest."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._next_id = 1
        self.strays = 0  # frames for nobody: late answers, mostly

    @property
    def exhausted(self) -> bool:
        """Whether the connection has no stream id left: the next call needs a new one."""
        return self._next_id > MAX_STREAM_ID

    def open(self, request: bytes, kind: Kind, deadline: float, *, first: bool = False) -> Stream:
        """Send an encoded request on a new stream; ``first`` says that it carries a streaming client's first message.

        Raises:
            HoldfastError: RESOURCE_EXHAUSTED, the request does not fit a frame, or too many calls are in progress;
                nothing was sent.
            MisusedStream: the connection is out of ids.
        """
        if len(request) > MAX_DATA_BYTES:
            raise from_status(Code.RESOURCE_EXHAUSTED, too_long(len(request)))
        if self.exhausted:
            raise MisusedStream("this connection has used all its stream ids")
        if len(self.streams) >= self.limits.concurrent_calls:
            most = self.limits.concurrent_calls
            raise from_status(Code.RESOURCE_EXHAUSTED, f"ttrpc: more than {most} concurrent calls on one connection")
        state = State.OPEN if kind.server_streaming else State.AWAITING
        stream = Stream(self._next_id, kind, state, deadline, self._purse)
        self._next_id += 2
        self._watch(stream)
        self._put(stream.id, REQUEST, _request_flags(kind, first=first), request)
        return stream

    def half_close(self, stream: Stream) -> None:
        """Say that no more messages follow."""
        self._put(stream.id, DATA, REMOTE_CLOSED | NO_DATA, b"")

    def abandon(self, stream: Stream) -> None:
        """The caller no longer waits. ttrpc cannot tell the server; what it still sends is dropped."""
        self._forget(stream, from_status(Code.CANCELED, "context canceled"))

    def lose(self, error: HoldfastError) -> list[Stream]:
        """The connection is gone. What had arrived can still be read; returns the streams that were live."""
        live = list(self.streams.values())
        for stream in live:
            self._forget(stream, error, keep=True)
        return live

    def receive(self, data: bytes) -> Events:
        """Act on bytes from the server."""
        events: Events = []
        for frame in self._reader.feed(data):
            stream = self.streams.get(frame.stream_id)
            if stream is None:
                self.strays += 1
            elif isinstance(frame, Oversized):
                error = from_status(Code.RESOURCE_EXHAUSTED, too_long(frame.data_bytes))
                self._end(stream, error, events)
            elif frame.kind == RESPONSE:
                self._on_response(stream, frame.data, events)
            elif frame.kind == DATA:
                self._on_data(stream, frame, events)
            else:
                text = f"unexpected message of type {frame.kind} received: protocol error"
                self._end(stream, PeerBrokeProtocol(text), events)
        return events

    def _end(self, stream: Stream, error: HoldfastError | None, events: Events) -> None:
        self._forget(stream, error, keep=True)
        events.append((Event.ENDED, stream))

    def _on_response(self, stream: Stream, data: bytes, events: Events) -> None:
        try:
            outcome = envelope.decode_response(data)
        except PeerBrokeProtocol as broken:
            outcome = broken
        if isinstance(outcome, HoldfastError):
            self._end(stream, outcome, events)
            return
        if not stream.kind.server_streaming:
            stream.answer = outcome
        elif outcome:  # a streaming server that ends with a response: the payload is its last message
            stream.put(outcome, self.limits.stream_bytes)
        self._end(stream, None, events)

    def _on_data(self, stream: Stream, frame: Frame, events: Events) -> None:
        act = CLIENT_TABLE[stream.state, arrival_of(frame.flags, frame.data)]
        if act is Act.REFUSE_DATA:
            self._end(stream, PeerBrokeProtocol(act.value), events)
        elif act is Act.CLOSE:
            self._end(stream, None, events)
        elif act is not Act.IGNORE:
            if not stream.put(frame.data, self.limits.stream_bytes):
                self._end(stream, from_status(Code.RESOURCE_EXHAUSTED, "ttrpc: stream buffer full"), events)
            elif act is Act.DELIVER_AND_CLOSE:
                self._end(stream, None, events)
            else:
                events.append((Event.ARRIVED, stream))


def _request_flags(kind: Kind, *, first: bool) -> int:
    """Go looks at none of these; the Rust server takes the absence of NO_DATA for a first message."""
    if kind is Kind.UNARY:
        return 0
    if not kind.client_streaming:
        return REMOTE_CLOSED
    return REMOTE_OPEN if first else REMOTE_OPEN | NO_DATA
