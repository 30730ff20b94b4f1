"""The tables of the metadata database, and the migrations of older files.

Every table is keyed by namespace first. Times are nanoseconds since 1970 UTC; labels, annotations are JSON objects,
absent when empty. A released migration is never edited: a new one is added.
"""

from __future__ import annotations

import sqlite3

from holdfast.errors import FailedPrecondition

#: Statements that bring ``user_version`` n to n + 1.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE namespaces (name TEXT PRIMARY KEY, labels TEXT) WITHOUT ROWID",
        """CREATE TABLE leases (
            namespace TEXT NOT NULL, id TEXT NOT NULL, labels TEXT, created_at INTEGER NOT NULL,
            PRIMARY KEY (namespace, id)) WITHOUT ROWID""",
        """CREATE TABLE lease_resources (
            namespace TEXT NOT NULL, lease TEXT NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL,
            PRIMARY KEY (namespace, lease, type, id),
            FOREIGN KEY (namespace, lease) REFERENCES leases ON DELETE CASCADE) WITHOUT ROWID""",
        """CREATE TABLE images (
            namespace TEXT NOT NULL, name TEXT NOT NULL, labels TEXT,
            media_type TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, annotations TEXT,
            created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
            PRIMARY KEY (namespace, name)) WITHOUT ROWID""",
        """CREATE TABLE containers (
            namespace TEXT NOT NULL, id TEXT NOT NULL, labels TEXT,
            snapshotter TEXT NOT NULL, snapshot_key TEXT NOT NULL, body BLOB NOT NULL,
            created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
            PRIMARY KEY (namespace, id)) WITHOUT ROWID""",
        """CREATE TABLE blobs (
            namespace TEXT NOT NULL, digest TEXT NOT NULL, labels TEXT, size INTEGER NOT NULL,
            created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
            PRIMARY KEY (namespace, digest)) WITHOUT ROWID""",
        """CREATE TABLE ingests (
            namespace TEXT NOT NULL, ref TEXT NOT NULL, backend_ref TEXT NOT NULL, expected TEXT NOT NULL,
            expires_at INTEGER, PRIMARY KEY (namespace, ref)) WITHOUT ROWID""",
        # AUTOINCREMENT never reuses a number: a new ingest cannot find the rest of an aborted one of its name.
        "CREATE TABLE ingest_numbers (number INTEGER PRIMARY KEY AUTOINCREMENT)",
    ),
)


def prepare(connection: sqlite3.Connection) -> None:
    """Migrate a writer's connection to the current tables, each migration in one transaction with its version.

    Raises:
        FailedPrecondition: a later version of this program wrote the file.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise FailedPrecondition(
            f"metadata database has version {version}, this program knows {len(MIGRATIONS)}: run the newer one"
        )
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number:d}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
