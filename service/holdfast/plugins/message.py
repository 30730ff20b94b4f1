"""Between the API's messages and the store's values: the parts several services share."""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.types import descriptor_pb2
from holdfast.store.containers import TypedBytes
from holdfast.store.images import Descriptor

LEASE_HEADER = "containerd-lease"
SECOND_NS = 1_000_000_000
_GO_ZERO_S = -62135596800  # how a Go client sends the time it does not mean: 1 January of the year 1


def timestamp(nanoseconds: int) -> Timestamp | None:
    """A time; none for 0."""
    if not nanoseconds:
        return None
    seconds, nanos = divmod(nanoseconds, SECOND_NS)
    return Timestamp(seconds=seconds, nanos=nanos)


def nanoseconds(time: Timestamp) -> int:
    """A time in nanoseconds since 1970; 0 for Go's zero time."""
    return 0 if time.seconds <= _GO_ZERO_S else time.seconds * SECOND_NS + time.nanos


def paths(mask: FieldMask) -> tuple[str, ...]:
    """What an update changes; none: all."""
    return tuple(mask.paths)


def lease(call: Any) -> str:
    """The lease a call is made under; empty without one."""
    for key, value in call.invocation_metadata() or ():
        if key == LEASE_HEADER:
            return value if isinstance(value, str) else value.decode()
    return ""


def descriptor(value: Descriptor) -> descriptor_pb2.Descriptor:
    """A descriptor's message."""
    return descriptor_pb2.Descriptor(
        media_type=value.media_type, digest=value.digest, size=value.size, annotations=value.annotations
    )


def from_descriptor(message: descriptor_pb2.Descriptor) -> Descriptor:
    """A descriptor's value."""
    return Descriptor(message.media_type, message.digest, message.size, dict(message.annotations))


def typed_bytes(message: AnyMessage) -> TypedBytes:
    """An ``Any``, not looked into."""
    return TypedBytes(message.type_url, message.value)


def any_message(value: TypedBytes) -> AnyMessage:
    """And back."""
    return AnyMessage(type_url=value.type_url, value=value.value)


def optional_any(value: TypedBytes | None) -> AnyMessage | None:
    """The same for what may be absent."""
    return None if value is None else any_message(value)
