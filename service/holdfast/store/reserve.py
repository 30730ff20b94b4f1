"""Room on the disk that is kept back for the changes that make room: a full disk can be emptied.

sqlite writes what a transaction removes to its log first. Where others filled the disk to the last block there is no
place for that, and what could be deleted stays for ever.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

SIZE = 1 << 20  # bytes: 250 pages of the log, more than any deletion but a collection of thousands


class Reserve:
    """A file of `SIZE` whose blocks are there, until somebody needs them more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = False

    def keep(self) -> None:
        """Have it, where there is room for it; posix_fallocate(3)."""
        if self._kept:
            return
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(file, 0, SIZE)
            self._kept = True
        except OSError:
            self._remove()  # half of it would only be missing elsewhere
        finally:
            os.close(file)

    def spend(self) -> bool:
        """Give the room to whoever comes next; False where there was none."""
        was_kept, self._kept = self._kept, False
        self._remove()
        return was_kept

    def _remove(self) -> None:
        with suppress(OSError):
            self._path.unlink()
