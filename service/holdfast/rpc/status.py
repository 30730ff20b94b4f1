"""Our codes and errors as grpc's: the codes are the same integers, grpc only wraps them."""

from __future__ import annotations

import grpc

from holdfast.errors import Code, HoldfastError

STATUS_CODES: dict[Code, grpc.StatusCode] = {Code(status.value[0]): status for status in grpc.StatusCode}

#: A longer sentence would break the peer's limit for a block of headers (8 KiB by default) and arrive as INTERNAL.
MAX_WORDS = 2000

Trailers = tuple[tuple[str, bytes], ...]


def code_number(code: object) -> int:
    """The number of what ``context.code()`` gives: a grpc.StatusCode, a number, or None for one never set."""
    return code.value[0] if isinstance(code, grpc.StatusCode) else code if isinstance(code, int) else 0


def words_of(error: BaseException, code: Code) -> str:
    """The sentence the caller is told. What nobody foresaw names its class: ``KeyError: 'x'``."""
    words = str(error)
    if code is Code.UNKNOWN and not isinstance(error, HoldfastError):
        words = f"{type(error).__name__}: {words}" if words else type(error).__name__
    words = words or type(error).__name__
    return words if len(words) <= MAX_WORDS else f"{words[:MAX_WORDS]}…"


def details_of(error: BaseException, code: Code, words: str) -> Trailers:
    """The trailer that carries an error's details, a google.rpc.Status; none for an error without."""
    details = error.details if isinstance(error, HoldfastError) else ()
    if not details:
        return ()
    from google.rpc.status_pb2 import Status

    status = Status(code=int(code), message=words, details=details)
    return (("grpc-status-details-bin", status.SerializeToString()),)
