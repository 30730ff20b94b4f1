"""Either end of one connection, without a socket: bytes in, events and bytes out.

The driver of a connection passes the bytes it read to `receive`, acts on the events, and writes the items of
`outgoing`; each item is one frame. Deadlines are in the driver's clock; `earliest` says when to call `expire`. The code
and text of every refusal are those of ttrpc 1.2.9.
"""

from __future__ import annotations

import enum
from math import inf

from holdfast.errors import Code, DeadlineExceeded, HoldfastError, from_status
from holdfast.ttrpc.frame import (
    DATA,
    MAX_DATA_BYTES,
    FrameReader,
    encode,
    too_long,
)
from holdfast.ttrpc.streams import (
    ByteBudget,
    Limits,
    Stream,
)


class StreamEvent(enum.Enum):
    """Kind of an event on a stream."""

    OPENED = "opened"  # server: a call to run
    ARRIVED = "arrived"  # a message, or the end of messages
    ENDED = "ended"  # the stream is over: answered, failed, or refused


OPENED, ARRIVED, ENDED = StreamEvent  # by name, as the states are
Events = list[tuple[StreamEvent, Stream]]


class Connection:
    """Common base of both ends: the reader, the table of live streams, their deadlines, the outbox."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.streams: dict[int, Stream] = {}
        self.outgoing: list[bytes] = []
        self.outgoing_bytes = 0
        self.earliest = inf  # no live stream's deadline is before this
        self._reader = FrameReader()
        self._connection_budget = ByteBudget(limits.connection_bytes)

    @property
    def held_bytes(self) -> int:
        """Bytes in the mailboxes and requests of all streams."""
        return self._connection_budget.spent

    @property
    def inside_frame(self) -> bool:
        """Whether the byte stream is inside a frame now."""
        return self._reader.partial

    def take_outgoing(self) -> list[bytes]:
        """Return the frames to write, in order, and empty the outbox."""
        frames, self.outgoing, self.outgoing_bytes = self.outgoing, [], 0
        return frames

    def expire(self, now: float) -> list[Stream]:
        """End every stream whose deadline has passed. Checks each live stream, so it is called rarely."""
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
        self.earliest = min(self.earliest, stream.deadline)
