"""Disk space reserved for changes that free space, so that a full disk can be emptied.

sqlite first writes the pages that a transaction changes to its log. When other programs have filled the disk to the
last block, the log has no room, and nothing can be deleted.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

SIZE = 1 << 20  # bytes: 250 pages of the log, more than any deletion but a collection of thousands


class Reserve:
    """A file of `SIZE` with allocated blocks, until a change that frees space needs them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = False

    def keep(self) -> None:
        """Create the file if there is room for it; posix_fallocate(3)."""
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
            self._remove()  # a part of it would only take space
        finally:
            os.close(file)

    def spend(self) -> bool:
        """Free the room for the next writer; False when there was none."""
        was_kept, self._kept = self._kept, False
        self._remove()
        return was_kept

    def _remove(self) -> None:
        with suppress(OSError):
            self._path.unlink()
