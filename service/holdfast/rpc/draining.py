"""Calls in flight: their limit, and how they end when the daemon ends.

While the gate is open, a call costs one addition. Draining refuses new calls with UNAVAILABLE (a client goes to another
node or tries again), ends the streams that would never end by themselves, and waits for the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from holdfast.errors import SHUTTING_DOWN, ResourceExhausted, Unavailable

SENDING_S = 0.2
TOO_MANY = "more than {} concurrent calls (grpc.max_concurrent_rpcs)"


class StreamCall:
    """A call that its caller or the drain ends. ``sending``: one of its messages is being sent now."""

    __slots__ = ("cut", "sending", "task")

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.task = task
        self.cut = self.sending = False


class Gate:
    """Gate that every wrapped call passes through. ``limit`` is the most calls at a time, 0 for any number."""

    def __init__(self, limit: int = 0) -> None:
        self.closed = False
        self.running = 0
        self._limit = limit
        self._streams: dict[asyncio.Task[object], StreamCall] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __enter__(self) -> None:
        """Let one call in.

        Raises:
            Unavailable: the daemon drains.
            ResourceExhausted: ``limit`` calls are running.
        """
        if self.closed:
            raise Unavailable(SHUTTING_DOWN)
        if self._limit and self.running >= self._limit:
            raise ResourceExhausted(TOO_MANY.format(self._limit))
        self.running += 1
        if self.running == 1:
            self._empty.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.running -= 1
        if self.running == 0:
            self._empty.set()

    def share(self, limit: int) -> Share:
        """Return a gate within this one that lets at most ``limit`` calls in, so that they leave room for others."""
        return Share(self, limit)

    def add_stream(self) -> StreamCall:
        """Register this task as a stream that the drain ends; pass the result to `drop_stream`."""
        task = asyncio.current_task()
        assert task is not None
        stream = self._streams[task] = StreamCall(task)
        return stream

    def drop_stream(self, stream: StreamCall) -> None:
        """Forget a stream that ended."""
        self._streams.pop(stream.task, None)

    def was_cut(self) -> bool:
        """Whether the drain cancelled this task, and not the caller."""
        task = asyncio.current_task()
        return task is not None and task in self._streams and self._streams[task].cut

    async def drain(self, grace_s: float) -> int:
        """Close the gate and wait; return the number of calls still running after ``grace_s`` seconds.

        A stream is cut between two messages, or after `SENDING_S` if its reader does not take the message being sent.
        """
        self.closed = True
        for stream in self._streams.values():
            stream.cut = True
        self._cancel(sending=False)
        try:
            async with asyncio.timeout(grace_s):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SENDING_S):
                        await self._empty.wait()
                self._cancel(sending=True)
                await self._empty.wait()
        except TimeoutError:
            pass
        return self.running

    def _cancel(self, *, sending: bool) -> None:
        for stream in tuple(self._streams.values()):
            if stream.sending is sending:
                stream.task.cancel(SHUTTING_DOWN)


class Share(Gate):
    """Part of another gate: its calls count in both."""

    def __init__(self, whole: Gate, limit: int) -> None:
        super().__init__(limit)
        self._whole = whole
        self._streams = whole._streams  # the drain of the whole ends them

    def __enter__(self) -> None:
        """Let one call in, as `Gate` does."""
        super().__enter__()
        try:
            self._whole.__enter__()
        except BaseException:
            super().__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._whole.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)
