"""The client's end of a connection, without a socket."""

from __future__ import annotations

from holdfast.errors import Code, ConnectionClosed, HoldfastError, MisusedStream, PeerBrokeProtocol, from_status
from holdfast.ttrpc import envelope
from holdfast.ttrpc.connection import ARRIVED, ENDED, Connection, Events
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
    Oversized,
    too_long,
)
from holdfast.ttrpc.streams import AWAITING, CLIENT_TABLE, OPEN, Act, Kind, Limits, Stream, effect_of

CLOSED = "ttrpc: closed"
FULL = "ttrpc: stream buffer full"


class ClientConnection(Connection):
    """The client's end. `open` opens a stream; the server's response, a deadline or `abandon` ends it."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._next_id = 1
        self.strays = 0  # frames without a stream, mostly late responses

    @property
    def exhausted(self) -> bool:
        """Whether the connection has no stream id left: the next call needs a new one."""
        return self._next_id > MAX_STREAM_ID

    def open(self, request: bytes, kind: Kind, deadline: float, *, first: bool = False) -> Stream:
        """Send an encoded request on a new stream; ``first``: it carries a streaming client's first message.

        Raises:
            HoldfastError: RESOURCE_EXHAUSTED, the request does not fit a frame, or too many calls are in progress;
                nothing was sent.
            MisusedStream: the connection is out of ids.
        """
        if len(request) > MAX_DATA_BYTES:
            raise from_status(Code.RESOURCE_EXHAUSTED, too_long(len(request)))
        if self._next_id > MAX_STREAM_ID:
            raise MisusedStream("this connection has used all its stream ids")
        if len(self.streams) >= self.limits.concurrent_calls:
            most = self.limits.concurrent_calls
            raise from_status(Code.RESOURCE_EXHAUSTED, f"ttrpc: more than {most} concurrent calls on one connection")
        state = OPEN if kind.server_streaming else AWAITING
        stream = Stream(self._next_id, kind, state, deadline, self._connection_budget)
        self._next_id += 2
        self._watch(stream)
        self._put(stream.id, REQUEST, _request_flags(kind, first=first), request)
        return stream

    def half_close(self, stream: Stream) -> None:
        """Signal the end of our messages to the server."""
        self._put(stream.id, DATA, REMOTE_CLOSED | NO_DATA, b"")

    def abandon(self, stream: Stream) -> None:
        """Remove a stream whose caller no longer waits. ttrpc cannot inform the server; later frames are dropped."""
        self._forget(stream, from_status(Code.CANCELED, "context canceled"))

    def lose(self) -> list[Stream]:
        """End all streams: the connection is gone. Return the live ones; their received messages stay readable."""
        live = list(self.streams.values())
        for stream in live:  # one error per stream: raising it adds a traceback
            self._forget(stream, ConnectionClosed(CLOSED), keep=True)
        return live

    def receive(self, data: bytes) -> Events:
        """Process bytes from the server."""
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
        events.append((ENDED, stream))

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
        elif outcome and not stream.put(outcome, self.limits.stream_bytes):  # its last message, from a streaming server
            self._end(stream, from_status(Code.RESOURCE_EXHAUSTED, FULL), events)
            return
        self._end(stream, None, events)

    def _on_data(self, stream: Stream, frame: Frame, events: Events) -> None:
        act = CLIENT_TABLE[stream.state, effect_of(frame.flags, frame.data)]
        if act is Act.REFUSE_DATA:
            self._end(stream, PeerBrokeProtocol(act.value), events)
        elif act is Act.CLOSE:
            self._end(stream, None, events)
        elif act is not Act.IGNORE:
            if not stream.put(frame.data, self.limits.stream_bytes):
                self._end(stream, from_status(Code.RESOURCE_EXHAUSTED, FULL), events)
            elif act is Act.DELIVER_AND_CLOSE:
                self._end(stream, None, events)
            else:
                events.append((ARRIVED, stream))


def _request_flags(kind: Kind, *, first: bool) -> int:
    """Return a request's flags. Go ignores all; the Rust server takes the absence of NO_DATA for a first message."""
    if kind is Kind.UNARY:
        return 0
    if not kind.client_streaming:
        return REMOTE_CLOSED
    return REMOTE_OPEN if first else REMOTE_OPEN | NO_DATA
