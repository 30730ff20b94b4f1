"""The Request and Response messages (``protos/holdfast/api/ttrpc/ttrpc.proto``), as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from holdfast.api.ttrpc import ttrpc_pb2
from holdfast.errors import HoldfastError, PeerBrokeProtocol, from_status
from holdfast.inert import valid

Pairs = tuple[tuple[str, str], ...]


class Parts(NamedTuple):
    """A request without service and method."""

    payload: bytes
    timeout_nano: int
    metadata: Pairs


def encode_request(
    service: str,
    method: str,
    payload: bytes,
    timeout_nano: int = 0,
    metadata: Mapping[str, tuple[str, ...]] | None = None,
) -> bytes:
    """Return a request; ``timeout_nano`` is what is left, 0 for no deadline."""
    pairs = [ttrpc_pb2.KeyValue(key=key, value=value) for key, values in (metadata or {}).items() for value in values]
    request = ttrpc_pb2.Request(
        service=service, method=method, payload=payload, timeout_nano=timeout_nano, metadata=pairs
    )
    return bytes(request.SerializeToString())


def encode_response(payload: bytes) -> bytes:
    """Return a successful response: OK is the absence of a status, and success without a message is no bytes."""
    return bytes(ttrpc_pb2.Response(payload=payload).SerializeToString())


def encode_failure(code: int, message: str, details: tuple[Any, ...] = ()) -> bytes:
    """Return a response with a status. Bytes of the message that are not UTF-8 are escaped."""
    response = ttrpc_pb2.Response()
    response.status.code = code
    response.status.message = valid(message)
    response.status.details.extend(details)
    return bytes(response.SerializeToString())


def decode_request(data: bytes) -> tuple[str, str, Parts]:
    """Return service, method and the rest.

    Raises:
        PeerBrokeProtocol: the bytes are no Request.
    """
    try:
        request = ttrpc_pb2.Request.FromString(data)
    except DecodeError as error:
        raise PeerBrokeProtocol(f"unmarshal request error: {error}") from None
    metadata = tuple((entry.key, entry.value) for entry in request.metadata)
    return request.service, request.method, Parts(request.payload, request.timeout_nano, metadata)


def decode_response(data: bytes) -> bytes | HoldfastError:
    """Return the payload of a successful response, or the error of a failed one.

    Raises:
        PeerBrokeProtocol: the bytes are no Response.
    """
    try:
        response = ttrpc_pb2.Response.FromString(data)
    except DecodeError as error:
        raise PeerBrokeProtocol(f"unmarshal response error: {error}") from None
    status = response.status
    if status.code == 0:
        return bytes(response.payload)
    return from_status(status.code, status.message, tuple(status.details))
