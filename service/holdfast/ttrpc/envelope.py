"""The Request and Response messages (``protos/holdfast/api/ttrpc/ttrpc.proto``), as bytes.

Hot messages are written by hand, and read by hand if the bytes have the shape that every known peer sends. protobuf
decodes everything else, so that an unusual but legal encoding is understood and an illegal one is refused as protobuf
refuses it. Measured on one core: a request with deadline and metadata 1.6 µs by hand, 2.4 µs by upb; a response
0.15 µs against 0.7 µs. The tests hold both readers to the same answer on arbitrary bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import DecodeError

from holdfast.api.ttrpc import ttrpc_pb2
from holdfast.errors import HoldfastError, PeerBrokeProtocol, from_status
from holdfast.inert import valid

TargetT = TypeVar("TargetT")
Pairs = tuple[tuple[str, str], ...]

_PAYLOAD, _TIMEOUT, _METADATA = 0x1A, 0x20, 0x2A  # tags of Request's fields 3, 4 and 5
_RESPONSE_PAYLOAD = 0x12  # tag of Response's field 2
_ONE_BYTE = 0x80  # varints below this are one byte
_PAIRS_KEPT = 64  # read metadata remembered, of 128 bytes at most


class Parts(NamedTuple):
    """A request without service and method."""

    payload: bytes
    timeout_nano: int
    metadata: Pairs


_parts: Callable[[tuple[bytes, int, Pairs]], Parts] = partial(tuple.__new__, Parts)  # half the cost of Parts()


def varint(value: int) -> bytes:
    """Return an unsigned value in base 128; a negative one as its 64-bit two's complement, ten bytes."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value >= _ONE_BYTE:
        out.append(value & 0x7F | _ONE_BYTE)
        value >>= 7
    out.append(value)
    return bytes(out)


def heading(service: str, method: str) -> bytes:
    """Return fields 1 and 2 of a request in order: the beginning of its bytes, and so a key to the method."""
    first, second = service.encode(), method.encode()
    return b"\x0a" + varint(len(first)) + first + b"\x12" + varint(len(second)) + second


def encode_metadata(pairs: Mapping[str, tuple[str, ...]]) -> bytes:
    """Return field 5, once per value."""
    entries = []
    for key, values in pairs.items():
        name = key.encode()
        for value in values:
            text = value.encode()
            entry = b"\x0a" + varint(len(name)) + name + b"\x12" + varint(len(text)) + text
            entries.append(b"\x2a" + varint(len(entry)) + entry)
    return b"".join(entries)


def encode_request(head: bytes, payload: bytes, timeout_nano: int, metadata: bytes) -> bytes:
    """Return a request from encoded heading, payload, nanoseconds left (0: no deadline) and encoded metadata."""
    size = len(payload)
    length = b"" if not size else bytes((_PAYLOAD, size)) if size < _ONE_BYTE else b"\x1a" + varint(size)
    timeout = b"\x20" + varint(timeout_nano) if timeout_nano else b""
    return b"".join((head, length, payload, timeout, metadata))


def response_prefix(payload: bytes) -> bytes:
    """Return the bytes before the payload in a successful response.

    Empty when the payload is empty: OK is the absence of a status, and success without a message is no bytes.
    """
    size = len(payload)
    if size < _ONE_BYTE:
        return bytes((_RESPONSE_PAYLOAD, size)) if size else b""
    return b"\x12" + varint(size)


def encode_failure(code: int, message: str, details: tuple[Any, ...] = ()) -> bytes:
    """Return a response with a status. Bytes of the message that are not UTF-8 are escaped."""
    response = ttrpc_pb2.Response()
    response.status.code = code
    response.status.message = valid(message)
    response.status.details.extend(details)
    return bytes(response.SerializeToString())


