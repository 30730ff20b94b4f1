"""Just enough HTTP/2 to be hostile: frames, and headers without any compression (RFC 9113, RFC 7541)."""

import socket
import struct

DATA, HEADERS, RESET, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1))


def _length(number: int) -> bytes:
    if number < 127:
        return bytes([number])
    out, number = bytearray([127]), number - 127
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + _length(len(name)) + name + _length(len(value)) + value


def headers(path: bytes, *more: tuple[bytes, bytes], authority: bytes = b"x") -> bytes:
    fixed = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", authority))
    fixed += ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
    return b"".join(_literal(*pair) for pair in (*fixed, *more))


def call(
    stream: int, path: bytes, request: bytes | None = b"", *more: tuple[bytes, bytes], authority: bytes = b"x"
) -> bytes:
    """A whole unary call, or with None one whose request never comes."""
    begun = frame(HEADERS, END_HEADERS, stream, headers(path, *more, authority=authority))
    if request is None:
        return begun
    return begun + frame(DATA, END_STREAM, stream, b"\0" + struct.pack(">I", len(request)) + request)


def connect(address: str, source: str = "127.0.0.1") -> socket.socket:
    """To a port of loopback, or to a unix socket's path; the preface is sent."""
    if address.startswith("/"):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(5)
        peer.connect(address)
    else:
        peer = socket.create_connection(("127.0.0.1", int(address)), 5, (source, 0))
    peer.sendall(PREFACE + frame(SETTINGS, ACK, 0))
    return peer


def receive(peer: socket.socket) -> tuple[int, bytes]:
    """The next frame's kind and payload."""
    head = _exactly(peer, 9)
    return head[3], _exactly(peer, int.from_bytes(head[:3], "big"))


def _exactly(peer: socket.socket, number: int) -> bytes:
    got = b""
    while len(got) < number:
        data = peer.recv(number - len(got))
        if not data:
            raise ConnectionError("closed")
        got += data
    return got
