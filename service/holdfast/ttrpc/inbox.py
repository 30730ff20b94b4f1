"""Reading without an allocation: one buffer a loop, which each of its connections reads into and empties at once.

asyncio's plain Protocol gives every recv(2) a new object of 256 KiB and cuts it down to what came. That is an mmap(2),
an mremap(2), a page fault and a munmap(2) for each message of a hundred bytes.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

READ_BYTES = 256 << 10  # at most so much in one recv(2), as asyncio has it; what is never filled is never resident

_BUFFERS: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


class Inbox(asyncio.BufferedProtocol):
    """A protocol whose bytes arrive in `data_received`, as a plain Protocol's do; they are its own to keep."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        if loop not in _BUFFERS:
            _BUFFERS[loop] = memoryview(bytearray(READ_BYTES))
        self._buffer = _BUFFERS[loop]

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        raise NotImplementedError

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to read into, for asyncio. No other read happens before `buffer_updated` has emptied it."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """For asyncio: so much is there."""
        self.data_received(bytes(self._buffer[:nbytes]))
