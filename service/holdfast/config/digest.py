"""SHA-256 without hashlib, which loads OpenSSL: 3 MiB of every node."""

from __future__ import annotations


def sha256_hex(data: bytes) -> str:
    """Return the digest in hex."""
    try:
        from _sha2 import sha256  # type: ignore[import-not-found]
    except ImportError:  # Python 3.11
        from _sha256 import sha256  # type: ignore[import-not-found]

    return str(sha256(data).hexdigest())
