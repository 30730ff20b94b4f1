"""One sqlite file: every change on one thread, committed in groups; readers beside it, on threads of their own.

Changes that wait while one group is being committed form the next: each runs in a savepoint of its own, so one that
raises undoes itself only, and all share one ``COMMIT`` and its fsync. A change is answered after that, never before.
WAL keeps readers on the last committed state meanwhile (https://www.sqlite.org/wal.html).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from msgspec import Struct, field

from holdfast.errors import FailedPrecondition, HoldfastError, Internal, ResourceExhausted
from holdfast.store.database import schema
from holdfast.store.database.reserve import Reserve

T = TypeVar("T")
_READERS = 2
_GROUP = 64  # changes in one commit, at most


class Transaction:
    """Argument of a change: the connection's methods, and ``removed``, set when something may now be garbage."""

    __slots__ = ("execute", "executemany", "removed")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self.executemany = connection.executemany
        self.removed = False


class _Job(Struct):
    change: Callable[[Transaction], Any]
    answer: asyncio.Future[Any]
    quiet: bool = False
    frees: bool = False
    result: Any = None
    error: BaseException | None = None


class _Mutations(Struct):
    """Count of removals since the last collection, and the functions to call after a change."""

    removals: int = 0
    watchers: list[Callable[[bool], None]] = field(default_factory=list)
    callbacks: list[Callable[[], None]] = field(default_factory=list)


