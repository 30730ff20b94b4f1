"""One entry of a tar archive and its header: bytes to values and back.

Reads and refuses the headers that Go's archive/tar reads (v7, ustar, star, GNU and PAX) and refuses; writes the same
bytes as Go, so that a layer made here has the digest of the same layer made by containerd. Formats: pax(1),
https://www.gnu.org/software/tar/manual/html_node/Standard.html. Names are bytes, as the kernel's are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from holdfast.errors import BadLayer

BLOCK = 512
SPECIAL_MAX = 1 << 20  # bytes in a PAX header or a GNU long name; Go's limit
NAME_MAX = 4096
_NOBODY = 2**32 - 1  # for chown(2) this means "leave unchanged"

REGULAR, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
PAX, PAX_GLOBAL, GNU_NAME, GNU_LINK = b"x", b"g", b"L", b"K"
OLD_REGULAR = b"\0"
_EMPTY = (LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO)  # whatever their size field says

_XATTR = b"SCHILY.xattr."
_SECOND_NS = 1_000_000_000
_USTAR = b"ustar\x0000"
_NUMBER = re.compile(rb"(-?)(\d{1,18})(?:\.(\d*))?\Z")


class ArchiveEntry(Struct):
    """One file of an archive. Times are nanoseconds since 1970; ``link`` is the target of a link."""

    name: bytes
    kind: bytes = REGULAR
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    atime_ns: int = 0
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The name for a message, shortened and in one line."""
        name = self.name if len(self.name) <= 200 else self.name[:200] + b"..."
        return '"' + name.decode(errors="backslashreplace").encode("unicode_escape").decode() + '"'


def parse(block: bytes) -> ArchiveEntry:
    """Return the entry of one header block; PAX and GNU headers are entries of their own kind.

    Raises:
        BadLayer: it is no header.
    """
    _check_sum(block)
    name, link = _text(block[0:100]), _text(block[157:257])
    kind = block[156:157]
    entry = ArchiveEntry(
        name, kind, _number(block[100:108]), _number(block[108:116]), _number(block[116:124]), link=link
    )
    entry.size = _number(block[124:136])
    entry.mtime_ns = _number(block[136:148]) * _SECOND_NS
    if block[257:262] == b"ustar":
        if kind in (CHARACTER, BLOCK_DEVICE):
            entry.device = _number(block[329:337]), _number(block[337:345])
        star = block[508:512] == b"tar\0"
        if block[257:265] == _USTAR and (prefix := _text(block[345 : 476 if star else 500])):
            entry.name = prefix + b"/" + name
    if entry.size < 0:
        raise BadLayer(f"entry {entry.shown}: invalid tar header: a size below zero")
    return entry


def settled(entry: ArchiveEntry) -> ArchiveEntry:
    """Return the entry after its PAX records: old kinds under their new names, size 0 for kinds without data."""
    if entry.kind == OLD_REGULAR:
        entry.kind = DIRECTORY if entry.name.endswith(b"/") else REGULAR
    if entry.kind in _EMPTY:
        entry.size = 0
    if max(len(entry.name), len(entry.link)) > NAME_MAX:
        raise BadLayer(f"entry {entry.shown}: a name of more than {NAME_MAX} bytes")
    if b"\0" in entry.name or b"\0" in entry.link:
        raise BadLayer(f"entry {entry.shown}: a name with a zero byte in it")
    if not (0 <= entry.uid < _NOBODY and 0 <= entry.gid < _NOBODY):
        raise BadLayer(f"entry {entry.shown}: owner {entry.uid}:{entry.gid} is out of range")
    return entry


def records(data: bytes) -> dict[bytes, bytes]:
    """Return the records of a PAX header: ``17 path=some/name\\n`` and so on.

    Raises:
        BadLayer: it is no PAX header.
    """
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        digits, space, _ = data[at : at + 20].partition(b" ")
        if not space or not digits.isdigit():
            raise BadLayer("invalid tar header: a PAX record without its length")
        end = at + int(digits)
        key, equals, value = data[at + len(digits) + 1 : end - 1].partition(b"=")
        if end > len(data) or data[end - 1 : end] != b"\n" or not equals or not key:
            raise BadLayer("invalid tar header: a broken PAX record")
        found[key] = value
        at = end
    return found


