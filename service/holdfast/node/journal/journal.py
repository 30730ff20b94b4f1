"""Records what we changed and what was there before, so that everything can be restored after any crash.

Theory
------
1. *Before the write.* A row is in the file before any request to the kernel. A crash between the two leaves a
   row whose ``wanted`` was never written: its reader compares it with the present value.
2. *By identity.* A process is (pid, start ticks) of one boot. The rows of another boot are of processes and groups that
   no longer exist; they are dropped on opening.
3. *One truth.* The rows are in memory (`table.Table`). The file brings them back after kill -9, and is only ever
   appended to: one write(2) into the page cache, 2 µs. A power cut may lose it, and ends the processes as well.
4. *Bounded.* The file is rewritten, as a new file that is then renamed, when it has more than twice as many lines as
   are live, plus `SPARE` (`tidy`).
5. *Damage costs only the damaged line.* Each line has a checksum. An incomplete last line was never acknowledged and is
   dropped. Any other damaged line is reported, and the file is kept as ``journal.damaged-TIME``; the other lines count.
   A file of this boot in a format that this release cannot read is kept as ``journal.format-N-TIME``. The newer release
   can take it up again after everything that this release wrote is restored. While there is no room for the kept
   file, the journal is not replaced, and nothing is written.
6. *The file is rewritten from memory* when it, or its directory, was removed or replaced (`check`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from holdfast import log
from holdfast.errors import Unavailable, reason_of
from holdfast.node.journal.line import FORMAT, READS, Header, Unknown, header, packed, seed_of, unpacked
from holdfast.node.journal.rows import Drop, Line, Row
from holdfast.node.journal.table import Table

LOG = log.named(__name__)
SPARE = 256  # lines beyond twice the live ones before the file is rewritten
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_OPEN = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Journal:
    """The journal of one boot; see the theory above. Thread-safe."""

    def __init__(self, path: Path, boot_id: str) -> None:
        """Open the file and drop the rows of an earlier boot.

        Raises:
            Unavailable: the file can be neither opened nor made, or another daemon has it.
        """
        self._lock = threading.RLock()
        self.path, self.table = path, Table(self._lock)
        self._boot_id, self._seed = boot_id, seed_of(boot_id)
        self._unknown: list[bytes] = []
        self._lines = 0
        self._is_stale = False  # something is in the file that should not be
        self._unkept: Path | None = None  # a name under which the file is to be kept before it is replaced
        try:
            self._file = _opened(path)
            self._size = self._take_in()
        except OSError as error:
            raise self._unavailable(error) from error

    # -- writing -----------------------------------------------------------------------------------------------------

    def commit(self, rows: Iterable[Row], drops: Iterable[Row] = (), *, needed: bool = True) -> None:
        """Add rows to the file, all or none, and to the table, before the changes that they are about.

        Not ``needed``: the rows are about what is so already, so they count, and are in the file when there is room.

        Raises:
            Unavailable: the file cannot be written; then nothing may be changed.
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
        """Drop rows that no longer stand for anything, each only if it is still the very row in the table.

        An equal row may be that of a later write, on the mover's thread.

        Never raises: a row that cannot be dropped from the file now is dropped when the file is rewritten.
        """
        with self._lock:
            gone = [row for row in rows if self.table.get(row) is row]
            for row in gone:
                self.table.drop(row)
            if gone:
                try:
                    self._append([Drop(row.key) for row in gone])
                except Unavailable:
                    self._is_stale = True

    def amend(self, old: Row, row: Row) -> None:
        """Put a row in place of another one of the same subject, only if that is still the very row in the table.

        Never raises: the row is in the file when there is room.
        """
        with self._lock:
            if self.table.get(old) is old:
                self.commit((row,), needed=False)

    def catch_up(self) -> None:
        """Write what found no room in the file until now.

        Raises:
            Unavailable: there is still no room: a part of the table is only in memory.
        """
        with self._lock:
            try:
                if self._is_stale:
                    self._write_anew()
            except OSError as error:
                raise self._unavailable(error) from error

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
        """Write all of it or none."""
        try:
            written = os.write(self._file, data)
            while written < len(data):  # the disk is full, and this call gives the errno
                written += os.write(self._file, data[written:])
        except OSError:
            try:
                os.ftruncate(self._file, self._size)
            except OSError:  # the next line would be part of the torn one
                self._is_stale = True
            raise
        self._size += len(data)

    # -- now and then ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Rewrite the file from memory if it or its directory was removed or replaced. This is logged once.

        Raises:
            Unavailable: the file cannot be made.
        """
        with self._lock:
            try:
                if _is_at(self._file, self.path):
                    return
                self._write_anew()
            except OSError as error:
                raise self._unavailable(error) from error
            LOG.warning("the journal's file was removed or replaced; it is written again from memory", path=self.path)

    def tidy(self) -> None:
        """Rewrite the file if it has `SPARE` lines beyond twice the live ones. A full disk is no reason to stop."""
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
        self._keep()
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
        if head is not None and head.boot_id != self._boot_id:
            lines = []
        elif head is not None and head.reads > FORMAT:
            kept = self._put_aside(f"format-{head.format}-{int(time.time())}")
            LOG.error(
                "the journal is of a newer format and was put aside: its values are not restored",
                path=self.path, format=head.format, kept=kept,
                remedy=f"run holdfast restore, stop the daemon, move {kept} to {self.path}, start the newer release",
            )  # fmt: skip
        elif lines:
            self._take_lines(lines if head is None else lines[1:], text)
        if head is not None and head.boot_id == self._boot_id and head.format == FORMAT and not self._is_stale:
            return size
        try:
            self._write_anew()
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            self._is_stale = True  # the rows count; until there is room for the file nothing is written
            return size
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
            kept = self._put_aside(f"damaged-{int(time.time())}")
            LOG.error(
                "lines of the journal are damaged: their values are not restored",
                path=self.path, lines=damaged, of=len(lines), kept=kept,
            )  # fmt: skip
            self._is_stale = True

    def _put_aside(self, ending: str) -> Path:
        """Keep the file under another name, now or before it is replaced, and return that name."""
        self._unkept = kept = self.path.with_name(f"{self.path.name}.{ending}")
        with contextlib.suppress(OSError):  # the rest is still worth reading
            self._keep()
        return kept

    def _keep(self) -> None:
        """Keep the file as it was at the start, if that is still to be done.

        A link finds room on a full disk, too. The file itself is replaced by a new one before it is written again.

        Raises:
            OSError: there is no room for it.
        """
        if self._unkept is None:
            return
        kept = self._unkept
        with contextlib.suppress(FileNotFoundError):
            os.unlink(kept)
        try:
            os.link(self.path, kept)
        except OSError:  # a file system without links
            kept.write_bytes(_all_of(self._file))
            os.chmod(kept, 0o600)
        self._unkept = None

    def _unavailable(self, error: OSError) -> Unavailable:
        why = reason_of(error)
        if isinstance(error, BlockingIOError):
            why = "another daemon has it: stop that one, or give this one another root"
        return Unavailable(f"journal {self.path}: {why}; nothing is written without it")


def _opened(path: Path) -> int:
    """Open the file for this daemon alone."""
    while True:
        file = os.open(path, _OPEN, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):  # not a file that its owner replaced since
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
