"""One stream: which frames it accepts, and the mailbox that keeps them until a task reads them.

The theory. A stream is one call. It has two halves, and the protocol closes the whole stream when the *server* ends its
half. So the only question while a stream lives is what the other side may still send. That is its `StreamState`; the
tables below give the action for each data frame in each state. An error on one stream does not affect another: no
action in these tables ends a connection.

Rules:

1. An arriving message never waits. It goes into the stream's mailbox at once, or the stream fails.
2. A mailbox is bounded in bytes, and so are all mailboxes of a connection together. ttrpc has no flow control, so the
   choice at the bound is between this stream and every other call; it falls on this stream.
3. An ended stream is removed. A frame for it belongs to no stream.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Any, NamedTuple

from holdfast.errors import HoldfastError
from holdfast.ttrpc.frame import NO_DATA, REMOTE_CLOSED

MAX_METADATA_BYTES = 32 << 10  # as over gRPC


class Limits(NamedTuple):
    """Limits of one connection."""

    concurrent_calls: int = 4096
    """Calls in progress at once; the next is answered RESOURCE_EXHAUSTED."""
    stream_bytes: int = 8 << 20
    """Bytes that one stream's mailbox may have: two messages of the largest size, or 128 Ki empty ones."""
    connection_bytes: int = 64 << 20
    """Bytes that all requests and mailboxes of a connection may have."""
    metadata_bytes: int = MAX_METADATA_BYTES
    """Keys and values beside one request; more are answered RESOURCE_EXHAUSTED."""
    write_bytes: int = 256 << 10
    """Unsent bytes above which senders wait and a server reads no more."""


MESSAGE_OVERHEAD_BYTES = 64  # cost of the object that holds a message, also an empty one


class Kind(enum.Enum):
    """The four shapes of a method, with their Prometheus label values."""

    UNARY = "unary"
    CLIENT_STREAM = "client_stream"
    SERVER_STREAM = "server_stream"
    BIDI_STREAM = "bidi_stream"

    def __init__(self, word: str) -> None:
        self.client_streaming = word in ("client_stream", "bidi_stream")
        self.server_streaming = word in ("server_stream", "bidi_stream")


class StreamState(enum.Enum):
    """The messages that the other side may still send."""

    OPEN = "open"  # messages (both ends); on a client also the end of a streaming server
    AWAITING = "awaiting"  # client: one response, nothing else
    HALF_CLOSED = "half closed"  # server: nothing more
    ENDED = "ended"


#: By name: a lookup of the member in its class costs six times as much, and a call needs several.
OPEN, AWAITING, HALF_CLOSED, ENDED = StreamState


class FrameEffect(enum.Enum):
    """Meaning of a data frame, decoded from its flags and length."""

    MESSAGE = "message"
    LAST_MESSAGE = "message, and no more"  # no body and no flag for that: an empty message
    CLOSE = "no more"
    CLOSE_WITH_BODY = "no more, with a body that has no place there"
    NOTHING = "nothing"


class Act(enum.Enum):
    """Action for a data frame."""

    DELIVER = "deliver"
    DELIVER_AND_CLOSE = "deliver, then no more"
    CLOSE = "no more"
    IGNORE = "ignore"
    REFUSE_BODY = "data close message cannot include data"
    REFUSE_LATE = "data handling error: ttrpc: stream closed"
    REFUSE_DATA = "received data from non-streaming server: protocol error"


OVER_BUDGET = "data handling error: ttrpc: stream buffer full"

SERVER_TABLE: dict[tuple[StreamState, FrameEffect], Act] = {
    (StreamState.OPEN, FrameEffect.MESSAGE): Act.DELIVER,
    (StreamState.OPEN, FrameEffect.LAST_MESSAGE): Act.DELIVER_AND_CLOSE,
    (StreamState.OPEN, FrameEffect.CLOSE): Act.CLOSE,
    (StreamState.OPEN, FrameEffect.CLOSE_WITH_BODY): Act.REFUSE_BODY,
    (StreamState.OPEN, FrameEffect.NOTHING): Act.IGNORE,
    (StreamState.HALF_CLOSED, FrameEffect.MESSAGE): Act.REFUSE_LATE,
    (StreamState.HALF_CLOSED, FrameEffect.LAST_MESSAGE): Act.REFUSE_LATE,
    (StreamState.HALF_CLOSED, FrameEffect.CLOSE): Act.IGNORE,
    (StreamState.HALF_CLOSED, FrameEffect.CLOSE_WITH_BODY): Act.REFUSE_LATE,
    (StreamState.HALF_CLOSED, FrameEffect.NOTHING): Act.IGNORE,
}

