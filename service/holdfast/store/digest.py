"""Digests as OCI writes them: ``algorithm:hex`` (https://github.com/opencontainers/image-spec/blob/main/descriptor.md).

Messages are those of the library containerd checks them with.
"""

from __future__ import annotations

import hashlib
import re

from holdfast.errors import InvalidArgument

CANONICAL = "sha256"
#: Hex digits in a digest of each algorithm we can compute.
LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[a-f0-9]*\Z")
_FORM = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+\Z")
INVALID_FORMAT = "invalid checksum digest format"
INVALID_LENGTH = "invalid checksum digest length"
UNSUPPORTED = "unsupported digest algorithm"


def complaint(digest: str) -> str:
    """The error text for ``digest``; empty when it is valid."""
    algorithm, colon, encoded = digest.partition(":")
    if not colon or not algorithm or not encoded:
        return INVALID_FORMAT
    if algorithm not in LENGTHS:
        return UNSUPPORTED if _FORM.match(digest) else INVALID_FORMAT
    if len(encoded) != LENGTHS[algorithm]:
        return INVALID_LENGTH
    return "" if _HEX.match(encoded) else INVALID_FORMAT


def check_digest(digest: str, message: str) -> str:
    """Return ``digest`` if it is valid.

    Raises:
        InvalidArgument: ``message`` with the error text in place of its ``{}``.
    """
    if why := complaint(digest):
        raise InvalidArgument(message.format(why))
    return digest


def of_bytes(data: bytes) -> str:
    """The canonical digest of ``data``."""
    return f"{CANONICAL}:{hashlib.sha256(data).hexdigest()}"
