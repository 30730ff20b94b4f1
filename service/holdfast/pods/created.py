"""The values that containers were created with in place of the kubelet's: kept to explain and restore them.

A runtime shows a container's values as they are; only the daemon knows that the kubelet asked for others. There is one
row a container, committed before the response to the runtime, and dropped with the container. A row waits until the
engine's journal has the value to restore, so that nothing is forgotten if the daemon is down meanwhile. The file is
sqlite in WAL mode: a commit is one write without fsync, and a power cut ends the containers too.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

_SCHEMA = """
CREATE TABLE IF NOT EXISTS created (
    container_id TEXT PRIMARY KEY, asked INTEGER, written INTEGER NOT NULL, rule TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    container_id TEXT NOT NULL, file TEXT NOT NULL, before TEXT NOT NULL, written TEXT NOT NULL, rule TEXT NOT NULL,
    PRIMARY KEY (container_id, file)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (container_id TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class Created(Struct, frozen=True):
    """One container's oom_score_adj: the value asked for (None: none), the value it was created with, and the rule."""

    container_id: str
    asked: int | None
    written: int
    rule: str


class CreatedFile(Struct, frozen=True):
    """One file of one container's own cgroup: its value without us, the value it was created with, and the rule."""

    container_id: str
    file: str
    before: str
    written: str
    rule: str


class CreatedStore:
    """The rows, in memory and in one file. For the loop's thread; one commit is some 30 µs."""

    def __init__(self, path: Path) -> None:
        self._database = self._opened(path)
        self._rows = {row[0]: Created(*row) for row in self._database.execute("SELECT * FROM created")}
        self._files: dict[str, list[CreatedFile]] = {}
        for row in self._database.execute("SELECT * FROM files"):
            self._files.setdefault(row[0], []).append(CreatedFile(*row))
        self._waiting = {row[0] for row in self._database.execute("SELECT * FROM waiting")}

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, container_id: str) -> Created | None:
        """Return the row of a container."""
        return self._rows.get(container_id)

    def put(self, row: Created) -> None:
        """Remember a row. Raises sqlite3.Error: it could not be written, and is not remembered."""
        with self._database:
            self._database.execute("BEGIN")
            self._database.execute(
                "INSERT OR REPLACE INTO created VALUES (?,?,?,?)", (row.container_id, row.asked, row.written, row.rule)
            )
            self._wait(row.container_id)
        self._rows[row.container_id] = row
        self._waiting.add(row.container_id)

    def waits(self, container_id: str) -> bool:
        """Whether only this store remembers the values that a container was created with."""
        return container_id in self._waiting

    def handed_over(self, container_id: str) -> None:
        """Record that the engine's journal has the values now; the rows stay for queries."""
        if container_id in self._waiting:
            self._database.execute("DELETE FROM waiting WHERE container_id = ?", (container_id,))
            self._waiting.discard(container_id)

    def files(self, container_id: str) -> Sequence[CreatedFile]:
        """Return the files of a container's cgroup."""
        return self._files.get(container_id, ())

    def put_files(self, rows: Sequence[CreatedFile]) -> None:
        """Remember files, all of one container, at least one.

        Raises:
            sqlite3.Error: they could not be written, and are not remembered.
        """
        with self._database:
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT OR REPLACE INTO files VALUES (?,?,?,?,?)",
                [(row.container_id, row.file, row.before, row.written, row.rule) for row in rows],
            )
            self._wait(rows[0].container_id)
        self._waiting.add(rows[0].container_id)
        self._files[rows[0].container_id] = list(rows)

    def drop(self, container_ids: Iterable[str]) -> None:
        """Drop the rows of containers that are gone."""
        for container_id in container_ids:
            self.handed_over(container_id)
            if self._rows.pop(container_id, None) is not None:
                self._database.execute("DELETE FROM created WHERE container_id = ?", (container_id,))
            if self._files.pop(container_id, None) is not None:
                self._database.execute("DELETE FROM files WHERE container_id = ?", (container_id,))

    def keep_only(self, container_ids: Iterable[str]) -> None:
        """Drop the rows of all other containers."""
        self.drop((self._rows.keys() | self._files.keys()) - set(container_ids))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _wait(self, container_id: str) -> None:
        self._database.execute("INSERT OR IGNORE INTO waiting VALUES (?)", (container_id,))

    @staticmethod
    def _opened(path: Path) -> sqlite3.Connection:
        """Open the file, made again if it is no database of ours: its content cannot be recovered."""
        for attempt in range(2):
            database = sqlite3.connect(path, isolation_level=None)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = OFF")
                database.executescript(_SCHEMA)
                os.chmod(path, 0o600)
                return database
            except sqlite3.DatabaseError:
                database.close()
                if attempt:
                    raise
                for end in ("", "-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(f"{path}{end}")
        raise AssertionError("unreachable")
