"""Connection of the client commands to a daemon: `holdfast.client`'s, with the output that the caller wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from holdfast import namespaces
from holdfast.client.connection import Target, channel_of, errors_of

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

T = TypeVar("T")
LEASE_HEADER = "containerd-lease"


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
            import grpc

            self._channel = channel_of(self.target, grpc)
        return kind(self._channel)

    def ask(self, method: Callable[..., T], request: object) -> T:
        """Call a unary method; an error is one line.

        Raises:
            HoldfastError: what the daemon answered.
            Unreachable: no daemon answered.
        """
        with errors_of(self.target):
            return method(request, timeout=self.target.timeout, metadata=self._metadata())

    def stream(self, method: Callable[..., Iterator[T]], request: object) -> Iterator[T]:
        """Call a streaming method, for as long as it lasts.

        Raises:
            HoldfastError: as `ask`.
        """
        with errors_of(self.target):
            yield from method(request, metadata=self._metadata())

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._channel is not None:
            self._channel.close()

    def _metadata(self) -> list[tuple[str, str]]:
        lease = [(LEASE_HEADER, self.lease)] if self.lease else []
        return [(namespaces.GRPC_HEADER, self.target.namespace), *lease]
