"""Tar headers, against Python's own reader and writer."""

from __future__ import annotations

import io
import tarfile

import pytest
from holdfast.diff import header
from holdfast.diff.archive import ArchiveReader, ArchiveWriter
from holdfast.diff.header import ArchiveEntry
from holdfast.errors import BadLayer
from hypothesis import given
from hypothesis import strategies as st

NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=60)
KEYS = NAME.filter(lambda key: "=" not in key).map(str.encode)
PATHS = st.lists(NAME, min_size=1, max_size=5).map(lambda parts: "/".join(parts).encode())


def written(*entries: ArchiveEntry, plain: bool = False) -> bytes:
    pieces: list[bytes] = []
    archive = ArchiveWriter(pieces.append)
    for entry in entries:
        archive.add(entry, iter([bytes(entry.size)]) if entry.size else iter(()), plain=plain)
    archive.end()
    return b"".join(pieces)


def read(data: bytes, step: int = 700) -> list[ArchiveEntry]:
    pieces = (data[start : start + step] for start in range(0, len(data), step))
    return list(ArchiveReader(pieces).entries())


@given(
    entry=st.builds(
        ArchiveEntry,
        name=PATHS,
        kind=st.sampled_from([header.REGULAR, header.SYMLINK, header.FIFO]),
        mode=st.integers(0, 0o7777),
        uid=st.integers(0, 2**32 - 2),
        gid=st.integers(0, 2**32 - 2),
        mtime_ns=st.integers(-(2**31), 2**35).map(lambda seconds: seconds * 10**9),
        link=PATHS,
        xattrs=st.dictionaries(
            NAME.filter(lambda key: "=" not in key).map(str.encode), st.binary(max_size=40), max_size=3
        ),
    )
)
def test_what_is_written_is_read_again_here_and_by_python(entry):
    if entry.kind == header.REGULAR:
        entry.size = len(entry.name) * 9
    data = written(entry)
    assert read(data) == [entry]
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as opened:
        [member] = opened.getmembers()
    assert (member.name.encode(), member.linkname.encode()) == (entry.name, entry.link)
    assert (member.mode, member.uid, member.gid, member.size) == (entry.mode, entry.uid, entry.gid, entry.size)
    assert int(member.mtime) * 10**9 == entry.mtime_ns


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("name", ["short", "d/" * 60 + "long", "d/" * 40 + "n" * 90])
def test_every_form_python_writes_is_read(form, name):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=form) as made:
        info = tarfile.TarInfo(name)
        info.size, info.uid, info.mtime, info.mode = 3, 1000, 12345, 0o640
        made.addfile(info, io.BytesIO(b"abc"))
    [entry] = read(raw.getvalue())
    assert (entry.name, entry.size, entry.uid, entry.mtime_ns) == (name.encode(), 3, 1000, 12345 * 10**9)


def test_a_plain_header_splits_a_long_name_where_it_can():
    data = written(ArchiveEntry(b"d" * 90 + b"/" + b"n" * 90), plain=True)
    assert len(data) == 3 * 512
    assert read(data)[0].name == b"d" * 90 + b"/" + b"n" * 90


def test_numbers_in_base_256_are_read_with_their_sign():
    block = bytearray(written(ArchiveEntry(b"x"))[:512])
    block[124:136] = b"\x80" + (10**12).to_bytes(11, "big")
    block[136:148] = b"\xff" * 11 + b"\xfb"
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
    entry = header.parse(bytes(block))
    assert (entry.size, entry.mtime_ns) == (10**12, -5 * 10**9)


def broken(at: int, what: bytes) -> bytes:
    block = bytearray(written(ArchiveEntry(b"x"))[:512])
    block[at : at + len(what)] = what
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
    return bytes(block) + bytes(1024)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"x" * 1024, "a number that is none"),
        (broken(100, b"notoctal"), "a number that is none"),
        (broken(124, b"\x80" + b"\x7f" * 11), "a number that is too large"),
        (broken(124, b"\xff" * 12), "a size below zero"),
        (written(ArchiveEntry(b"x")).replace(b"x", b"y", 1), "a checksum that does not fit"),
        (bytes(512) + written(ArchiveEntry(b"x")), "one after an empty block"),
    ],
)
def test_what_is_no_header_is_refused(data, why):
    with pytest.raises(BadLayer, match=why):
        read(data)


def pax(data: bytes, size: int | None = None) -> bytes:
    extended = ArchiveEntry(b"pax", header.PAX, size=len(data) if size is None else size)
    return header.printed(extended) + data + header.padding(len(data)) + written(ArchiveEntry(b"x"))


@pytest.mark.parametrize(
    "data",
    [
        b"no length",
        b"99 path=x\n",
        b"9 path=x",
        b"10 pathxx\n",
        b"0 path=x\n",
        b"7 =val\n",
        b"12 size=-12\n",
        b"13 mtime=abc\n",
        b"24 GNU.sparse.major=1  \n",
        b"10 uid=1.5\n",
        b"13 path=a\0bc\n",
        b"-5 path=x\n",
        b"\xc2\xb2 path=x\n",
    ],
)
def test_a_broken_extended_header_is_refused(data):
    with pytest.raises(BadLayer):
        read(pax(data))


def test_a_huge_extended_header_is_refused_before_it_is_read():
    with pytest.raises(BadLayer, match="an extended header of 1099511627776 bytes"):
        read(broken_size(2**40))


def broken_size(size: int) -> bytes:
    block = bytearray(header.printed(ArchiveEntry(b"pax", header.PAX)))
    block[124:136] = b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
    return bytes(block)


def test_a_global_header_says_nothing_of_files():
    record = b"16 path=../../x\n"
    data = (
        header.printed(ArchiveEntry(b"g", header.PAX_GLOBAL, size=16))
        + record
        + header.padding(16)
        + written(ArchiveEntry(b"x"))
    )
    assert [entry.name for entry in read(data)] == [b"x"]


def test_a_name_is_shown_in_one_line():
    assert ArchiveEntry(b"a\nb\x1b[31m\xff" + b"x" * 500).shown == '"a\\nb\\x1b[31m\\\\xff' + "x" * 191 + '..."'
