"""Connection of the client commands to a daemon: its address, the namespace of calls, output and errors.

gRPC is imported when a call is made: `--help` and completion do without it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from holdfast import namespaces
from holdfast.errors import HoldfastError, Unreachable, from_status

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

T = TypeVar("T")
LEASE_HEADER = "containerd-lease"
MAX_MESSAGE = 16 * 1024 * 1024  # bytes; the daemon's default for what it sends


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
    namespace: str
    timeout: float
    tls: Tls

    @property
    def socket_path(self) -> str:
        """The unix socket's path; empty for a TCP address."""
        address = self.address
        return "" if address.startswith("tcp://") else address.removeprefix("unix://").removeprefix("unix:")

    @property
    def uri(self) -> str:
        """The address as gRPC wants it."""
        return f"unix:{self.socket_path}" if self.socket_path else f"dns:///{self.address.removeprefix('tcp://')}"


class DaemonClient:
    """One connection to a daemon, and the form of the output that the caller wants.

    ``for_programs``: the API's messages, in JSON or YAML; else ``output`` is a form for people.
    """

    def __init__(self, target: Target, output: str, *, for_programs: bool) -> None:
        self.target = target
        self.output, self.for_programs = output, for_programs
        self._channel: grpc.Channel | None = None
        self.lease = ""

    def emitted(self, message: Message, *, lines: bool = False) -> bool:
        """Print a message if the output is for programs; return whether it is. ``lines``: JSON in one line."""
        if not self.for_programs:
            return False
        from holdfast.cli.table import plain

        self.print_document(plain(message), lines=lines)
        return True

    def print_document(self, document: Mapping[str, object], *, lines: bool = False) -> None:
        """Print plain data in the form for programs. YAML documents that follow each other are separated."""
        import click

        from holdfast.cli.table import as_json, as_yaml

        if self.output == "yaml":
            click.echo(("---\n" if lines else "") + as_yaml(document))
        else:
            click.echo(as_json(document, lines=lines))

    def within(self, namespace: str, lease: str) -> None:
        """Make all further calls in ``namespace``, and under ``lease``."""
        self.target = replace(self.target, namespace=namespace)
        self.lease = lease

    def stub(self, kind: Callable[[grpc.Channel], T]) -> T:
        """Return a generated stub on the connection, which is opened for the first stub."""
        if self._channel is None:
            self._channel = self._connected()
        return kind(self._channel)

    def ask(self, method: Callable[..., T], request: object) -> T:
        """Call a unary method; an error is one line.

        Raises:
            HoldfastError: what the daemon answered.
            Unreachable: no daemon answered.
        """
        with self._told():
            return method(request, timeout=self.target.timeout, metadata=self._metadata())

    def stream(self, method: Callable[..., Iterator[T]], request: object) -> Iterator[T]:
        """Call a streaming method, for as long as it lasts.

        Raises:
            HoldfastError: as `ask`.
        """
        with self._told():
            yield from method(request, metadata=self._metadata())

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._channel is not None:
            self._channel.close()

    def _connected(self) -> grpc.Channel:
        import grpc

        options = [("grpc.max_receive_message_length", MAX_MESSAGE)]
        target, tls = self.target, self.target.tls
        if target.socket_path:
            if tls:
                raise HoldfastError(f"{target.address}: TLS options are for tcp:// addresses")
            _check_socket(target.socket_path)
        if not tls:
            return grpc.insecure_channel(target.uri, options)
        if tls.server_name:
            options.append(("grpc.ssl_target_name_override", tls.server_name))  # type: ignore[arg-type]
        credentials = grpc.ssl_channel_credentials(*(_read(path) for path in (tls.ca, tls.key, tls.cert)))
        return grpc.secure_channel(target.uri, credentials, options)

    def _metadata(self) -> list[tuple[str, str]]:
        lease = [(LEASE_HEADER, self.lease)] if self.lease else []
        return [(namespaces.GRPC_HEADER, self.target.namespace), *lease]

    @contextmanager
    def _told(self) -> Iterator[None]:
        import grpc

        try:
            yield
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise Unreachable(_explained(error, self.target)) from error
            raise from_status(error.code().value[0], _explained(error, self.target)) from error


def default_address() -> str:
    """The address at which a daemon of the same user listens by default."""
    from holdfast.config.defaults import own_defaults

    return own_defaults().address


def _check_socket(path: str) -> None:
    """Connect once to get the kernel's own reason; gRPC's names neither the file nor the remedy."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError as error:
            reason = error.strerror or str(error)
            hint = _HINTS.get(error.errno or 0, "")
            raise Unreachable(f"{path}: cannot connect: {reason}{hint and f'; {hint}'}") from error


_NOT_RUNNING = "is the daemon running? -a or HOLDFAST_ADDRESS names another address"
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
    """The message of a failed call, in one line; with the address if no daemon answered."""
    code, details = error.code().name, " ".join((error.details() or "").split())
    if code == "UNAVAILABLE":
        return f"{target.address}: unavailable: {details.rpartition('last error: ')[2]}"
    if code == "DEADLINE_EXCEEDED":
        return f"{target.address}: no answer within {target.timeout:g} s"
    return details or code
