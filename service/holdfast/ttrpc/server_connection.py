"""The server's end of a connection, without a socket. Every refusal's code and text is ttrpc 1.2.9's."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from holdfast.errors import Code, PeerBrokeProtocol, from_status
from holdfast.ttrpc import envelope
from holdfast.ttrpc.connection import ARRIVED, ENDED, OPENED, Connection, Events
from holdfast.ttrpc.frame import (
    DATA,
    MAX_DATA_BYTES,
    NO_DATA,
    REMOTE_CLOSED,
    REQUEST,
    RESPONSE,
    Frame,
    Oversized,
    too_long,
)
from holdfast.ttrpc.streams import (
    HALF_CLOSED,
    OPEN,
    OVER_BUDGET,
    SERVER_TABLE,
    Act,
    Kind,
    Limits,
    Stream,
    effect_of,
)

EVEN_ID = "StreamID must be odd for client initiated streams"
USED_ID = "StreamID cannot be re-used and must increment"
GONE_ID = "StreamID is no longer active"
SERVER_CLOSED = "ttrpc: server closed"


class MethodTarget(Protocol):
    """The properties of a method that the connection uses."""

    @property
    def kind(self) -> Kind:
        """The method's shape."""


class CallRefused(Exception):
    """A request without a method to run: the code and text of the response."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


#: From a request's bytes to the method and the rest of the request. Raises Refused or PeerBrokeProtocol.
Resolve = Callable[[bytes], tuple[MethodTarget, envelope.Parts]]


class ServerConnection(Connection):
    """The server's end. A stream opens when the client's request arrives and ends with one response."""

    def __init__(self, resolve: Resolve, limits: Limits) -> None:
        super().__init__(limits)
        self._resolve = resolve
        self._last_id = 0
        self.draining = False  # new requests are refused; accepted ones are answered

    def receive(self, data: bytes, now: float) -> Events:
        """Process bytes from the client."""
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
        """End a call successfully with its one response; a response that does not fit becomes RESOURCE_EXHAUSTED."""
        data = envelope.encode_response(payload)
        if len(data) > MAX_DATA_BYTES:
            self.fail(stream, Code.RESOURCE_EXHAUSTED, too_long(len(data)))
            return
        self._forget(stream)
        self._put(stream.id, RESPONSE, 0, data)

    def finish(self, stream: Stream) -> None:
        """End a call of a streaming server successfully."""
        self._forget(stream)
        self._put(stream.id, DATA, REMOTE_CLOSED | NO_DATA, b"")

    def fail(self, stream: Stream, code: int, text: str, details: tuple[Any, ...] = ()) -> None:
        """End a call with an error."""
        self._forget(stream, from_status(code, text, details))
        self._answer(stream.id, code, text, details)

    def lose(self) -> list[Stream]:
        """End all streams: the connection is gone, no caller can be answered. Return the streams that were live."""
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
        """Answer an id with an error; if it is a live stream's, the answer ends the stream."""
        stream = self.streams.get(stream_id)
        if stream is None:
            self._answer(stream_id, code, text)
        else:
            self.fail(stream, code, text)
            events.append((ENDED, stream))

    def _on_request(self, frame: Frame, now: float, events: Events) -> None:
        stream_id = frame.stream_id
        if stream_id <= self._last_id:
            self._answer(stream_id, Code.INVALID_ARGUMENT, USED_ID)
            return
        self._last_id = stream_id
        try:
            if self.draining or len(self.streams) >= self.limits.concurrent_calls:
                raise self._no_room()
            target, parts = self._resolve(frame.data)
            if len(frame.data) > self.limits.metadata_bytes:
                self._check_metadata(parts)
        except CallRefused as refusal:
            self._answer(stream_id, refusal.code, refusal.text)
            return
        except PeerBrokeProtocol as broken:
            self._answer(stream_id, Code.INVALID_ARGUMENT, str(broken))
            return
        kind = target.kind
        more = kind.client_streaming and not frame.flags & REMOTE_CLOSED
        timeout_nano = parts.timeout_nano
        deadline = now + timeout_nano / 1e9 if timeout_nano else inf
        stream = Stream(stream_id, kind, OPEN if more else HALF_CLOSED, deadline, self._connection_budget)
        stream.request = (target, parts)
        if timeout_nano < 0:
            self._answer(stream.id, Code.DEADLINE_EXCEEDED, "context deadline exceeded")
        elif not self._keep_request(stream, parts.payload):
            self._answer(stream.id, Code.RESOURCE_EXHAUSTED, "ttrpc: connection holds too many unread bytes")
        else:
            self._watch(stream)
            events.append((OPENED, stream))

    def _check_metadata(self, parts: envelope.Parts) -> None:
        size, most = sum(len(key) + len(value) for key, value in parts.metadata), self.limits.metadata_bytes
        if size > most:
            raise CallRefused(Code.RESOURCE_EXHAUSTED, f"ttrpc: {size} bytes of metadata, more than {most}")

    def _no_room(self) -> CallRefused:
        if self.draining:
            return CallRefused(Code.UNAVAILABLE, SERVER_CLOSED)
        most = self.limits.concurrent_calls
        return CallRefused(Code.RESOURCE_EXHAUSTED, f"ttrpc: more than {most} concurrent calls on one connection")

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
        act = SERVER_TABLE[stream.state, effect_of(frame.flags, frame.data)]
        if act is Act.IGNORE:
            return
        if act in (Act.DELIVER, Act.DELIVER_AND_CLOSE) and not stream.put(frame.data, self.limits.stream_bytes):
            self._reject(stream.id, Code.INVALID_ARGUMENT, OVER_BUDGET, events)
        elif act in (Act.REFUSE_BODY, Act.REFUSE_LATE):
            self._reject(stream.id, Code.INVALID_ARGUMENT, act.value, events)
        else:
            if act is not Act.DELIVER:
                stream.state = HALF_CLOSED
            events.append((ARRIVED, stream))
