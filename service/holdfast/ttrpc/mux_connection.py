"""asyncio's side of a mux: one socket, and for each stream a transport for a ttrpc session.

The streams share the socket's end and its back-pressure: while one of them is not read, none is, and the peer's kernel
buffer fills. A mux has no other flow control.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from holdfast import log
from holdfast.errors import PeerBrokeProtocol
from holdfast.ttrpc.dial import Connector, ProtocolFactory
from holdfast.ttrpc.mux import MuxReader, split

LOG = log.named(__name__)


class MuxConnection(asyncio.Protocol):
    """The socket. `attach` a protocol to a stream before the peer sends on it: pieces without a protocol are dropped.

    ``ended`` is set when the socket is gone, whichever end closed it; ``why`` is then the error, empty for a plain end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()
        self.why = ""
        self.dropped = 0  # pieces for streams without a protocol
        self._reader = MuxReader()
        self._channels: dict[int, Channel] = {}
        self._transport: asyncio.Transport | None = None
        self._paused: set[int] = set()

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Pass the pieces in ``data`` to their streams' protocols."""
        try:
            pieces = self._reader.feed(data)
        except PeerBrokeProtocol as broken:
            self.why = str(broken)
            self.close()
            return
        for piece in pieces:
            channel = self._channels.get(piece.stream)
            if channel is None:
                self.dropped += 1
                LOG.debug(
                    "mux: dropped a piece of a stream without a reader", stream=piece.stream, size=len(piece.data)
                )
            else:
                channel.protocol.data_received(piece.data)

    def eof_received(self) -> None:
        """Note an end inside a frame: the peer closed the socket."""
        if self._reader.partial:
            self.why = self.why or "the connection ended inside a frame"

    def connection_lost(self, exc: Exception | None) -> None:
        """End all streams: the socket is gone."""
        if exc is not None:
            self.why = self.why or str(exc)
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.protocol.connection_lost(exc)
        self.ended.set()

    def pause_writing(self) -> None:
        """Pause all streams' writers: the peer reads more slowly than we write."""
        for channel in self._channels.values():
            channel.protocol.pause_writing()

    def resume_writing(self) -> None:
        """Resume all streams' writers: the peer caught up."""
        for channel in tuple(self._channels.values()):
            channel.protocol.resume_writing()

    # what the owner calls

    def attach(self, stream: int, protocol: asyncio.Protocol) -> None:
        """Connect a protocol to a stream.

        Raises:
            ConnectionError: the mux is not connected, or no longer, or the stream has a protocol.
        """
        if self._transport is None or self._transport.is_closing() or stream in self._channels:
            raise ConnectionError(f"mux: stream {stream} cannot be opened")
        self._channels[stream] = channel = Channel(self, stream, protocol)
        protocol.connection_made(channel)

    def connector(self, stream: int) -> Connector:
        """Return a connector for a ttrpc client: its one connection is this stream; it cannot reconnect."""

        async def connect(factory: ProtocolFactory) -> object:
            if self._transport is None or self._transport.is_closing():
                raise ConnectionResetError("mux: the trunk is closed")
            protocol = factory()
            self.attach(stream, protocol)
            return protocol

        return connect

    def close(self) -> None:
        """Close the socket after the written data is sent, and all streams with it."""
        if self._transport is not None:
            self._transport.close()

    # what channels call

    @property
    def closing(self) -> bool:
        """Whether nothing can be written now."""
        return self._transport is None or self._transport.is_closing()

    def say(self, stream: int, messages: Iterable[bytes]) -> None:
        """Write whole ttrpc frames."""
        if self._transport is not None:
            self._transport.writelines([frame for message in messages for frame in split(stream, message)])

    def limit(self, high: int | None, low: int | None) -> None:
        """Set how many bytes may wait to be sent."""
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high, low)

    def listen(self, stream: int, *, wanted: bool) -> None:
        """Read the socket as long as every stream wants to be read."""
        before = bool(self._paused)
        (self._paused.discard if wanted else self._paused.add)(stream)
        if self._transport is None or self._transport.is_closing() or before == bool(self._paused):
            return
        (self._transport.pause_reading if self._paused else self._transport.resume_reading)()

    def detach(self, stream: int) -> None:
        """End a stream on our side. The peer is not informed: a mux has no message for it."""
        channel = self._channels.pop(stream, None)
        if channel is not None:
            self.listen(stream, wanted=True)
            asyncio.get_running_loop().call_soon(channel.protocol.connection_lost, None)


class Channel(asyncio.Transport):
    """One stream of a mux as an asyncio transport. Each item written is one ttrpc frame."""

    def __init__(self, mux: MuxConnection, stream: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self._mux = mux
        self._stream = stream
        self._closed = False

    def write(self, data: Any) -> None:
        """Write one frame."""
        self._mux.say(self._stream, (data,))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Write frames, one per item."""
        self._mux.say(self._stream, list_of_data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the limits of the socket's buffer, which all streams share."""
        self._mux.limit(high, low)

    def pause_reading(self) -> None:
        """Stop reading, for all streams."""
        self._mux.listen(self._stream, wanted=False)

    def resume_reading(self) -> None:
        """Read again, unless another stream is paused."""
        self._mux.listen(self._stream, wanted=True)

    def is_closing(self) -> bool:
        """Whether nothing can be written now."""
        return self._closed or self._mux.closing

    def close(self) -> None:
        """End this stream on our side; the socket stays open."""
        if not self._closed:
            self._closed = True
            self._mux.detach(self._stream)

    def abort(self) -> None:
        """End this stream as `close` does: the socket still sends the data already written."""
        self.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``default``: a stream has no information on the socket below it."""
        del name
        return default


async def dial(connect: Connector) -> MuxConnection:
    """Return a mux over a new connection.

    Raises:
        OSError: no process listens there, or the connection is not permitted.
    """
    mux = MuxConnection()
    await connect(lambda: mux)
    return mux
