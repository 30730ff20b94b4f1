"""Access to content on the loop from the thread that packs or unpacks a layer.

Each call passes one piece of at most 1 MiB and waits for it, so that memory does not depend on the blob's size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextvars import copy_context
from threading import Event
from typing import Any, Protocol, TypeVar

from msgspec import Struct, field

from holdfast.errors import BadLayer, Canceled

T = TypeVar("T")

FRAME = 1 << 20


class BlobReader(Protocol):
    """An open blob."""

    size: int

    async def read(self, offset: int, size: int) -> bytes:
        """Return at most ``size`` bytes; fewer only at the end."""


class BlobWriter(Protocol):
    """An open ingest."""

    async def write(self, data: bytes) -> None:
        """Append."""


class Job(Struct):
    """Work on a thread that can be stopped."""

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    stopped: Event = field(default_factory=Event)

    def go_on(self) -> None:
        """Raise on the thread when its caller was cancelled."""
        if self.stopped.is_set():
            raise Canceled("")

    def ask(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop, from the thread; return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    async def run(self, threads: Executor, work: Callable[[], T]) -> T:
        """Run ``work`` on a thread and wait for its end; a cancelled caller stops it first."""
        running = self.loop.run_in_executor(threads, copy_context().run, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self.stopped.set()
            await _ended(running)
            raise


def chunks(job: Job, reader: BlobReader) -> Iterator[bytes]:
    """Yield a blob in pieces.

    Raises:
        BadLayer: the blob is shorter than its size.
    """
    offset = 0
    while offset < reader.size:
        job.go_on()
        piece = job.ask(reader.read(offset, min(FRAME, reader.size - offset)))
        if not piece:
            raise BadLayer(f"the blob ends after {offset} of {reader.size} bytes")
        offset += len(piece)
        yield piece


class Sink:
    """Gather written bytes into frames."""

    def __init__(self, job: Job, writer: BlobWriter) -> None:
        self._job = job
        self._writer = writer
        self._gathered = bytearray()

    def write(self, data: bytes) -> None:
        """Append."""
        self._gathered += data
        while len(self._gathered) >= FRAME:
            self._send(FRAME)

    def flush(self) -> None:
        """Send the remaining bytes."""
        if self._gathered:
            self._send(len(self._gathered))

    def _send(self, size: int) -> None:
        self._job.go_on()
        frame = bytes(self._gathered[:size])
        del self._gathered[:size]
        self._job.ask(self._writer.write(frame))


async def _ended(running: Awaitable[object]) -> None:
    future = asyncio.ensure_future(running)
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue  # cancelled again: the thread still holds descriptors
    if not future.cancelled():
        future.exception()  # retrieved
