"""Text from the kernel: bytes, read whole, cut at ``\\n`` alone; and the one codec between them and ``str``.

A name of a process, file or cgroup holds any byte but NUL (a file or cgroup: nor ``/``; a cgroup: nor ``\\n``). So
``str.splitlines`` and ``str.split()``, which also cut at ``\\r \\v \\f \\x1c`` to ``\\x1e``, U+0085 and U+2028, are not
for text from the kernel, nor is a file opened in text mode (a test keeps them out).

Inside holdfast such a name is a ``str`` whose bytes that are no UTF-8 are lone surrogates (PEP 383): `decode` and
`encode` are exact inverses. Text that leaves the daemon goes through `holdfast.inert`.

Sources: proc(5), Documentation/filesystems/seq_file.rst, Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from holdfast.errors import KernelRefused, UnknownKernelText
from holdfast.interning import Interned

#: Bytes of one file that are read; the longest known is ``cgroup`` of a process in 13 v1 hierarchies, 13 × 4 KiB.
MOST_BYTES = 1 << 20
_PAGE = 4096  # what most files fit into: one read
_CHUNK = 65536

#: Number of refused texts, by reason: ``too_long``, ``malformed``. Shown by `holdfast.metrics.process`.
refused: Counter[str] = Counter({"too_long": 0, "malformed": 0})


def decode(raw: bytes) -> str:
    """``raw`` as a ``str`` that `encode` turns into the same bytes."""
    return raw.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The bytes of a name. A surrogate that stands for no byte becomes ``?``: no name in the kernel has it."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


#: `decode`, with one object for equal names: ten thousand processes share a few hundred of them.
shared = Interned(decode)


def lines(raw: bytes) -> list[bytes]:
    """The lines without their ``\\n``; the last one may lack it."""
    found = raw.split(b"\n")
    if not found[-1]:
        found.pop()
    return found


def each_line(path: str | bytes, dir_fd: int | None = None) -> Iterator[bytes]:
    """Yield the lines of a file of any length, such as ``mountinfo``, which has users' own mounts. One line is bounded.

    Raises:
        KernelRefused: it cannot be read; `UnknownKernelText`: a line is longer than `MOST_BYTES`.
    """
    name = os.fsdecode(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            rest = b""
            while part := os.read(descriptor, _CHUNK):
                *whole, rest = (rest + part).split(b"\n")
                yield from whole
                if len(rest) > MOST_BYTES:
                    refused["too_long"] += 1
                    raise UnknownKernelText(name, f"a line is longer than {MOST_BYTES} bytes")
            if rest:
                yield rest
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KernelRefused("read", name, error.errno or 0) from error


def words(line: bytes) -> list[bytes]:
    """The words of a line between blanks and tabs alone; no word is empty."""
    return [word for word in line.replace(b"\t", b" ").split(b" ") if word]


def malformed(file: str) -> UnknownKernelText:
    """Count text that is not as the kernel documents it, and return the error to raise."""
    refused["malformed"] += 1
    return UnknownKernelText(file, "it is not as the kernel documents it")


def read_record(descriptor: int, file: str) -> bytes:
    """Read all of an open file that is one record (``stat``, ``status``, ``comm``, ``cgroup``, ``cmdline`` of a
    process).

    The kernel returns as many bytes as were requested; fewer are the end, which saves the last read.

    Raises:
        UnknownKernelText: it is longer than `MOST_BYTES`.
        OSError: as read(2).
    """
    data = os.read(descriptor, _PAGE)
    return data if len(data) < _PAGE else data + read_open(descriptor, file)


def read_open(descriptor: int, file: str) -> bytes:
    """Read all of an open file from its position; a file of many records comes in pieces of any size.

    Raises:
        UnknownKernelText: it is longer than `MOST_BYTES`.
        OSError: as read(2).
    """
    parts, size = [], 0
    while part := os.read(descriptor, _CHUNK):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            refused["too_long"] += 1
            raise UnknownKernelText(file, f"it is longer than {MOST_BYTES} bytes")
    return b"".join(parts)


def read(path: str) -> bytes:
    """Read all of a file.

    Raises:
        KernelRefused: it cannot be read; `UnknownKernelText`: it is longer than `MOST_BYTES`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return read_open(descriptor, path)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KernelRefused("read", path, error.errno or 0) from error
