"""A line of the journal's file: a checksum and JSON. The first line has the format and the boot. Without I/O.

``5f3a9c01 {"kind":"adj","pid":412,"start_ticks":9921,"before":0,"rule":"db","wanted":-500}``

* The checksum of a row begins with the boot's id: a row of another boot is not valid here, whatever happened to the
  header.
* ``format`` is raised when the meaning of something changes. ``reads`` is the lowest format whose reader understands
  the file. A reader of that format or a newer one ignores fields that it does not know, and keeps lines of unknown
  kinds as they are. So a release that is rolled back, and forward again, loses nothing.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgspec
from msgspec import Struct

from holdfast.node.journal.rows import Drop, Line

FORMAT, READS = 2, 2

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode
_KINDS = frozenset(("adj", "move", "file", "group", "override", "drop"))


class Header(Struct, frozen=True):
    """The first line."""

    format: int
    reads: int
    boot_id: str


class Unknown(Struct, frozen=True):
    """A line of a kind that a newer release knows, or that drops such a line, as it is in the file."""

    text: bytes


def seed_of(boot_id: str) -> int:
    """Return the value from which the checksums of a boot's rows begin."""
    return zlib.crc32(boot_id.encode())


def packed(line: Line | Header, seed: int) -> bytes:
    """Return a line with its newline."""
    try:
        text = _encode(line)
    except UnicodeEncodeError:  # a cgroup's name may be any bytes: \\udc80 … in JSON
        text = json.dumps(msgspec.to_builtins(line), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text, seed), text)


def unpacked(text: bytes, seed: int) -> Line | Unknown | None:
    """Return the row of a line (without its newline); None: it is damaged."""
    body = _checked(text, seed)
    if body is None:
        return None
    try:
        row: Line = _decode(body)
        return Unknown(text) if isinstance(row, Drop) and row.of[:1] and row.of[0] not in _KINDS else row
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _otherwise(text, body)


def header(text: bytes) -> Header | None:
    """Return the header; None: the line is no header."""
    body = _checked(text, 0)
    try:
        return msgspec.json.decode(body, type=Header) if body is not None else None
    except msgspec.DecodeError:
        return None


def _checked(text: bytes, seed: int) -> bytes | None:
    if len(text) < 10 or text[8:9] != b" ":
        return None
    body = text[9:]
    return body if text[:8] == b"%08x" % zlib.crc32(body, seed) else None


def _otherwise(text: bytes, body: bytes) -> Line | Unknown | None:
    """Decode a line that has a name that is not text, or an unknown kind; None: it makes no sense."""
    try:
        plain: Any = json.loads(body)
        if plain["kind"] not in _KINDS:
            return Unknown(text)
        row: Line = msgspec.convert(plain, Line)
        return row
    except (ValueError, TypeError, LookupError, msgspec.ValidationError):
        return None
