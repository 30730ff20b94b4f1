"""One event: containerd's envelope, written to bytes once, and its fields for filters.

Fields: ``namespace``, ``topic`` and ``event.<field>…``; the last only if the payload's type is known here (its
generated module was imported). A payload's type URL is the bare message name, as containerd writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message

# Imported to register the event types of shims, containerd's own stores and our placement.
from holdfast.api.events import (  # noqa: F401
    container_pb2,
    content_pb2,
    image_pb2,
    namespace_pb2,
    sandbox_pb2,
    snapshot_pb2,
    task_pb2,
)
from holdfast.api.placement.v1 import placement_pb2  # noqa: F401
from holdfast.api.types.event_pb2 import Envelope

_ABSENT = ("", False)
_NO_TIME = -62135596800  # Go's zero time, the year 1, in seconds since 1970


class Event:
    """An envelope for any number of subscribers."""

    __slots__ = ("_decoded", "_tried", "_wire", "envelope")

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self._wire: bytes | None = None
        self._decoded: Message | None = None
        self._tried = False

    @property
    def wire(self) -> bytes:
        """The envelope's bytes, encoded at first use."""
        if self._wire is None:
            self._wire = self.envelope.SerializeToString()
        return self._wire

    def field(self, path: Sequence[str]) -> tuple[str, bool]:
        """The value at ``path`` for a filter, and whether it is present."""
        name = path[0] if path else ""
        if name in ("namespace", "topic"):
            value: str = getattr(self.envelope, name)
            return value, bool(value)
        return field_of(self._payload(), path[1:]) if name == "event" else _ABSENT

    def _payload(self) -> Message | None:
        if not self._tried:
            self._decoded, self._tried = decoded(self.envelope.event), True
        return self._decoded


def packed(message: Message) -> Any:
    """Return ``message`` as a payload; an ``Any`` is returned unchanged."""
    if isinstance(message, Any):
        return message
    return Any(type_url=message.DESCRIPTOR.full_name, value=message.SerializeToString())


def decoded(payload: Any) -> Message | None:
    """Return the message in a payload; None when its type is unknown here or its bytes are not of that type."""
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(payload.type_url.rpartition("/")[2])
        return message_factory.GetMessageClass(descriptor).FromString(payload.value)
    except (KeyError, DecodeError):
        return None


def has_time(envelope: Envelope) -> bool:
    """Whether the envelope has a timestamp that is not Go's zero time."""
    time = envelope.timestamp
    return envelope.HasField("timestamp") and (time.seconds, time.nanos) != (_NO_TIME, 0)


def field_of(message: Message | None, path: Sequence[str]) -> tuple[str, bool]:
    """Return a field as text, and whether it is set.

    The path leads to a map's entry (key: the rest of the path joined with dots), a message's field, or a scalar.

    containerd's generated code supports only strings, booleans, messages and labels; numbers and enums are ours.
    """
    if isinstance(message, Any):
        return field_of(decoded(message), path)
    field = message.DESCRIPTOR.fields_by_name.get(path[0]) if message is not None and path else None
    if message is None or field is None or (field.has_presence and not message.HasField(field.name)):
        return _ABSENT
    value = getattr(message, field.name)
    if field.is_repeated:
        key = ".".join(path[1:])
        return (_text(value[key])[0], True) if isinstance(value, Mapping) and key in value else _ABSENT
    if field.message_type is not None:
        return field_of(value, path[1:])
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named is not None else str(value), True
    return _text(value)


def _text(value: object) -> tuple[str, bool]:
    if isinstance(value, bool):
        return str(value).lower(), True
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape"), bool(value)
    return str(value), value != ""
