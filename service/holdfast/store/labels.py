"""Labels: check, store, and change them by a field mask.

A label set to the empty string is removed, as containerd does. A mask names ``labels`` or ``labels.<key>``; a key
may contain dots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from holdfast.errors import InvalidArgument
from holdfast.identifiers import check_label

Labels = dict[str, str]

#: Label of a lease or an image: it may be collected after this RFC 3339 time.
EXPIRE = "containerd.io/gc.expire"

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Labels)


def check_labels(labels: Mapping[str, str], location: str) -> None:
    """Refuse a label of more than 4096 bytes.

    Raises:
        InvalidArgument: the message begins with ``location``.
    """
    for key, value in labels.items():
        try:
            check_label(key, value)
        except InvalidArgument as error:
            raise InvalidArgument(f"{location}: {error.message}") from None


def kept(labels: Mapping[str, str]) -> Labels:
    """Return the labels without the empty ones."""
    return {key: value for key, value in labels.items() if value}


def masked(current: Mapping[str, str], wanted: Mapping[str, str], path: str, name: str = "labels") -> Labels | None:
    """Return ``current`` changed by one path of a mask; None when the path is not about ``name``."""
    if path == name:
        return dict(wanted)
    if path.startswith(f"{name}."):
        key = path[len(name) + 1 :]
        return {**current, key: wanted.get(key, "")}
    return None


def to_text(labels: Mapping[str, str]) -> str | None:
    """Return the labels as the column's value."""
    return _encoder.encode(labels).decode() if labels else None


def from_text(text: str | None) -> Labels:
    """Return the labels from the column's value."""
    return _decoder.decode(text) if text else {}


def field_of(labels: Mapping[str, str], path: Sequence[str]) -> tuple[str, bool]:
    """A filter's field below ``labels``: the path's parts make one key (``labels.a.b`` is the label ``a.b``)."""
    key = ".".join(path)
    return labels.get(key, ""), key in labels