class Database:
    """The metadata database; used on one event loop. ``path`` is created if it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._mutations = _Mutations()
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._readers = ThreadPoolExecutor(_READERS, "store-reader")
        self._writer: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    async def open(self) -> None:
        """Open, migrate and start the writer.

        Raises:
            FailedPrecondition: not a database, or a newer program's.
            OSError: the file cannot be made.
        """
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        # A daemon: an unclosed store must not keep the process running, and committed data is safe without it.
        self._writer = threading.Thread(target=self._write_forever, args=(opened,), name="store-writer", daemon=True)
        self._writer.start()
        try:
            await opened
        except BaseException:  # it failed, or its caller was cancelled: then the writer waits for its first change
            self._jobs.put(None)
            self._writer.join()
            self._readers.shutdown()
            raise

    async def close(self) -> None:
        """Finish pending changes, fold the log into the file, and stop the threads."""
        if self._closing or self._writer is None:
            return
        self._closing = True
        self._jobs.put(None)
        await asyncio.to_thread(self._join)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``query`` on a reader's thread, against the last committed state."""
        if self._closing:
            raise FailedPrecondition("metadata database is closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, query)

    async def write(self, change: Callable[[Transaction], T], *, quiet: bool = False, frees: bool = False) -> T:
        """Run ``change`` on the writer's thread; it is durable when this returns.

        A cancelled caller does not undo a change already queued. A ``quiet`` change does not call the watchers. A
        change that ``frees`` something is repeated when the disk is full, with the room of the `Reserve`.

        Raises:
            HoldfastError: the change raised it; nothing was written.
            ResourceExhausted: the disk is full; nothing was written.
        """
        if self._closing or self._loop is None:
            raise FailedPrecondition("metadata database is closed")
        job = _Job(change, self._loop.create_future(), quiet, frees)
        job.answer.add_done_callback(_heard)
        self._jobs.put(job)
        result: T = await asyncio.shield(job.answer)
        return result

    def watch(self, watcher: Callable[[bool], None]) -> None:
        """Call ``watcher`` on the loop after each change: True when something was removed since the last collection."""
        self._mutations.watchers.append(watcher)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` on the loop after each group of changes, quiet or not, before any of them is answered."""
        self._mutations.callbacks.append(callback)

    @property
    def removals(self) -> int:
        """Changes that removed something since the last collection."""
        return self._mutations.removals

    def collected(self, removals: int) -> None:
        """Subtract ``removals``: they have been collected."""
        self._mutations.removals -= removals

    def _join(self) -> None:
        assert self._writer is not None
        self._writer.join()
        self._readers.shutdown()
        for connection in self._connections:  # the last to close folds the log into the file
            connection.close()

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _connected(self.path)
            connection.execute("PRAGMA query_only = 1")
            self._connections.append(connection)
        connection.execute("BEGIN")  # a query of several statements sees one state
        try:
            return query(connection)
        except sqlite3.Error as error:
            raise _ours(error) from error
        finally:
            connection.execute("COMMIT")

    def _write_forever(self, opened: asyncio.Future[None]) -> None:
        assert self._loop is not None
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # sqlite's own would be 0644
            connection = _connected(self.path)
            schema.prepare(connection)
        except BaseException as error:
            ours = _ours(error) if isinstance(error, sqlite3.Error) else error
            self._loop.call_soon_threadsafe(_tell_opened, opened, ours)
            return
        reserve = Reserve(self.path.with_name(f"{self.path.name}-reserve"))
        reserve.keep()
        self._loop.call_soon_threadsafe(_tell_opened, opened, None)
        while jobs := self._next_group():
            removed = _again(connection, jobs, _committed(connection, jobs), reserve)
            self._loop.call_soon_threadsafe(self._answer, jobs, removed)
        connection.close()

    def _next_group(self) -> list[_Job]:
        """Wait for a job, then return all waiting jobs up to `_GROUP`; empty at the end."""
        first = self._jobs.get()
        jobs = [] if first is None else [first]
        while jobs and len(jobs) < _GROUP and not self._jobs.empty():
            following = self._jobs.get()
            if following is None:
                self._jobs.put(None)  # after this group
                break
            jobs.append(following)
        return jobs

    def _answer(self, jobs: list[_Job], removed: list[bool]) -> None:
        for callback in self._mutations.callbacks:
            callback()
        for job, removal in zip(jobs, removed, strict=True):
            if job.error is None and not job.quiet:
                self._mutations.removals += removal
                for watcher in self._mutations.watchers:
                    watcher(self._mutations.removals > 0)
            if job.answer.done():
                continue
            if job.error is None:
                job.answer.set_result(job.result)
            else:
                job.answer.set_exception(job.error)


def _tell_opened(opened: asyncio.Future[None], error: BaseException | None) -> None:
    """Set the result of opening, unless its caller was cancelled meanwhile."""
    if opened.done():
        return
    if error is None:
        opened.set_result(None)
    else:
        opened.set_exception(error)


def _heard(answer: asyncio.Future[Any]) -> None:
    """Retrieve the error of a change whose caller is gone."""
    if not answer.cancelled():
        answer.exception()


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # NORMAL may lose the last commits in a power cut
    connection.execute("PRAGMA foreign_keys = 1")
    connection.execute("PRAGMA busy_timeout = 10000")
    return connection


def _committed(connection: sqlite3.Connection, jobs: list[_Job]) -> list[bool]:
    """Run the jobs in one transaction; return which of them removed something. The results are in the jobs."""
    removed = [False] * len(jobs)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for number, job in enumerate(jobs):
            removed[number] = _run(connection, job)
        connection.execute("COMMIT")
    except BaseException as error:  # any error: no caller may wait for an answer forever
        ours = _ours(error) if isinstance(error, sqlite3.Error) else Internal(f"metadata database: {error!r}")
        for job in jobs:
            job.error = job.error or ours
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
    return removed


def _again(connection: sqlite3.Connection, jobs: list[_Job], removed: list[bool], reserve: Reserve) -> list[bool]:
    """Repeat the freeing jobs that a full disk refused, with the reserve's room; return ``removed``, updated."""
    refused = [number for number, job in enumerate(jobs) if job.frees and isinstance(job.error, ResourceExhausted)]
    if not refused:
        reserve.keep()
    elif reserve.spend():
        for number in refused:
            jobs[number].error = None
        for number, removal in zip(refused, _committed(connection, [jobs[number] for number in refused]), strict=True):
            removed[number] = removal
    return removed


def _run(connection: sqlite3.Connection, job: _Job) -> bool:
    transaction = Transaction(connection)
    connection.execute("SAVEPOINT change")
    try:
        job.result = job.change(transaction)
    except sqlite3.Error as error:
        job.error = _ours(error)
    except Exception as error:  # any error is passed to the caller
        job.error = error
    if job.error is not None:
        if not connection.in_transaction:  # a full disk rolls the whole transaction back by itself
            raise sqlite3.OperationalError(str(job.error)) from job.error
        connection.execute("ROLLBACK TO change")
    connection.execute("RELEASE change")
    return transaction.removed and job.error is None


def _ours(error: sqlite3.Error) -> HoldfastError:
    text = str(error)
    if "disk is full" in text or "disk I/O error" in text:
        return ResourceExhausted(f"metadata database: {text}")
    if isinstance(error, sqlite3.DatabaseError) and "not a database" in text:
        return FailedPrecondition(f"metadata database: {text}")
    return Internal(f"metadata database: {text}")
