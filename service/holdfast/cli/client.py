"""Common part of the client commands: the daemon's address, the namespace of calls, output and errors.

gRPC is imported when a call is made: `--help` and completion do without it.
"""

from __future__ import annotations

import errno
import functools
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from msgspec import Struct
from msgspec.structs import replace

from holdfast import namespaces
from holdfast.errors import HoldfastError, from_status

if TYPE_CHECKING:
    import grpc

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
    """One connection to a daemon. ``json``: print the API's messages instead of tables."""

    def __init__(self, target: Target, json: bool) -> None:
        self.target = target
        self.json = json
        self._channel: grpc.Channel | None = None
        self.lease = ""

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
            HoldfastError: what the daemon answered, or why it could not be reached.
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
            raise from_status(error.code().value[0], _explained(error, self.target)) from error


class ClientCommand(click.Command):
    """A command whose help shows its own options apart from those all client commands have."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Two sections instead of one."""
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and (line := option.get_help_record(ctx)) is not None:
                (shared if option.name in _SHARED else own).append(line)
        for title, lines in (("Options", own), ("Connection and output", shared)):
            with formatter.section(title):
                formatter.write_dl(lines)


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options all client commands have, and a `DaemonClient` as its first argument."""
    return client_options_for("table")(command)


def client_options_for(people: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`client_options` for a command whose output for people has this name, beside ``json``."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_client(**options: Any) -> Any:
            tls = Tls(*(options.pop(name) for name in ("tls_ca", "tls_cert", "tls_key", "tls_server_name")))
            address = options.pop("address") or default_address()
            target = Target(address, options.pop("namespace"), options.pop("timeout"), tls)
            client = DaemonClient(target, json=options.pop("output") == "json")
            try:
                return command(client, **options)
            finally:
                client.close()

        for option in reversed([*_BEFORE_OUTPUT, _output(people), *_AFTER_OUTPUT]):
            with_client = option(with_client)
        return with_client

    return decorate


def _output(people: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "-o",
        "--output",
        type=click.Choice([people, "json"]),
        default=people,
        show_default=True,
        help="json prints the API's messages, with their field names.",
    )


_FILE = click.Path(dir_okay=False, path_type=Path)
_BEFORE_OUTPUT: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option(
        "-a",
        "--address",
        envvar="HOLDFAST_ADDRESS",
        show_envvar=True,
        help="The daemon's socket (a path, or unix://PATH) or tcp://HOST:PORT.  [default: the socket of a daemon run "
        "by the same user with default settings]",
    ),
    click.option(
        "-n",
        "--namespace",
        envvar=["HOLDFAST_NAMESPACE", "CONTAINERD_NAMESPACE"],
        show_envvar=True,
        default=namespaces.DEFAULT,
        show_default=True,
        help="Namespace of the request.",
    ),
)
_AFTER_OUTPUT: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...] = (
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=10.0,
        show_default=True,
        help="Seconds to wait for an answer.",
    ),
    click.option("--tls-ca", type=_FILE, envvar="HOLDFAST_TLS_CA", show_envvar=True, help="CA of a tcp:// daemon."),
    click.option("--tls-cert", type=_FILE, envvar="HOLDFAST_TLS_CERT", show_envvar=True, help="Client certificate."),
    click.option("--tls-key", type=_FILE, envvar="HOLDFAST_TLS_KEY", show_envvar=True, help="Its private key."),
    click.option("--tls-server-name", help="Name to expect in the daemon's certificate, instead of HOST."),
)


_SHARED = {"address", "namespace", "output", "timeout", "tls_ca", "tls_cert", "tls_key", "tls_server_name"}


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
            raise HoldfastError(f"{path}: cannot connect: {reason}{hint and f'; {hint}'}") from error


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
