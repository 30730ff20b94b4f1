from __future__ import annotations

import asyncio
import sqlite3
import threading

import pytest
from holdfast.errors import FailedPrecondition, Internal, NotFound, ResourceExhausted
from holdfast.store.database import schema
from holdfast.store.database.database import Database
from holdfast.store.objects.namespaces import ensure

COUNT = "SELECT count(*) FROM namespaces"


@pytest.fixture
async def database(tmp_path):
    found = Database(tmp_path / "meta.sqlite")
    await found.open()
    yield found
    await found.close()


async def count(database: Database) -> int:
    return await database.read(lambda connection: connection.execute(COUNT).fetchone()[0])


async def test_changes_that_wait_share_a_commit_and_each_undoes_only_itself(database):
    started, go = threading.Event(), threading.Event()

    def slow(transaction):
        started.set()
        go.wait(10)

    def bad(transaction):
        ensure(transaction, "undone")
        raise NotFound("on purpose")

    first = asyncio.ensure_future(database.write(slow))
    await asyncio.to_thread(started.wait, 10)
    commits: list[str] = []
    waiting = [
        asyncio.ensure_future(database.write(lambda tx, n=n: ensure(tx, str(n)) if n % 2 else bad(tx)))
        for n in range(10)
    ]
    waiting.append(asyncio.ensure_future(database.write(lambda tx: commits.append(tx.execute(COUNT).fetchone()[0]))))
    await asyncio.sleep(0)
    go.set()
    await first
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(result, NotFound) for result in results) == 5
    assert commits == [5]  # it ran in the same transaction, after the others
    assert await count(database) == 5


async def test_a_change_is_seen_by_the_next_read(database):
    for number in range(20):
        await database.write(lambda tx, name=str(number): ensure(tx, name))
        assert number + 1 == await count(database)


async def test_a_reader_cannot_write(database):
    with pytest.raises(Internal, match="readonly"):
        await database.read(lambda connection: connection.execute("INSERT INTO namespaces VALUES ('x', NULL)"))


async def test_a_cancelled_caller_does_not_undo_what_it_asked_for(database):
    asked = asyncio.ensure_future(database.write(lambda tx: ensure(tx, "asked")))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await database.write(lambda tx: None)
    assert await count(database) == 1


async def test_a_full_disk_is_said_and_nothing_of_the_change_is_kept(database):
    await database.write(lambda tx: tx.execute("PRAGMA max_page_count = 40"))
    big = "x" * 100_000

    def fill(transaction):
        for number in range(10):
            transaction.execute("INSERT INTO namespaces VALUES (?, ?)", (f"n{number}", big))

    with pytest.raises(ResourceExhausted, match="database or disk is full"):
        await database.write(fill)
    assert await count(database) == 0
    await database.write(lambda tx: ensure(tx, "small"))
    assert await count(database) == 1


async def test_a_change_that_ends_the_thread_is_answered_and_the_next_one_runs(database):
    def bad(transaction):
        ensure(transaction, "undone")
        raise SystemExit("on purpose")

    with pytest.raises(Internal, match="SystemExit"):
        await database.write(bad)
    await database.write(lambda tx: ensure(tx, "next"))
    assert await count(database) == 1


async def test_after_closing_nothing_is_done(tmp_path):
    database = Database(tmp_path / "meta.sqlite")
    await database.open()
    last = asyncio.ensure_future(database.write(lambda tx: ensure(tx, "last")))
    await asyncio.sleep(0)
    await database.close()
    await last
    for call in (database.read(lambda connection: None), database.write(lambda tx: None)):
        with pytest.raises(FailedPrecondition, match="closed"):
            await call
    assert not (tmp_path / "meta.sqlite-wal").exists()
    again = Database(tmp_path / "meta.sqlite")
    await again.open()
    assert await count(again) == 1
    await again.close()


async def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "meta.sqlite").write_bytes(b"not a database, but long enough to be looked at " * 10)
    with pytest.raises(FailedPrecondition, match="not a database"):
        await Database(tmp_path / "meta.sqlite").open()


async def test_a_later_programs_file_is_refused(tmp_path):
    connection = sqlite3.connect(tmp_path / "meta.sqlite")
    connection.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(FailedPrecondition, match="run the newer one"):
        await Database(tmp_path / "meta.sqlite").open()


def test_a_migration_that_fails_leaves_the_version_before_it(monkeypatch):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    monkeypatch.setattr(schema, "MIGRATIONS", (("CREATE TABLE a (x)",), ("CREATE TABLE b (x)", "nonsense")))
    with pytest.raises(sqlite3.OperationalError):
        schema.prepare(connection)
    assert connection.execute("PRAGMA user_version").fetchall() == [(1,)]
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("a",)]
    monkeypatch.setattr(schema, "MIGRATIONS", (("CREATE TABLE a (x)",), ("CREATE TABLE b (x)",)))
    schema.prepare(connection)
    assert connection.execute("PRAGMA user_version").fetchall() == [(2,)]


async def test_an_opening_that_is_cancelled_ends_at_once_wherever_its_writer_is(tmp_path):
    for turns in range(3):
        opening = asyncio.ensure_future(Database(tmp_path / f"{turns}.sqlite").open())
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
