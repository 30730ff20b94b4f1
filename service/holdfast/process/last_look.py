"""Read a file directly before a write that depends on it.

``os.pread`` lets another thread of ours run, for as long as the interpreter's switch interval (5 ms) before the caller
continues; a value that another program writes meanwhile would be overwritten unseen. `pread` keeps the interpreter, so
that some microseconds pass between the read and the write. Only for files of ``/proc`` that are ready at once: a read
that waits would stop every thread.
"""

from __future__ import annotations

import ctypes
import os
import threading

_pread = ctypes.PyDLL(None).pread
_pread.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long)
_pread.restype = ctypes.c_ssize_t
_PAGE = 4096  # most files fit into it


class _Buffer(threading.local):
    """Read buffer of one thread."""

    def __init__(self) -> None:
        self.text = ctypes.create_string_buffer(_PAGE)


_buffer = _Buffer()


def pread(descriptor: int) -> bytes:
    """Return all of an open file that is one record (see `kernel_text.read_record`).

    Raises:
        OSError: as pread(2).
    """
    text = _buffer.text
    length = _pread(descriptor, text, _PAGE, 0)
    size = _PAGE
    while length == size:
        size *= 2
        text = ctypes.create_string_buffer(size)
        length = _pread(descriptor, text, size, 0)
    if length < 0:
        return os.pread(descriptor, 1, 0)  # raises with the errno
    return text[:length]  # type: ignore[return-value]  # of an array of c_char it is bytes


def replace(descriptor: int, old: bytes, new: bytes) -> bool:
    """Write ``new`` to an open file of less than a page if its text is ``old``; False: it is another text.

    Between the read and the write there is the comparison and no call.

    Raises:
        OSError: as pread(2) and write(2).
    """
    text = _buffer.text
    length = _pread(descriptor, text, _PAGE, 0)
    present: bytes = text[:length]  # type: ignore[assignment]  # of an array of c_char it is bytes
    if present == old:
        os.write(descriptor, new)
        return True
    if length < 0:
        os.pread(descriptor, 1, 0)  # raises with the errno
    return False
