"""A tar archive as a stream: entries and their data, read in order or written in order, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from holdfast.diff import header
from holdfast.diff.header import BLOCK, ArchiveEntry
from holdfast.errors import BadLayer

CHUNK = 1 << 20


class ArchiveReader:
    """The entries of ``chunks``, the bytes of an archive in pieces of any size."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._have = b""
        self._left = 0  # unread bytes of the current entry's data
        self._fill = 0  # padding bytes of its last block

    def entries(self) -> Iterator[ArchiveEntry]:
        """Yield each entry; its data can be read until the next one.

        Raises:
            BadLayer: the bytes are no archive, or the archive ends inside an entry.
        """
        while (block := self._header()) is not None:
            yield self._whole(block)

    def data(self) -> Iterator[bytes]:
        """Yield the rest of the current entry's data."""
        while self._left:
            piece = self._some(min(self._left, CHUNK))
            self._left -= len(piece)
            yield piece

    def drain(self) -> None:
        """Read to the end of the stream: bytes after the archive belong to the layer and its digest."""
        self._have = b""
        for _ in self._chunks:
            pass

    def _whole(self, block: bytes) -> ArchiveEntry:
        """Return the entry that ``block`` begins, with the values of PAX and GNU headers before it."""
        found: dict[bytes, bytes] = {}
        names: dict[bytes, bytes] = {}
        while True:
            entry = header.parse(block)
            if entry.kind not in (header.PAX, header.PAX_GLOBAL, header.GNU_NAME, header.GNU_LINK):
                break
            data = self._special(entry)
            if entry.kind == header.PAX:
                found = header.records(data)
            elif entry.kind != header.PAX_GLOBAL:  # a global one has no value for a file of a layer
                names[entry.kind] = data.partition(b"\0")[0]
            following = self._header()
            if following is None:
                if entry.kind == header.PAX_GLOBAL:
                    return ArchiveEntry(b".", header.DIRECTORY)  # the root, which is never changed
                raise BadLayer(f"entry {entry.shown}: the archive ends after its extended header")
            block = following
        header.apply_records(entry, found)
        entry.name = names.get(header.GNU_NAME, entry.name)
        entry.link = names.get(header.GNU_LINK, entry.link)
        header.settled(entry)
        self._left, self._fill = entry.size, -entry.size % BLOCK
        return entry

    def _special(self, entry: ArchiveEntry) -> bytes:
        if entry.size > header.SPECIAL_MAX:
            raise BadLayer(f"entry {entry.shown}: an extended header of {entry.size} bytes")
        data = self._exactly(entry.size)
        self._fill = -entry.size % BLOCK
        return data

    def _header(self) -> bytes | None:
        """Return the next header block; None at the end: two empty blocks, or no more bytes."""
        for _ in self.data():
            pass
        self._exactly(self._fill)
        self._fill = 0
        block = self._exactly(BLOCK, or_nothing=True)
        if not block:
            return None
        if any(block):
            return block
        block = self._exactly(BLOCK, or_nothing=True)
        if any(block):
            raise BadLayer("invalid tar header: one after an empty block")
        return None

    def _exactly(self, size: int, *, or_nothing: bool = False) -> bytes:
        pieces = []
        left = size
        while left:
            piece = self._some(left, at_end=or_nothing and left == size)
            if not piece:
                return b""
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _some(self, most: int, *, at_end: bool = False) -> bytes:
        while not self._have:
            more = next(self._chunks, None)
            if more is None:
                if at_end:
                    return b""
                raise BadLayer("the archive ends in the middle of an entry")
            self._have = more
        piece, self._have = self._have[:most], self._have[most:]
        return piece


class ArchiveWriter:
    """Write an archive to ``write``."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def add(self, entry: ArchiveEntry, data: Iterator[bytes] = iter(()), *, plain: bool = False) -> None:  # noqa: B008 (empty)
        """Write one entry and its ``entry.size`` bytes of data; ``plain``: see `header.printed`.

        Raises:
            BadLayer: there are more or fewer bytes.
        """
        self._write(header.printed(entry, plain=plain))
        written = 0
        for piece in data:
            written += len(piece)
            if written > entry.size:
                break
            self._write(piece)
        if written != entry.size:
            raise BadLayer(f"entry {entry.shown}: it changed while it was read")
        self._write(header.padding(written))

    def end(self) -> None:
        """Write the two empty blocks at the end."""
        self._write(bytes(2 * BLOCK))
