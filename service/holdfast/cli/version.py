"""``holdfast version``: the versions of this program and of the daemon it reaches."""

from __future__ import annotations

import platform

import click

import holdfast
from holdfast.cli.client import DaemonClient
from holdfast.cli.options import ClientCommand, client_options
from holdfast.cli.table import plain, show


@click.command(cls=ClientCommand)
@client_options
def version(client: DaemonClient) -> None:
    """Print the versions of the client and the daemon; exit code 3 when no daemon answers."""
    own = {"version": holdfast.__version__, "revision": holdfast.__revision__, "python": platform.python_version()}
    if not client.for_programs:
        show(["Client:", *_indented(own), ""])
    server = _asked(client)
    if client.for_programs:
        client.print_document({"client": own, "server": server})
    else:
        show(["Server:", *_indented(server)])


def _asked(client: DaemonClient) -> dict[str, str]:
    from google.protobuf.empty_pb2 import Empty

    from holdfast.api.services.introspection.v1.introspection_pb2_grpc import IntrospectionStub
    from holdfast.api.services.version.v1.version_pb2_grpc import VersionStub

    answer = plain(client.ask(client.stub(VersionStub).Version, Empty()))
    about = client.ask(client.stub(IntrospectionStub).Server, Empty())
    return {**answer, "uuid": about.uuid, "pid": str(about.pid)}


def _indented(facts: dict[str, str]) -> list[str]:
    names = {"uuid": "UUID", "pid": "PID"}
    return [f"  {names.get(name, name.title()) + ':':<10}{value}".rstrip() for name, value in facts.items()]
