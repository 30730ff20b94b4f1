"""The reasons of the API's errors; ``ErrorReason`` in ``placement.proto`` has the meaning of each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.errors import (
    FailedPrecondition,
    HoldfastError,
    InvalidArgument,
    KernelRefused,
    NotFound,
    ProcessGone,
    Unavailable,
    Unreadable,
)

REASONS: tuple[tuple[type[HoldfastError], str], ...] = (
    (ProcessGone, "PROCESS_NOT_FOUND"),
    (Unreadable, "PROCESS_UNREADABLE"),
    (KernelRefused, "KERNEL_REFUSED"),
    (NotFound, "OVERRIDE_NOT_FOUND"),
    (FailedPrecondition, "OVERRIDE_REFUSED"),
    (Unavailable, "ENGINE_UNAVAILABLE"),
)


@contextmanager
def reasons() -> Iterator[None]:
    """Give the engine's errors within the block the API's reasons."""
    try:
        yield
    except HoldfastError as error:
        error.reason = error.reason or next((word for kind, word in REASONS if isinstance(error, kind)), "")
        raise


def invalid(field: str, words: str) -> InvalidArgument:
    """Return the error of a field of a request."""
    return InvalidArgument(f"{field}: {words}", reason="INVALID_FIELD", field=field)
