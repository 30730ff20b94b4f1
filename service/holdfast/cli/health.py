"""``holdfast health``: for people, and for the exec probes of programs that cannot speak gRPC."""

from __future__ import annotations

import click

from holdfast.cli.client import DaemonClient
from holdfast.cli.options import ClientCommand, client_options
from holdfast.cli.suggestion import services
from holdfast.cli.table import aligned
from holdfast.errors import FailedPrecondition


@click.command(cls=ClientCommand)
@click.argument("service", default="", shell_complete=services)
@click.option("--all", "everything", is_flag=True, help="Every service's state.")
@client_options
def health(client: DaemonClient, service: str, everything: bool) -> int:
    """Check whether the daemon, or one SERVICE (containerd.services.version.v1.Version), is serving.

    Exit code 0 when it is, 1 when it is not, 3 when no daemon answers.
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
        if not client.emitted(listed):
            click.echo(aligned([("SERVICE", "STATUS"), *rows]))
        return int(listed.statuses[""].status != states.SERVING)
    answer = client.ask(stub.Check, health_pb2.HealthCheckRequest(service=service))
    if not client.emitted(answer):
        click.echo(states.Name(answer.status))
    return int(answer.status != states.SERVING)
