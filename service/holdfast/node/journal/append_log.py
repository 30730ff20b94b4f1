"""The end of the journal that is not in its database yet: a file that rows are appended to, one line each.

Theory
------
* Appending is one write(2) into the page cache, 1.6 µs, where an sqlite commit of the same row takes 35 (both survive
  kill -9, neither a power cut, after which the processes are gone as well). A row must be committed before an exec'd
  process may be written to, so this is what an exec waits for.
* Every line carries a generation. Taking the lines into the database raises the database's generation in the same
  transaction; then the file is emptied. A crash between the two leaves lines of an older generation: taken already.
* A line that is not whole was never acknowledged: nothing was written under it. Reading stops there.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import msgspec

Line = tuple[Any, ...]
_encode = msgspec.json.Encoder().encode


class Tail:
    """The file. Not for two threads at once: the journal's lock guards it."""

    def __init__(self, path: Path) -> None:
        """Open it, making it if need be.

        Raises:
            OSError: it cannot be.
        """
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size

    def append(self, generation: int, lines: list[Line]) -> None:
        """Add lines; all of them or none.

        Raises:
            OSError: there is no room, or no such disk any more.
        """
        data = b"".join([_encode((generation, *line)) + b"\n" for line in lines])
        try:
            written = os.write(self._file, data)
            if written != len(data):  # the disk is full: a second write says with which errno
                os.write(self._file, data[written:])
                raise OSError(5, "written in part")
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += written

    def lines(self, generation: int) -> list[Line]:
        """The lines of this generation, in the order they were added."""
        found: list[Line] = []
        for text in os.pread(self._file, self._size, 0).split(b"\n")[:-1]:
            try:
                first, *rest = msgspec.json.decode(text, type=list)
            except (msgspec.DecodeError, ValueError):
                break
            if first == generation:
                found.append(tuple(rest))
        return found

    def empty(self) -> None:
        """Drop all lines.

        Raises:
            OSError: it cannot be.
        """
        os.ftruncate(self._file, 0)
        self._size = 0

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
