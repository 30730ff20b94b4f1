"""Every OOM kill since holdfast was installed, up to a number: the answer to "why was my process killed?".

The engine's thread writes here while memory is short and disks are slow, and exec events wait for that thread. So it
never waits for the disk: its commits go to sqlite's write-ahead log, unsynced, and a separate thread folds the log into
the file, synced. After a power cut the file is whole, and so is the log as far as the disk had it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from holdfast import log
from holdfast.errors import Unavailable
from holdfast.inert import valid_in
from holdfast.node.model.memory_domain import Kill

LOG = log.named(__name__)
KEPT = 1000
_FOLD_EVERY = 100  # kills: a megabyte of log
_SCHEMA = """
CREATE TABLE IF NOT EXISTS kills (
    boot_id TEXT, number INTEGER, at_ns INTEGER, kill BLOB, PRIMARY KEY (boot_id, number));
CREATE TABLE IF NOT EXISTS read_to (boot_id TEXT PRIMARY KEY, number INTEGER);
CREATE TABLE IF NOT EXISTS told (boot_id TEXT, number INTEGER, PRIMARY KEY (boot_id, number));
"""


class Kills:
    """The record of kills, by boot and number in the kernel log, so that no kill is kept twice. Thread-safe.

    Every method raises `Unavailable` when the file cannot be read or written.
    """

    def __init__(self, path: Path, boot_id: str, kept: int = KEPT) -> None:
        """Open the file.

        Raises:
            Unavailable: the file cannot be opened.
        """
        self._path, self._boot_id, self._kept = path, boot_id, kept
        self._lock = threading.Lock()
        self._since = 0  # kills since the log was folded
        with self._translated():
            self._db = _opened(path)

    def last_number(self) -> int:
        """The number of the last record that was read of the kernel log of this boot; -1 when none was."""
        with self._lock, self._translated():
            row = self._db.execute("SELECT number FROM read_to WHERE boot_id = ?", (self._boot_id,)).fetchone()
        return int(row[0]) if row else -1

    def read_to(self, number: int) -> None:
        """Record that the kernel log of this boot was read up to ``number``; remove other boots' marks."""
        with self._lock, self._translated():
            self._db.execute("DELETE FROM read_to WHERE boot_id <> ?", (self._boot_id,))
            self._db.execute("INSERT OR REPLACE INTO read_to VALUES (?,?)", (self._boot_id, number))

    def add(self, number: int, kill: Kill) -> bool:
        """Record a kill; False when it is recorded already."""
        row = (self._boot_id, number, kill.at_ns, msgspec.json.encode(valid_in(msgspec.to_builtins(kill))))
        with self._lock, self._translated():
            is_new = self._db.execute("INSERT OR IGNORE INTO kills VALUES (?,?,?,?)", row).rowcount == 1
            self._since += is_new
            fold = self._since >= _FOLD_EVERY
            self._since %= _FOLD_EVERY
        if fold:
            threading.Thread(target=self._fold, name="holdfast-kills", daemon=True).start()
        return is_new

    def latest(self, limit: int = KEPT) -> tuple[Kill, ...]:
        """The latest kills, newest first."""
        number = min(limit, self._kept)
        with self._lock, self._translated():
            rows = self._db.execute("SELECT kill FROM kills ORDER BY at_ns DESC LIMIT ?", (number,)).fetchall()
        return tuple(msgspec.json.decode(row[0], type=Kill) for row in rows)

    def told(self, numbers: Iterable[int]) -> None:
        """Mark kills of this boot as reported outside of the node, or as never to be reported."""
        rows = [(self._boot_id, number) for number in numbers]
        with self._lock, self._translated():
            self._db.executemany("INSERT OR IGNORE INTO told VALUES (?,?)", rows)

    def untold(self, since_ns: int) -> tuple[Kill, ...]:
        """Kills of this boot since then (Unix time) that `told` has not marked, oldest first."""
        with self._lock, self._translated():
            rows = self._db.execute(
                "SELECT kill FROM kills WHERE boot_id = ? AND at_ns > ? AND number NOT IN "
                "(SELECT number FROM told WHERE boot_id = ?) ORDER BY at_ns",
                (self._boot_id, since_ns, self._boot_id),
            ).fetchall()
        return tuple(msgspec.json.decode(row[0], type=Kill) for row in rows)

    def close(self) -> None:
        """Close the file, with everything in it. Safe to call twice."""
        self._fold()
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA synchronous = NORMAL")  # the last connection to close folds the rest of the log
            self._db.close()

    def _fold(self) -> None:
        """Drop the oldest kills beyond the number kept, and fold the log into the file; this waits for the disk."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._path, timeout=5)) as db:
            with db:
                db.execute(
                    "DELETE FROM kills WHERE rowid NOT IN (SELECT rowid FROM kills ORDER BY at_ns DESC LIMIT ?)",
                    (self._kept,),
                )
                db.execute("DELETE FROM told WHERE (boot_id, number) NOT IN (SELECT boot_id, number FROM kills)")
            db.execute("PRAGMA wal_checkpoint")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"record of kills {self._path}: {error}") from error


def _opened(path: Path) -> sqlite3.Connection:
    """Open the file; put a damaged one aside: a lost record must not leave processes without protection."""
    try:
        return _connected(path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        LOG.warning("the record of kills is unreadable and was put aside", path=path, error=error)
        now = int(time.time())
        for ending in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{path}{ending}", f"{path}.{now}.bad{ending}")
        return _connected(path)


def _connected(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # sqlite's own would be 0644
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA cache_size = -128")
        db.executescript(_SCHEMA)  # synced: a new file is whole before the first kill
        db.execute("PRAGMA synchronous = OFF")
    except BaseException:
        db.close()
        raise
    return db
