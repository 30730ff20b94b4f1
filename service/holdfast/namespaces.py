"""The namespace of a call: the transports set it from the call's metadata, the services read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from holdfast.errors import FailedPrecondition, InvalidArgument
from holdfast.identifiers import check_identifier

GRPC_HEADER = "containerd-namespace"
TTRPC_HEADER = "containerd-namespace-ttrpc"
DEFAULT = "default"

_current: ContextVar[str] = ContextVar("namespace", default="")


def current() -> str:
    """The namespace of this call, unchecked; empty when the caller named none."""
    return _current.get()


def required() -> str:
    """The namespace of this call.

    Raises:
        FailedPrecondition: the caller named none.
        InvalidArgument: the name is not an identifier.
    """
    namespace = _current.get()
    if not namespace:
        raise FailedPrecondition("namespace is required")
    try:
        return check_identifier(namespace)
    except InvalidArgument as error:
        raise InvalidArgument(f"namespace validation: {error.message}") from None


def enter(namespace: str) -> None:
    """Set the namespace for the rest of this task: each call runs in a task, or a context copy, of its own."""
    _current.set(namespace)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Run a block in ``namespace`` (work of the daemon that belongs to no call)."""
    token = _current.set(namespace)
    try:
        yield
    finally:
        _current.reset(token)
