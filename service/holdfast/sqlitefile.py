"""Files of sqlite: created whole or not at all, and put aside when they are damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

#: Error codes of a file that is damaged or something else altogether.
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def make(path: Path, build: Callable[[sqlite3.Connection], object]) -> None:
    """Create a file at ``path`` with the content that ``build`` writes, mode 0600 and in WAL mode, unless there is one.

    It is whole even after a power cut. The disk is waited for twice: sqlite, which would do it step by step, waits five
    to seven times, and each time is a millisecond or ten on a busy node.

    Raises:
        OSError: it cannot be made. sqlite3.Error: its content cannot be written.
    """
    if path.exists():
        return
    new = path.with_name(f"{path.name}.new")
    for ending in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{new}{ending}")  # left by a run that was killed
    file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = WAL")
            build(connection)
        os.fsync(file)
    finally:
        os.close(file)
    os.replace(new, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def put_aside(path: Path, *more: str) -> None:
    """Rename a file, sqlite's files beside it and those with ``more`` endings to ``….<time>.bad``, for a later
    analysis.

    Raises:
        OSError: a file cannot be renamed.
    """
    now = int(time.time())
    for ending in ("-wal", "-shm", *more, ""):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{ending}", f"{path}.{now}.bad{ending}")
