"""Our codes and errors as grpc's: the codes are the same integers, grpc only wraps them."""

from __future__ import annotations

import grpc

from holdfast.errors import Code, HoldfastError
from holdfast.failure import sentence
from holdfast.inert import valid

STATUS_CODES: dict[Code, grpc.StatusCode] = {Code(status.value[0]): status for status in grpc.StatusCode}

#: Bytes a sentence may take as a header. A peer begins to refuse blocks of headers, and the status with them, at 8 KiB.
MAX_WORDS_BYTES = 4096

Trailers = tuple[tuple[str, bytes], ...]


def code_number(code: object) -> int:
    """The number of a value of ``context.code()``: a grpc.StatusCode, a number, or None for one never set."""
    if not code:  # of nearly every call
        return 0
    return code.value[0] if isinstance(code, grpc.StatusCode) else code if isinstance(code, int) else 0


def words_of(error: BaseException, code: Code) -> str:
    """The sentence that the caller receives. An unforeseen error has its class in it: ``KeyError: 'x'``."""
    words = sentence(error) if code in (Code.UNKNOWN, Code.INTERNAL) else str(error) or type(error).__name__
    return shortened(valid(words))  # a file name of any bytes has no form in a header


def shortened(words: str) -> str:
    """``words``, cut to the length that a status may carry; the grpc-message header is percent-encoded (RFC 3986)
    UTF-8.
    """
    while (size := _encoded_size(words)) > MAX_WORDS_BYTES:
        words = f"{words[: len(words) * (MAX_WORDS_BYTES - 16) // size]}…"
    return words


def _encoded_size(words: str) -> int:
    if len(words) * 12 <= MAX_WORDS_BYTES:  # four bytes of three characters each, at the worst
        return 0
    return sum(1 if 32 <= byte <= 126 and byte != 37 else 3 for byte in words.encode())


def details_of(error: BaseException, code: Code, words: str) -> Trailers:
    """The trailer that carries an error's details, a google.rpc.Status; none for an error without."""
    details = error.details if isinstance(error, HoldfastError) else ()
    if not details:
        return ()
    from google.rpc.status_pb2 import Status

    status = Status(code=int(code), message=words, details=details)
    return (("grpc-status-details-bin", status.SerializeToString()),)