CLIENT_TABLE: dict[tuple[StreamState, FrameEffect], Act] = {
    (StreamState.OPEN, FrameEffect.MESSAGE): Act.DELIVER,
    (StreamState.OPEN, FrameEffect.LAST_MESSAGE): Act.DELIVER_AND_CLOSE,
    (StreamState.OPEN, FrameEffect.CLOSE): Act.CLOSE,
    (StreamState.OPEN, FrameEffect.CLOSE_WITH_BODY): Act.DELIVER_AND_CLOSE,  # allowed from a server: its last message
    (StreamState.OPEN, FrameEffect.NOTHING): Act.IGNORE,
    **{(StreamState.AWAITING, effect): Act.REFUSE_DATA for effect in FrameEffect},
}


def effect_of(flags: int, data: bytes) -> FrameEffect:
    """Return the meaning of a data frame. Undefined flags are ignored, as in every implementation."""
    if flags & REMOTE_CLOSED:
        if data:
            return FrameEffect.CLOSE_WITH_BODY
        return FrameEffect.CLOSE if flags & NO_DATA else FrameEffect.LAST_MESSAGE
    return FrameEffect.NOTHING if flags & NO_DATA else FrameEffect.MESSAGE


class ByteBudget:
    """Byte budget of a whole connection."""

    __slots__ = ("limit", "spent")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.spent = 0


_NO_MESSAGES: deque[bytes] = deque()  # shared by all streams at first; a unary call never has another


class Stream:
    """One call on one connection, as both ends see it.

    ``owner`` belongs to the connection's driver: the running handler, or the waiting caller.
    """

    __slots__ = (
        "_connection_budget",
        "_held",
        "answer",
        "deadline",
        "error",
        "id",
        "kind",
        "messages",
        "owner",
        "request",
        "state",
    )

    def __init__(
        self, stream_id: int, kind: Kind, state: StreamState, deadline: float, connection_budget: ByteBudget
    ) -> None:
        self.id = stream_id
        self.kind = kind
        self.state = state
        self.deadline = deadline  # in the driver's clock; infinity for none
        self.messages = _NO_MESSAGES
        self.answer: bytes | None = None  # client: the payload of the response that ended the stream
        self.error: HoldfastError | None = None  # the error that ended the stream, if any
        self.request: Any = None
        self.owner: Any = None
        self._held = 0
        self._connection_budget = connection_budget

    @property
    def remote_open(self) -> bool:
        """Whether another message may arrive."""
        return self.state is OPEN

    def hold(self, data_bytes: int, budget: int) -> bool:
        """Account for bytes kept for this stream; False when they exceed its budget or the connection's."""
        cost = data_bytes + MESSAGE_OVERHEAD_BYTES
        connection_budget = self._connection_budget
        if self._held + cost > budget or connection_budget.spent + cost > connection_budget.limit:
            return False
        self._held += cost
        connection_budget.spent += cost
        return True

    def put(self, message: bytes, budget: int) -> bool:
        """Keep a message for the stream's reader; False when it does not fit."""
        if not self.hold(len(message), budget):
            return False
        if self.messages is _NO_MESSAGES:
            self.messages = deque()
        self.messages.append(message)
        return True

    def take(self) -> bytes | None:
        """Remove and return the oldest message, or None."""
        if not self.messages:
            return None
        message = self.messages.popleft()
        self._give_back(len(message) + MESSAGE_OVERHEAD_BYTES)
        return message

    def end(self, error: HoldfastError | None = None, *, keep: bool = False) -> None:
        """End the stream: nothing more is sent or received. ``keep`` leaves received messages for the reader."""
        self.state = ENDED
        self.error = error
        if not keep:
            self.messages = _NO_MESSAGES
            self._connection_budget.spent -= self._held
            self._held = 0

    def _give_back(self, cost: int) -> None:
        self._held -= cost
        self._connection_budget.spent -= cost
