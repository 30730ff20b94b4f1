"""``holdfast health``: for people, and for the exec probes of programs that cannot speak gRPC."""

from __future__ import annotations

import click

from holdfast.cli.client import ClientCommand, DaemonClient, client_options
from holdfast.cli.table import aligned, as_json, plain
from holdfast.errors import FailedPrecondition


@click.command(cls=ClientCommand)
@click.argument("service", default="")
@click.option("--all", "everything", is_flag=True, help="Every service's state.")
@client_options
def health(client: DaemonClient, service: str, everything: bool) -> int:
    """Check whether the daemon, or one SERVICE (containerd.services.version.v1.Version), is serving.

    Exit code 0 when it is, 1 when it is not or does not answer.
    """
    from grpc_health.v1 import health_pb2
    from grpc_health.v1.health_pb2_grpc import HealthStub

    if everything and not hasattr(health_pb2, "HealthListRequest"):
        raise FailedPrecondition(
            "health --all: the installed grpcio-health-checking has no List; install 1.85 or newer"
        )
    stub = client.stub(HealthStub)
    states = health_pb2.HealthCheckResponse.ServingStatus
    if everything:
        listed = client.ask(stub.List, health_pb2.HealthListRequest())
        rows = [(name or '""', states.Name(state.status)) for name, state in sorted(listed.statuses.items())]
        click.echo(as_json(plain(listed)) if client.json else aligned([("SERVICE", "STATUS"), *rows]))
        return int(listed.statuses[""].status != states.SERVING)
    answer = client.ask(stub.Check, health_pb2.HealthCheckRequest(service=service))
    click.echo(as_json(plain(answer)) if client.json else states.Name(answer.status))
    return int(answer.status != states.SERVING)
