"""How a daemon is reached: its address, TLS, and the errors of a connection.

gRPC is imported when a connection is made: a command's `--help` and completion do without it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from holdfast import namespaces
from holdfast.errors import (
    SHUTTING_DOWN,
    Code,
    DeadlineExceeded,
    HoldfastError,
    Unavailable,
    Unreachable,
    from_status,
)

if TYPE_CHECKING:
    import grpc

ADDRESS_VARIABLE = "HOLDFAST_ADDRESS"
MAX_MESSAGE = 16 * 1024 * 1024  # bytes; the daemon's default for what it sends
TIMEOUT_S = 10.0
STATUS_DETAILS = "grpc-status-details-bin"  # the trailer with a google.rpc.Status


class Tls(Struct, frozen=True):
    """PEM files for a TCP address; without any of them the connection is plaintext."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def __bool__(self) -> bool:
        return any((self.ca, self.cert, self.key, self.server_name))


class Target(Struct, frozen=True):
    """Address of a daemon, and options of calls. ``timeout`` in seconds, for one answer."""

    address: str
    namespace: str = namespaces.DEFAULT
    timeout: float = TIMEOUT_S
    tls: Tls = Tls()

    @property
    def socket_path(self) -> str:
        """The unix socket's path; empty for a TCP address."""
        address = self.address
        return "" if address.startswith("tcp://") else address.removeprefix("unix://").removeprefix("unix:")

    @property
    def uri(self) -> str:
        """The address as gRPC wants it."""
        return f"unix:{self.socket_path}" if self.socket_path else f"dns:///{self.address.removeprefix('tcp://')}"


def default_address() -> str:
    """The address at which a daemon of the same user listens by default."""
    from holdfast.config.defaults import own_defaults

    return own_defaults().address


def address_from(given: str | None) -> str:
    """``given``; else the address in the environment; else the default one."""
    return given or os.environ.get(ADDRESS_VARIABLE) or default_address()


def channel_of(target: Target, grpc_module: Any) -> Any:
    """Return a channel of ``grpc_module``, which is ``grpc`` or ``grpc.aio``.

    Raises:
        HoldfastError: the TLS files cannot be read, or are given for a unix socket.
        Unreachable: nothing listens on the unix socket.
    """
    import grpc

    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),  # gRPC's own is two minutes: a daemon that restarts is back sooner
    ]
    tls = target.tls
    if target.socket_path:
        if tls:
            raise HoldfastError(f"{target.address}: TLS options are for tcp:// addresses")
        _check_socket(target.socket_path)
    if not tls:
        return grpc_module.insecure_channel(target.uri, options)
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(*(_read(path) for path in (tls.ca, tls.key, tls.cert)))
    return grpc_module.secure_channel(target.uri, credentials, options)


@contextmanager
def errors_of(target: Target) -> Iterator[None]:
    """Turn gRPC's errors within the block into ours.

    Raises:
        HoldfastError: what the daemon answered.
        Unreachable: no daemon answered, or it shuts down.
    """
    import grpc

    try:
        yield
    except grpc.RpcError as error:
        status, words = error.code().value[0], " ".join((error.details() or "").split())
        details = _status_details(error)
        if status in _OF_THE_CONNECTION and not details and not _is_daemons(status, words):
            raise Unreachable(_explained(error, target)) from error
        raise from_status(status, words or error.code().name, details) from error


def _status_details(error: Any) -> tuple[Any, ...]:
    """The google.protobuf.Any messages that a server sent with its status; none where it sent none, or broken ones."""
    trailers = tuple(error.trailing_metadata() or ())  # pairs; in older grpcio a Metadata is no mapping by its keys
    packed = dict(trailers).get(STATUS_DETAILS)
    if packed is None:
        return ()
    from google.protobuf.message import DecodeError
    from google.rpc.status_pb2 import Status

    try:
        return tuple(Status.FromString(packed).details)
    except DecodeError:
        return ()


_OF_THE_CONNECTION = {kind.code: kind.word for kind in (Unavailable, DeadlineExceeded)}


def _is_daemons(status: int, words: str) -> bool:
    """Whether the daemon itself sent a status that gRPC gives a broken connection, too: then it ends in our word."""
    return words.endswith(f": {_OF_THE_CONNECTION[Code(status)]}") and SHUTTING_DOWN not in words


def _check_socket(path: str) -> None:
    """Connect once to get the kernel's own reason; gRPC's names neither the file nor the remedy."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            reason = error.strerror or str(error)
            hint = _HINTS.get(error.errno or 0, "")
            raise Unreachable(f"{path}: cannot connect: {reason}{hint and f'; {hint}'}") from error


_NOT_RUNNING = f"is the daemon running? -a or {ADDRESS_VARIABLE} names another address"
_HINTS = {
    errno.ENOENT: _NOT_RUNNING,
    errno.ECONNREFUSED: _NOT_RUNNING,
    errno.EACCES: "the socket belongs to another user or group",
    errno.ENOTSOCK: "this is not a socket",
}


def _read(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path is not None else None
    except OSError as error:
        raise HoldfastError(f"{path}: {error.strerror}") from error


def _explained(error: grpc.RpcError, target: Target) -> str:
    """Why no daemon answered, in one line with the address."""
    details = " ".join((error.details() or "").split())
    if error.code().name == "DEADLINE_EXCEEDED":
        return f"{target.address}: no answer within {target.timeout:g} s"
    return f"{target.address}: unavailable: {details.rpartition('last error: ')[2]}"
