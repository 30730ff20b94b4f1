"""What we changed and what was there before: the promise that everything can be given back, after any crash.

Theory
------
1. *Before the write.* A row is in the file before the kernel is asked for anything. A crash between the two leaves a
   row whose ``wanted`` was never written: whoever reads it compares with what is there.
2. *By identity.* A process is (pid, start ticks) of one boot. The rows of another boot are of processes and groups
   that are no more; they are dropped on opening.
3. *One truth.* The rows are in memory (`table.Table`). The file brings them back after kill -9, and is only ever
   appended to: one write(2) into the page cache, 2 µs. A power cut may take it, and takes the processes as well.
4. *Bounded.* It is written anew, beside and renamed, when it has twice the lines that are live (`tidy`).
5. *What is damaged costs itself.* Each line has a checksum. A last line that is not whole was never acknowledged and is
   dropped; another one that is damaged is told and kept in ``journal.damaged-TIME``, and the rest counts.
6. *The file is made anew from memory* when it, or its directory, was removed or replaced (`check`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from holdfast import log
from holdfast.errors import Unavailable
from holdfast.node.journal.line import FORMAT, READS, Header, Unknown, header, packed, seed_of, unpacked
from holdfast.node.journal.rows import Drop, Line, Row
from holdfast.node.journal.table import Table

LOG = log.named(__name__)
SPARE = 256  # lines beyond twice the live ones before the file is written anew
_OPEN = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Journal:
    """The journal of one boot; see the theory above. Thread-safe."""

    def __init__(self, path: Path, boot_id: str) -> None:
        """Open it, dropping what an earlier boot left; a journal of an older release (``PATH.db``) is taken in.

        Raises:
            Unavailable: the file can be neither opened nor made, or another daemon has it.
        """
        self.path, self.table = path, Table()
        self._boot_id, self._seed = boot_id, seed_of(boot_id)
        self._lock = threading.RLock()
        self._unknown: list[bytes] = []
        self._lines = 0
        self._is_stale = False  # something is in the file that should not be
        try:
            self._file = _opened(path)
            self._size = self._take_in()
            self._take_in_older()
        except OSError as error:
            raise self._unavailable(error) from error

    # -- writing -----------------------------------------------------------------------------------------------------

    def commit(self, rows: Iterable[Row], drops: Iterable[Row] = (), *, needed: bool = True) -> None:
        """Have rows in the file, all or none, and in the table; before what they are about is written.

        Not ``needed``: they are of what is so already, so they count, and are in the file when there is room.

        Raises:
            Unavailable: the file cannot be written; then nothing is to be changed.
        """
        lines: list[Line] = [*rows]
        if drops:
            lines += [Drop(row.key) for row in drops]
        if not lines:
            return
        with self._lock:
            try:
                self._append(lines)
            except Unavailable:
                if needed:
                    raise
                self._is_stale = True
            for line in lines:
                self.table.take(line)

    def forget(self, rows: Iterable[Row]) -> None:
        """Drop rows that stand for nothing any more, each only if it is still the row that is known.

        Never raises: what cannot be taken out of the file now is taken out when the file is written anew.
        """
        with self._lock:
            gone = [row for row in rows if self.table.get(row) == row]
            for row in gone:
                self.table.drop(row)
            if gone:
                try:
                    self._append([Drop(row.key) for row in gone])
                except Unavailable:
                    self._is_stale = True

    def _append(self, lines: Sequence[Line]) -> None:
        data = b"".join([packed(line, self._seed) for line in lines])
        try:
            if self._is_stale or not os.fstat(self._file).st_nlink:
                self._write_anew()
            self._write(data)
        except OSError as error:
            raise self._unavailable(error) from error
        self._lines += len(lines)

    def _write(self, data: bytes) -> None:
        """All of it or none."""
        try:
            written = os.write(self._file, data)
            while written < len(data):  # the disk is full, and this says with which errno
                written += os.write(self._file, data[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    # -- now and then ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Notice that the file or its directory was removed or replaced; make it anew from memory. Told once.

        Raises:
            Unavailable: it cannot be made.
        """
        with self._lock:
            try:
                if _is_at(self._file, self.path):
                    return
                self._write_anew()
            except OSError as error:
                raise self._unavailable(error) from error
            LOG.warning("the journal's file was removed or replaced, and is made anew from memory", path=self.path)

    def tidy(self) -> None:
        """Write the file anew if it is twice as long as it need be. A full disk is no reason to stop."""
        with self._lock, contextlib.suppress(OSError):
            if self._is_stale or (self._lines > SPARE and self._lines > SPARE + 2 * sum(1 for _ in self.table.rows())):
                self._write_anew()

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _write_anew(self) -> None:
        rows = list(self.table.rows())
        data = [packed(Header(FORMAT, READS, self._boot_id), 0)]
        data += [text + b"\n" for text in self._unknown]
        data += [packed(row, self._seed) for row in rows]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = f"{self.path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        file = os.open(new, _OPEN | os.O_EXCL, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            text = b"".join(data)
            written = 0
            while written < len(text):
                written += os.write(file, text[written:])
            os.replace(new, self.path)
        except BaseException:
            os.close(file)
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        os.close(self._file)
        self._file, self._size, self._lines, self._is_stale = file, len(text), len(rows), False

    # -- opening -----------------------------------------------------------------------------------------------------

    def _take_in(self) -> int:
        text = _all_of(self._file)
        whole, newline, torn = text.rpartition(b"\n")
        lines = whole.split(b"\n") if newline else []
        size = len(whole) + len(newline)
        if torn:  # never acknowledged
            os.ftruncate(self._file, size)
        head = header(lines[0]) if lines else None
        if head is not None and head.reads > FORMAT:
            self._put_aside(f"format-{head.format}", text)
            LOG.error(
                "the journal is of a newer format and was put aside: what it holds is not given back",
                path=self.path, format=head.format, remedy="run the newer release again, and restore",
            )  # fmt: skip
        elif head is None or head.boot_id == self._boot_id:
            self._take_lines(lines if head is None else lines[1:], text)
        if head is not None and head.boot_id == self._boot_id and head.format == FORMAT and not self._is_stale:
            return size
        self._write_anew()
        return self._size

    def _take_lines(self, lines: Sequence[bytes], text: bytes) -> None:
        damaged = 0
        for line in lines:
            found = unpacked(line, self._seed)
            if found is None:
                damaged += 1
            elif isinstance(found, Unknown):
                self._unknown.append(found.text)
            else:
                self.table.take(found)
        self._lines = len(lines)
        if damaged:
            kept = self._put_aside(f"damaged-{int(time.time())}", text)
            LOG.error(
                "lines of the journal are damaged: what they held is not given back",
                path=self.path, lines=damaged, of=len(lines), kept=kept,
            )  # fmt: skip
            self._is_stale = True

    def _put_aside(self, ending: str, text: bytes) -> Path:
        kept = self.path.with_name(f"{self.path.name}.{ending}")
        with contextlib.suppress(OSError):  # on a full disk the rest is still worth reading
            kept.write_bytes(text)
            os.chmod(kept, 0o600)
        return kept

    def _take_in_older(self) -> None:
        older = self.path.with_name(f"{self.path.name}.db")
        if not older.exists():
            return
        from holdfast.node.journal import sqlite_journal

        rows = sqlite_journal.rows(older, self._boot_id)
        for row in rows:
            if self.table.get(row) is None:
                self.table.put(row)
        self._write_anew()
        sqlite_journal.retire(older)
        LOG.info("the journal of an older release was taken in", path=older, rows=len(rows))

    def _unavailable(self, error: OSError) -> Unavailable:
        why = (os.strerror(error.errno) if error.errno else str(error)).lower()
        if isinstance(error, BlockingIOError):
            why = "another daemon has it: stop that one, or give this one another root"
        return Unavailable(f"journal {self.path}: {why}; nothing is written without it")


def _opened(path: Path) -> int:
    """The file, ours alone."""
    while True:
        file = os.open(path, _OPEN, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):  # not one that its owner replaced since
                os.fchmod(file, 0o600)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    have = os.fstat(file)
    try:
        there = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return (have.st_dev, have.st_ino) == (there.st_dev, there.st_ino)


def _all_of(file: int) -> bytes:
    parts, at = [], 0
    while part := os.pread(file, 1 << 20, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)
