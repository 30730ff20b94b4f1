"""Read without an allocation: one buffer per loop, which each connection reads into and empties at once.

asyncio's plain Protocol gives every recv(2) a new object of 256 KiB and cuts it to the received size. That costs an
mmap(2), an mremap(2), a page fault and a munmap(2) for each message of a hundred bytes.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

READ_BYTES = 256 << 10  # maximum of one recv(2), as in asyncio; pages never filled are never resident

_BUFFERS: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()


class Inbox(asyncio.BufferedProtocol):
    """A protocol that gets its bytes in `data_received`, as a plain Protocol does; it may keep them."""

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
        """Process ``nbytes`` read into the buffer, for asyncio."""
        self.data_received(bytes(self._buffer[:nbytes]))
