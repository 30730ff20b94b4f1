"""Conversion between the API's messages and the store's values, shared by several services."""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.types import descriptor_pb2
from holdfast.store.objects.containers import TypedBytes
from holdfast.store.objects.images import Descriptor

LEASE_HEADER = "containerd-lease"
SECOND_NS = 1_000_000_000
_GO_ZERO_S = -62135596800  # how a Go client sends an unset time: 1 January of the year 1


def timestamp(nanoseconds: int) -> Timestamp | None:
    """Return Unix nanoseconds as a message; None for 0, which is no time."""
    if not nanoseconds:
        return None
    seconds, nanos = divmod(nanoseconds, SECOND_NS)
    return Timestamp(seconds=seconds, nanos=nanos)


def nanoseconds(time: Timestamp) -> int:
    """Return a time in nanoseconds since 1970; 0 for Go's zero time."""
    return 0 if time.seconds <= _GO_ZERO_S else time.seconds * SECOND_NS + time.nanos


def paths(mask: FieldMask) -> tuple[str, ...]:
    """Return the fields that an update changes; empty: all."""
    return tuple(mask.paths)


def lease(call: Any) -> str:
    """Return the lease of a call; empty without one."""
    for key, value in call.invocation_metadata() or ():
        if key == LEASE_HEADER:
            return value if isinstance(value, str) else value.decode()
    return ""


def descriptor(value: Descriptor) -> descriptor_pb2.Descriptor:
    """Return the message of a descriptor."""
    return descriptor_pb2.Descriptor(
        media_type=value.media_type, digest=value.digest, size=value.size, annotations=value.annotations
    )


def from_descriptor(message: descriptor_pb2.Descriptor) -> Descriptor:
    """Return the value of a descriptor's message."""
    return Descriptor(message.media_type, message.digest, message.size, dict(message.annotations))


def typed_bytes(message: AnyMessage) -> TypedBytes:
    """Return an ``Any`` as typed bytes, without decoding them."""
    return TypedBytes(message.type_url, message.value)


def any_message(value: TypedBytes) -> AnyMessage:
    """Return typed bytes as an ``Any``."""
    return AnyMessage(type_url=value.type_url, value=value.value)


def optional_any(value: TypedBytes | None) -> AnyMessage | None:
    """Return typed bytes as an ``Any``; None for None."""
    return None if value is None else any_message(value)
