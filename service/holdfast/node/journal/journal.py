"""What we changed and what was there before: the promise that everything can be given back, after any crash.

Theory
------
1. *Before the write.* Each value is committed here before the kernel is asked to take it. A crash between the two
   leaves a row for a value that was never written; that is harmless because of 3.
2. *By identity.* A process is (boot id, pid, start ticks). Rows of another boot describe processes that are no more;
   they are dropped on opening. Groups and settings live no longer than a boot either.
3. *Ours, or nobody's business.* A value is given back only while the present one is one that we wrote. There may be
   two of those: the one before last, if we crashed between the row and the write. Both are kept.
4. *The first "before" stays* as long as what is there is ours. Somebody else's later choice becomes the new one.
5. *Bounded.* Rows of processes that are gone are dropped by every sweep.

The file is sqlite in WAL mode, without fsync: a commit survives kill -9, and what a power cut loses does not matter,
as the processes are lost with it (a file that it damaged is put aside). Values of processes, the hot ones, are
committed to an `append_log` beside it first and taken into the database together: by all that reads or changes rows,
and when there are many. The write-ahead log is folded in by sweeps. One connection, one lock: the engine's thread and
the mover's both write, and no other process.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from holdfast import log, sqlitefile
from holdfast.errors import Unavailable
from holdfast.node.journal.append_log import Line, Tail
from holdfast.node.journal.rows import HandRow, HeldRow, MadeRow, SettingRow, as_read, stored

LOG = log.named(__name__)

_VERSION = 1
_MANY = 512  # rows in the tail: taking them in takes 2 ms then
_SCHEMA = """
CREATE TABLE held (
    pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL, field TEXT NOT NULL,
    before TEXT NOT NULL, written TEXT NOT NULL, previous TEXT NOT NULL,
    rule TEXT NOT NULL, as_child INTEGER NOT NULL, give_back INTEGER NOT NULL,
    PRIMARY KEY (pid, start_ticks, field)) WITHOUT ROWID;
CREATE TABLE settings (
    hierarchy TEXT NOT NULL, path TEXT NOT NULL, file TEXT NOT NULL,
    before TEXT NOT NULL, written TEXT NOT NULL, previous TEXT NOT NULL, rule TEXT NOT NULL, give_back INTEGER NOT NULL,
    PRIMARY KEY (hierarchy, path, file)) WITHOUT ROWID;
CREATE TABLE made (
    hierarchy TEXT NOT NULL, path TEXT NOT NULL, rule TEXT NOT NULL, PRIMARY KEY (hierarchy, path)) WITHOUT ROWID;
CREATE TABLE by_hand (
    pid INTEGER NOT NULL, start_ticks INTEGER NOT NULL, adj INTEGER NOT NULL, expires_ns INTEGER NOT NULL,
    why TEXT NOT NULL, PRIMARY KEY (pid, start_ticks)) WITHOUT ROWID;
CREATE TABLE about (boot_id TEXT NOT NULL);
"""
_HOLD = """
INSERT INTO held VALUES (?,?,?,?,?,'',?,?,?) ON CONFLICT DO UPDATE SET
    before = CASE WHEN excluded.before IN (written, previous) THEN before ELSE excluded.before END,
    previous = CASE WHEN excluded.before = previous THEN previous ELSE written END,
    written = excluded.written, rule = excluded.rule, as_child = excluded.as_child, give_back = excluded.give_back
