"""The least that speaks ttrpc to a real program, byte by byte, apart from our own client that is under test too."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from tests.running import PATIENCE_S

REQUEST, RESPONSE = 1, 2
HEADER = struct.Struct(">IIBB")  # length, stream, type, flags


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: bytes | str | int) -> bytes:
    """One protobuf field: an integer as a varint, anything else by length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def parsed(data: bytes) -> dict[int, bytes | int]:
    """The last value of each field of a message."""
    found: dict[int, bytes | int] = {}
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            found[key >> 3] = number()
        else:
            length = number()
            found[key >> 3] = data[at : at + length]
            at += length
    return found


class Wire:
    """One connection; each call waits for its answer."""

    def __init__(self, path: str | Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self._stream = -1

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def send(self, payload: bytes, stream: int = 1, kind: int = REQUEST, length: int | None = None) -> None:
        """One frame; ``length`` to claim another one than it has."""
        self.socket.sendall(HEADER.pack(len(payload) if length is None else length, stream, kind, 0) + payload)

    def receive(self) -> tuple[int, int, bytes]:
        """Stream, type and payload of the next frame. Raises EOFError when the other side closed."""
        length, stream, kind, _ = HEADER.unpack(self._exactly(HEADER.size))
        return stream, kind, self._exactly(length)

    def call(self, service: str, method: str, payload: bytes = b"", namespace: str = "hf") -> tuple[int, str, bytes]:
        """Code and message of the status, and the reply's payload."""
        self._stream += 2
        metadata = field(5, field(1, "containerd-namespace-ttrpc") + field(2, namespace))
        self.send(field(1, service) + field(2, method) + field(3, payload) + metadata, self._stream)
        stream, kind, data = self.receive()
        assert (stream, kind) == (self._stream, RESPONSE)
        answer = parsed(data)
        status = parsed(bytes(answer.get(1, b"")))  # type: ignore[arg-type]
        return int(status.get(1, 0)), bytes(status.get(2, b"")).decode(), bytes(answer.get(2, b""))  # type: ignore[arg-type]

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError(f"closed after {len(data)} of {size} bytes")
            data += more
        return data
