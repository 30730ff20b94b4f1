"""``holdfast bundle``: rules and node files from a registry or an OCI layout, put in force and rolled back as one.

Pulling is done here, over the content API, as any client of a content store would do it; the daemon applies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli.client import DaemonClient
from holdfast.cli.options import ClientCommand, client_options
from holdfast.cli.suggestion import bundles
from holdfast.cli.table import aligned, show

if TYPE_CHECKING:
    from holdfast.api.bundle.v1 import bundle_pb2 as pb
    from holdfast.api.bundle.v1.bundle_pb2_grpc import BundlesStub

_STATES = {1: "current", 2: "earlier", 3: "rolled back", 4: "pulled"}


@click.group()
def bundle() -> None:
    """Pull, apply, roll back and list bundles: sets of rules and other node files, by digest.

    They live in the namespace "holdfast", whatever -n says.
    """


@bundle.command(cls=ClientCommand, short_help="Bring a bundle into the node's content.")
@click.argument("source", metavar="SOURCE")
@click.option("--name", default="", help="Name it gets on the node.  [default: that of SOURCE]")
@click.option("--hold", default="168h", show_default=True, help="Time that it is kept without being applied.")
@click.option("--apply", "at_once", is_flag=True, help="Apply it when it is there.")
@click.option("--plain-http", is_flag=True, help="Request from a registry without TLS; no password is sent.")
@client_options
def pull(client: DaemonClient, source: str, name: str, hold: str, at_once: bool, plain_http: bool) -> None:
    """Bring the bundle in SOURCE into the node's content.

    \b
    SOURCE is
      oci://HOST/NAME:TAG     a bundle in a registry, by tag
      oci://HOST/NAME@DIGEST  by digest
      LAYOUT[:TAG|@DIGEST]    an OCI layout: a directory, or a tar archive of one

    Everything is checked before anything is written: digests, paths, sizes, and that the rules can be put in force.
    The password for a registry is that of docker's config.json.
    """
    from holdfast.cli.pull import Pull, opened
    from holdfast.config.quantity import parse_duration

    try:
        hold_s = parse_duration(hold)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--hold") from None
    with opened(source, client.target.timeout, plain=plain_http) as (files, manifest, usual_name):
        done = Pull(client, hold_s).run(files, manifest, name or usual_name)
    if at_once:
        _applied(client, done.digest)
    elif client.for_programs:
        client.emitted(next(one for one in _listed(client).bundles if one.digest == done.digest))
    else:
        what = f"{len(done.files)} files, {done.rules} rules"
        show([f"{done.name} {done.digest}: {what}; to put it in force:", f"holdfast bundle apply {done.name}"])


@bundle.command(cls=ClientCommand, short_help="Put a pulled bundle in force.")
@click.argument("which", metavar="NAME|DIGEST", shell_complete=bundles)
@client_options
def apply(client: DaemonClient, which: str) -> None:
    """Put a pulled bundle in force: all of it, or nothing."""
    _applied(client, which)


@bundle.command(cls=ClientCommand, short_help="Put the bundle before the current one in force.")
@client_options
def rollback(client: DaemonClient) -> None:
    """Put the bundle in force that was before the current one."""
    from holdfast.api.bundle.v1.bundle_pb2 import RollbackRequest

    answer = client.ask(_stub(client).Rollback, RollbackRequest())
    if not client.emitted(answer):
        show([_sentence(answer.bundle, answer.previous)])


@bundle.command(cls=ClientCommand, short_help="List the node's bundles.")
@client_options
def ls(client: DaemonClient) -> None:
    """List the current bundle, those a rollback returns to, and those only pulled."""
    answer = _listed(client)
    if client.emitted(answer):
        return
    rows = [
        (
            one.name,
            one.digest,
            _STATES.get(one.state, str(one.state)),
            f"{one.applied_at.ToDatetime():%Y-%m-%d %H:%M:%S}" if one.HasField("applied_at") else "-",
            ", ".join(file.path for file in one.files) or "-",
        )
        for one in answer.bundles
    ]
    click.echo(aligned([("NAME", "DIGEST", "STATE", "APPLIED (UTC)", "FILES"), *rows]))


def _listed(client: DaemonClient) -> pb.ListResponse:
    from holdfast.api.bundle.v1.bundle_pb2 import ListRequest

    answer: pb.ListResponse = client.ask(_stub(client).List, ListRequest())
    return answer


def _applied(client: DaemonClient, which: str) -> None:
    from holdfast.api.bundle.v1.bundle_pb2 import ApplyRequest

    answer = client.ask(_stub(client).Apply, ApplyRequest(bundle=which))
    if not client.emitted(answer):
        show([_sentence(answer.bundle, answer.previous)])


def _sentence(bundle: pb.Bundle, previous: str) -> str:
    before = f"before it: {previous}" if previous and previous != bundle.digest else "nothing before it"
    return f"current: {bundle.name} {bundle.digest} ({before if previous != bundle.digest else 'as before'})"


def _stub(client: DaemonClient) -> BundlesStub:
    from holdfast.api.bundle.v1.bundle_pb2_grpc import BundlesStub

    return client.stub(BundlesStub)
