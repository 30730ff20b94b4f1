"""Our codes and errors as grpc's: the codes are the same integers, grpc only wraps them."""

from __future__ import annotations

import grpc

from holdfast.errors import Code, HoldfastError
from holdfast.failure import sentence
from holdfast.inert import valid

STATUS_CODES: dict[Code, grpc.StatusCode] = {Code(status.value[0]): status for status in grpc.StatusCode}

#: Bytes a sentence may take as a header. A peer begins to refuse blocks of headers, and the status with them, at 8 KiB.
MAX_WORDS_BYTES = 4096
#: With details, the sentence is sent twice: once in base64, within the trailer of the details.
MAX_WORDS_BESIDE_DETAILS = 2048

Trailers = tuple[tuple[str, bytes], ...]


def code_number(code: object) -> int:
    """The number of a value of ``context.code()``: a grpc.StatusCode, a number, or None for one never set."""
    if not code:  # of nearly every call
        return 0
    return code.value[0] if isinstance(code, grpc.StatusCode) else code if isinstance(code, int) else 0


def words_of(error: BaseException, code: Code) -> str:
    """The sentence that the caller receives. An unforeseen error has its class in it: ``KeyError: 'x'``."""
    words = sentence(error) if code in (Code.UNKNOWN, Code.INTERNAL) else str(error) or type(error).__name__
    is_detailed = isinstance(error, HoldfastError) and bool(error.details or error.reason or error.field)
    limit = MAX_WORDS_BESIDE_DETAILS if is_detailed else MAX_WORDS_BYTES
    return shortened(valid(words), limit)  # a file name of any bytes has no form in a header


def shortened(words: str, limit: int = MAX_WORDS_BYTES) -> str:
    """``words``, cut to the length that a status may carry; the grpc-message header is percent-encoded (RFC 3986)
    UTF-8.
    """
    while (size := _encoded_size(words)) > limit:
        words = f"{words[: len(words) * (limit - 16) // size]}…"
    return words


def _encoded_size(words: str) -> int:
    if len(words) * 12 <= MAX_WORDS_BESIDE_DETAILS:  # four bytes of three characters each, at the worst
        return 0
    return sum(1 if 32 <= byte <= 126 and byte != 37 else 3 for byte in words.encode())


def details_of(error: BaseException, code: Code, words: str) -> Trailers:
    """The trailer that carries an error's details, a google.rpc.Status; none for an error without."""
    details = error.status_details() if isinstance(error, HoldfastError) else ()
    if not details:
        return ()
    from google.rpc.status_pb2 import Status

    status = Status(code=int(code), message=words, details=details)
    return (("grpc-status-details-bin", status.SerializeToString()),)
