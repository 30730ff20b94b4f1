"""asyncio's side of one connection: pass on the bytes read, write the frames, enforce deadlines.

One writer: only `_flush` writes, so frames leave in the order they were decided. The frames of one turn of the loop
leave in few writes, `FRAMES_PER_WRITE` frames each; but the only call in progress does not wait for the turn to end.
So a single caller gets low latency, and many callers get high throughput: one write per frame costs a system call each,
one write per turn leaves the other end without work until the turn is over.

It is a Protocol, not asyncio's streams, so that an idle connection has no task and no buffer of its own.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import cast

from holdfast.ttrpc.connection import Connection
from holdfast.ttrpc.streams import Stream

FRAMES_PER_WRITE = 16
SENDS_PER_TURN = 64  # a sender that never waits yields after this many messages


class Wire(asyncio.Protocol):
    """Common base of server and client sessions.

    The transport may be any asyncio transport (a mux over a single socket, for instance). `writelines` gets one frame
    per item, for a transport that must see where frames end.
    """

    def __init__(self, connection: Connection) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self._base = connection
        self._flush_is_due = False
        self._closing = False
        self._may_write = asyncio.Event()
        self._may_write.set()
        self.paused = False
        self._sends = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed = inf

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=self._base.limits.write_bytes)
        if self._closing:  # closed before it was connected
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the transport is gone, for any reason."""
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()

    def pause_writing(self) -> None:
        """Pause writers: the peer reads more slowly than we write."""
        self.paused = True
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Resume writers: the peer caught up."""
        self.paused = False
        self._may_write.set()

    # what the sessions call

    def stream_is_late(self, stream: Stream) -> None:
        """Wake or stop the stream's owner: a deadline passed and the connection ended the stream."""
        raise NotImplementedError

    def flush_soon(self, *, now: bool = False) -> None:
        """Write the outgoing frames: at once if they are worth a write, or at the end of this turn of the loop."""
        if now or len(self._base.outgoing) >= FRAMES_PER_WRITE:
            self._flush()
        elif not self._flush_is_due:
            self._flush_is_due = True
            self.loop.call_soon(self._flush)

    async def room(self) -> None:
        """Wait until the peer has read enough, and let other tasks run from time to time."""
        if self._base.outgoing_bytes > self._base.limits.write_bytes:
            self._flush()
        if self.paused:
            await self._may_write.wait()
        self._sends += 1
        if self._sends >= SENDS_PER_TURN:
            self._sends = 0
            await asyncio.sleep(0)

    def watch_deadlines(self) -> None:
        """Arm the timer for the earliest deadline, if it is not armed for an earlier one."""
        earliest = self._base.earliest
        if earliest < self._armed:
            if self._timer is not None:
                self._timer.cancel()
            self._armed = earliest
            self._timer = self.loop.call_at(earliest, self._on_timer)

    def close(self) -> None:
        """Write the remaining frames, then close."""
        self._closing = True
        self._flush()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close without writing the remaining frames."""
        self._closing = True
        if self.transport is not None:
            self.transport.abort()

    def _flush(self) -> None:
        self._flush_is_due = False
        frames = self._base.take_outgoing()
        if not frames or self.transport is None or self.transport.is_closing():
            return
        if len(frames) == 1:
            self.transport.write(frames[0])
        else:
            self.transport.writelines(frames)

    def _on_timer(self) -> None:
        self._timer, self._armed = None, inf
        for stream in self._base.expire(self.loop.time()):
            self.stream_is_late(stream)
        self.flush_soon(now=True)
        self.watch_deadlines()