"""


class Journal:
    """The journal of one boot; see the theory above. Thread-safe.

    Every method raises `Unavailable` when the file cannot be read or written: then nothing is to be changed.
    """

    def __init__(self, path: Path, boot_id: str) -> None:
        """Open it, dropping what an earlier boot left.

        Raises:
            Unavailable: the file can be neither opened nor replaced.
        """
        self.path = path
        self._lock = threading.Lock()
        self._waiting: list[Line] = []  # what is in the tail, and not in the database
        self._many = _MANY
        try:
            self._db, self._tail, self._generation = _opened(path, boot_id)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in sqlitefile.DAMAGED:
                raise Unavailable(f"journal {path}: {error}") from error
            LOG.warning("the journal is unreadable and was put aside", path=path, error=error)
            try:
                sqlitefile.put_aside(path, "-tail")
                self._db, self._tail, self._generation = _opened(path, boot_id)
            except (OSError, sqlite3.Error) as again:
                raise Unavailable(f"journal {path}: {again}") from again
        except OSError as error:
            raise Unavailable(f"journal {path}: {error}") from error

    def hold(self, rows: Iterable[HeldRow]) -> None:
        """Commit, before they are written, values of processes. See rules 3 and 4 for what becomes of an older row."""
        lines = [
            _stored((r.pid, r.start_ticks, r.field, r.before, r.written, r.rule, r.as_child, r.give_back)) for r in rows
        ]
        if not lines:
            return
        with self._lock:
            try:
                self._tail.append(self._generation, lines)
            except OSError as error:
                why = (os.strerror(error.errno) if error.errno else str(error)).lower()
                raise Unavailable(f"journal {self.path}-tail: {why}; nothing is written without it") from error
            self._waiting += lines
            if len(self._waiting) >= self._many:
                self._many *= 2  # not at every row, if the database does not take them now
                with contextlib.suppress(Unavailable), self._transaction():
                    self._many = _MANY

    def set(self, row: SettingRow) -> None:
        """Commit, before it is written, a value of a group's file."""
        with self._lock, self._transaction() as db:
            db.execute(
                "INSERT INTO settings VALUES (?,?,?,?,?,'',?,?) ON CONFLICT DO UPDATE SET"
                " previous = written, written = excluded.written, rule = excluded.rule, give_back = excluded.give_back",
                _stored((row.hierarchy, row.path, row.file, row.before, row.written, row.rule, row.give_back)),
            )

    def make(self, rows: Iterable[MadeRow]) -> None:
        """Commit, before they are made, groups."""
        with self._lock, self._transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO made VALUES (?,?,?)",
                [_stored((row.hierarchy, row.path, row.rule)) for row in rows],
            )

    def hold_by_hand(self, row: HandRow) -> None:
        """Commit a hold by hand; it replaces an earlier one of the process."""
        with self._lock, self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO by_hand VALUES (?,?,?,?,?)",
                _stored((row.pid, row.start_ticks, row.adj, row.expires_ns, row.why)),
            )

    def rerule(self, pid: int, start_ticks: int, rule: str, *, as_child: bool, give_back: bool) -> None:
        """A process's values stand as they are, under another rule."""
        with self._lock, self._transaction() as db:
            db.execute(
                "UPDATE held SET rule = ?, as_child = ?, give_back = ? WHERE pid = ? AND start_ticks = ?",
                _stored((rule, as_child, give_back, pid, start_ticks)),
            )

    def held(self) -> list[HeldRow]:
        """All values of processes."""
        return self._rows("", ())

    def held_of(self, pid: int, start_ticks: int) -> list[HeldRow]:
        """The values of one process."""
        return self._rows("WHERE pid = ? AND start_ticks = ?", (pid, start_ticks))

    def settings(self) -> list[SettingRow]:
        """All values of groups' files."""
        return [
            SettingRow(hierarchy, path, file, before, written, rule, bool(give_back), previous)
            for hierarchy, path, file, before, written, previous, rule, give_back in self._all("settings")
        ]

    def made(self) -> list[MadeRow]:
        """All groups that we made, deepest first."""
        return sorted((MadeRow(*row) for row in self._all("made")), key=lambda row: (-row.path.count("/"), row.path))

    def by_hand(self) -> list[HandRow]:
        """All holds by hand."""
        return [HandRow(*row) for row in self._all("by_hand")]

    def forget(self, rows: Sequence[HeldRow | SettingRow | MadeRow | HandRow]) -> None:
        """Drop rows: given back, or nothing is left to give back to."""
        with self._lock, self._transaction() as db:
            for row in rows:
                key: tuple[Any, ...]
                match row:
                    case HeldRow():
                        where, key = (
                            "held WHERE pid=? AND start_ticks=? AND field=?",
                            (row.pid, row.start_ticks, row.field),
                        )
                    case SettingRow():
                        where, key = (
                            "settings WHERE hierarchy=? AND path=? AND file=?",
                            (row.hierarchy, row.path, row.file),
                        )
                    case MadeRow():
                        where, key = "made WHERE hierarchy=? AND path=?", (row.hierarchy, row.path)
                    case HandRow():
                        where, key = "by_hand WHERE pid=? AND start_ticks=?", (row.pid, row.start_ticks)
                db.execute(f"DELETE FROM {where}", _stored(key))  # noqa: S608 (words of ours)

    def fold(self) -> None:
        """Bring the write-ahead log into the file, and so keep it short. Milliseconds: not for a hot path."""
        with self._lock, self._translated() as db:
            self._take_in()
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._db.close()
            self._tail.close()

    def _rows(self, where: str, values: tuple[int, ...]) -> list[HeldRow]:
        return [
            HeldRow(pid, ticks, field, before, written, rule, bool(as_child), bool(give_back), previous)
            for pid, ticks, field, before, written, previous, rule, as_child, give_back in self._all(
                f"held {where}", values
            )
        ]

    def _all(self, table: str, values: tuple[int, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._translated() as db:
            self._take_in()
            found = db.execute(f"SELECT * FROM {table}", values).fetchall()  # noqa: S608 (words of ours)
        return [tuple(as_read(value) if isinstance(value, str) else value for value in row) for row in found]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that begins with everything the tail holds. The lock is the caller's to hold."""
        with self._translated() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                taken = bool(self._waiting)
                if taken:
                    db.executemany(_HOLD, self._waiting)
                    db.execute("UPDATE taken SET generation = generation + 1")
                yield db
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            if taken:
                self._generation += 1
                self._waiting.clear()
                with contextlib.suppress(OSError):  # its lines are of an older generation now
                    self._tail.empty()

    def _take_in(self) -> None:
        if self._waiting:
            with self._transaction():
                pass

    @contextlib.contextmanager
    def _translated(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._db
        except sqlite3.Error as error:
            raise Unavailable(f"journal {self.path}: {error}; nothing is written without it") from error


def _stored(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(stored(value) if isinstance(value, str) else value for value in values)


def _opened(path: Path, boot_id: str) -> tuple[sqlite3.Connection, Tail, int]:
    """The database with everything taken in, the empty tail, and the generation its next lines are of."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
    tail = None
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # no lock to take for each commit
        db.execute("PRAGMA synchronous = OFF")  # before the next line, which would wait for the disk
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 4000")
        db.execute("PRAGMA cache_size = -256")  # KiB: the rows are few and written more than read
        version = db.execute("PRAGMA user_version").fetchone()[0]
        boot = db.execute("SELECT boot_id FROM about").fetchone() if version == _VERSION else None
        tail = Tail(path.with_name(f"{path.name}-tail"))
        if boot != (boot_id,):
            tail.empty()  # first: its lines are of the tables that go
            db.executescript(f"BEGIN IMMEDIATE;{_dropped(db)}{_SCHEMA}PRAGMA user_version = {_VERSION};COMMIT")
            db.execute("INSERT INTO about VALUES (?)", (boot_id,))
        os.chmod(path, 0o600)
        return db, tail, _taken_in(db, tail)
    except BaseException:
        db.close()
        if tail is not None:
            tail.close()
        raise


def _taken_in(db: sqlite3.Connection, tail: Tail) -> int:
    """Take in what a killed daemon left in the tail."""
    db.execute("BEGIN IMMEDIATE")
    db.execute("CREATE TABLE IF NOT EXISTS taken (generation INTEGER NOT NULL)")
    row = db.execute("SELECT generation FROM taken").fetchone()
    generation = row[0] if row else 0
    db.executemany(_HOLD, tail.lines(generation))
    db.execute("DELETE FROM taken")
    db.execute("INSERT INTO taken VALUES (?)", (generation + 1,))
    db.execute("COMMIT")
    tail.empty()
    return generation + 1


def _dropped(db: sqlite3.Connection) -> str:
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return "".join(f'DROP TABLE "{name}";' for name in tables)