def decode_request(data: bytes) -> tuple[str, str, Parts]:
    """Return service, method and the rest, decoded by protobuf.

    Raises:
        PeerBrokeProtocol: the bytes are no Request.
    """
    try:
        request = ttrpc_pb2.Request.FromString(data)
    except DecodeError as error:
        raise PeerBrokeProtocol(f"unmarshal request error: {error}") from None
    metadata = tuple((entry.key, entry.value) for entry in request.metadata)
    return request.service, request.method, Parts(request.payload, request.timeout_nano, metadata)


def match_request(data: bytes, targets: Mapping[bytes, TargetT]) -> tuple[TargetT, Parts] | None:
    """Return the target whose heading ``data`` begins with, and the rest; None when protobuf must decode it.

    ``targets`` is keyed by `heading`. None is no error: the names may be unknown, the encoding unusual or wrong.
    """
    try:
        if data[0] != 0x0A or data[1] >= _ONE_BYTE:
            return None
        second = 2 + data[1]
        if data[second] != 0x12 or data[second + 1] >= _ONE_BYTE:
            return None
        at = second + 2 + data[second + 1]
        target = targets.get(data[:at])
        if target is None:
            return None
        parts = _match_parts(data, at)
    except (IndexError, UnicodeDecodeError):
        return None
    return None if parts is None else (target, parts)


def _match_parts(data: bytes, offset: int) -> Parts | None:
    """Return fields 3, 4 and 5 from ``offset`` to the end, each tag one byte; None when there is anything else."""
    payload, timeout_nano, metadata = b"", 0, []
    end = len(data)
    while offset < end:
        tag, size = data[offset], data[offset + 1]
        offset += 2
        if size >= _ONE_BYTE:
            size, offset = _read_varint(data, offset - 1)
        if tag == _TIMEOUT:
            timeout_nano = size - (1 << 64) if size >= 1 << 63 else size
            continue
        stop = offset + size
        if stop > end:
            return None
        if tag == _PAYLOAD:
            payload = data[offset:stop]
        elif tag == _METADATA:
            pair = _match_pair(data[offset:stop]) if size <= _ONE_BYTE else None
            if pair is None:
                return None
            metadata.append(pair)
        else:
            return None
        offset = stop
    return _parts((payload, timeout_nano, tuple(metadata)))


@lru_cache(_PAIRS_KEPT)
def _match_pair(data: bytes) -> tuple[str, str] | None:
    """Return a KeyValue with both fields, in order; None when it is anything else.

    ``data`` are 128 bytes at most: in more, a length byte may be the first of two. Callers repeat their metadata, so
    the last results are cached.
    """
    end = len(data)
    if end < 4 or data[0] != 0x0A:
        return None
    middle = 2 + data[1]
    if middle + 2 > end or data[middle] != 0x12 or middle + 2 + data[middle + 1] != end:
        return None
    return data[2:middle].decode(), data[middle + 2 :].decode()


def _read_varint(data: bytes, offset: int) -> tuple[int, int]:
    """Return a varint and its end; IndexError for one that is longer than protobuf allows, or unfinished."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < _ONE_BYTE:
            if value >= 1 << 64:
                raise IndexError("varint does not fit 64 bits")
            return value, offset
    raise IndexError("varint of more than ten bytes")


def _only_payload(data: bytes) -> bytes | None:
    """Return the payload of a response with no other field; None when protobuf must decode it."""
    try:
        size, at = (data[1], 2) if data[1] < _ONE_BYTE else _read_varint(data, 1)
    except IndexError:
        return None
    return data[at:] if at + size == len(data) else None


def decode_response(data: bytes) -> bytes | HoldfastError:
    """Return the payload of a successful response, or the error of a failed one.

    Raises:
        PeerBrokeProtocol: the bytes are no Response.
    """
    if not data:
        return b""
    if data[0] == _RESPONSE_PAYLOAD:
        payload = _only_payload(data)
        if payload is not None:
            return payload
    try:
        response = ttrpc_pb2.Response.FromString(data)
    except DecodeError as error:
        raise PeerBrokeProtocol(f"unmarshal response error: {error}") from None
    status = response.status
    if status.code == 0:
        return bytes(response.payload)
    return from_status(status.code, status.message, tuple(status.details))