def apply_records(entry: ArchiveEntry, found: Mapping[bytes, bytes]) -> None:
    """Replace the header's fields by the PAX records.

    Raises:
        BadLayer: a record has an invalid value, or belongs to a sparse file.
    """
    for key, value in found.items():
        match key:
            case b"path" if value:
                entry.name = value
            case b"linkpath" if value:
                entry.link = value
            case b"uid" | b"gid" | b"size" if value:
                setattr(entry, key.decode(), _decimal(entry, key, value) // _SECOND_NS)
            case b"mtime" | b"atime" if value:
                setattr(entry, f"{key.decode()}_ns", _decimal(entry, key, value))
            case _ if key.startswith(_XATTR):
                entry.xattrs[key[len(_XATTR) :]] = value
            case _ if key.startswith(b"GNU.sparse."):
                raise BadLayer(f"entry {entry.shown}: sparse files are not supported")
    if entry.size < 0:
        raise BadLayer(f"entry {entry.shown}: invalid tar header: a size below zero")


def printed(entry: ArchiveEntry, *, plain: bool = False) -> bytes:
    """Return the header blocks of ``entry``, with a PAX one if needed; ``plain`` may split a long name instead."""
    prefix, name = b"", entry.name
    extended = _extended(entry)
    if plain and set(extended) == {b"path"} and (split := _split(name)):
        prefix, name = split
        extended = {}
    ahead = b""
    if extended:
        data = b"".join(_record(key, extended[key]) for key in sorted(extended))
        folder, slash, base = entry.name.rpartition(b"/")
        about = b"/".join(part for part in (folder, b"PaxHeaders.0", base) if part)
        if slash and not folder:
            about = b"/" + about
        header = _packed(ArchiveEntry(_ascii(about)[:100].rstrip(b"/"), PAX, size=len(data)), devices=False)
        ahead = header + data + padding(len(data))
    return ahead + _packed(replace(entry, name=name), prefix)


def padding(size: int) -> bytes:
    """Return the zeros that fill the last block of ``size`` bytes."""
    return bytes(-size % BLOCK)


def _check_sum(block: bytes) -> None:
    told = _number(block[148:156])
    rest = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(rest)
    if told not in (unsigned, unsigned - 256 * sum(byte > 127 for byte in rest)):  # some writers summed signed bytes
        raise BadLayer("invalid tar header: a checksum that does not fit")


def _number(raw: bytes) -> int:
    if raw[0] & 0x80:  # GNU: two's complement in base 256, the first bit set
        value = int.from_bytes(raw, "big") & ~(1 << (8 * len(raw) - 1))
        if raw[0] & 0x40:
            value -= 1 << (8 * len(raw) - 1)
        if not -(2**63) <= value < 2**63:
            raise BadLayer("invalid tar header: a number that is too large")
        return value
    digits = raw.strip(b" \0").split(b"\0")[0]
    if not digits:
        return 0
    try:
        return int(digits, 8) if digits.isdigit() else _no_number()
    except ValueError:
        return _no_number()


def _no_number() -> int:
    raise BadLayer("invalid tar header: a number that is none")


def _decimal(entry: ArchiveEntry, key: bytes, value: bytes) -> int:
    """Return a PAX number times 10**9; times may have a fraction and a sign."""
    found = _NUMBER.match(value)
    if not found or (found[3] is not None and not key.endswith(b"time")):
        raise BadLayer(f"entry {entry.shown}: invalid tar header: {key.decode()} is no number")
    sign, whole, fraction = found.groups()
    value_ns = int(whole) * _SECOND_NS + int((fraction or b"")[:9].ljust(9, b"0"))
    return -value_ns if sign else value_ns


def _text(raw: bytes) -> bytes:
    return raw.partition(b"\0")[0]


def _extended(entry: ArchiveEntry) -> dict[bytes, bytes]:
    """Return the PAX records that this entry needs."""
    found = {_XATTR + key: value for key, value in entry.xattrs.items()}
    for key, text in ((b"path", entry.name), (b"linkpath", entry.link)):
        if len(text) > 100 or not text.isascii():
            found[key] = text
    seconds = entry.mtime_ns // _SECOND_NS
    for key, number, digits in (
        (b"uid", entry.uid, 7),
        (b"gid", entry.gid, 7),
        (b"size", entry.size, 11),
        (b"mtime", seconds, 11),
    ):
        if not 0 <= number < 8**digits:
            found[key] = str(number).encode()
    return found


def _record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    size = len(body)
    while size != len(body) + len(str(size)):  # the length counts its own digits
        size = len(body) + len(str(size))
    return str(size).encode() + body


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Split a long name for ustar, at the last slash that leaves both parts short enough."""
    if len(name) <= 100 or not name.isascii():
        return None
    length = min(len(name), 156) - (1 if len(name) <= 156 and name.endswith(b"/") else 0)
    at = name.rfind(b"/", 0, length)
    rest = len(name) - at - 1
    if at <= 0 or rest > 100 or rest == 0 or at > 155:
        return None
    return name[:at], name[at + 1 :]


def _packed(entry: ArchiveEntry, prefix: bytes = b"", *, devices: bool = True) -> bytes:
    major, minor = entry.device
    block = bytearray(BLOCK)
    block[0:100] = _field(_ascii(entry.name), 100)
    for start, end, number in (
        (100, 108, entry.mode),
        (108, 116, entry.uid),
        (116, 124, entry.gid),
        (124, 136, entry.size),
        (136, 148, entry.mtime_ns // _SECOND_NS),
    ):
        block[start:end] = _octal(number, end - start)
    block[156:157] = entry.kind
    block[157:257] = _field(_ascii(entry.link), 100)
    block[257:265] = _USTAR
    if devices:
        block[329:337], block[337:345] = _octal(major, 8), _octal(minor, 8)
    block[345:500] = _field(prefix, 155)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _octal(number: int, width: int) -> bytes:
    if not 0 <= number < 8 ** (width - 1):
        number = 0  # the PAX header has it
    return b"%0*o\0" % (width - 1, number)


def _field(text: bytes, width: int) -> bytes:
    cut = text[:width]
    if len(text) > width and cut.endswith(b"/"):  # some readers would take the cut name for a directory
        cut = cut[: len(cut[:-1].rstrip(b"/"))]
    return cut.ljust(width, b"\0")


def _ascii(text: bytes) -> bytes:
    return text if text.isascii() else bytes(byte for byte in text if byte < 128)
