"""``holdfast plugins``: which plugins were started, skipped or failed, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from holdfast.cli.client import DaemonClient
from holdfast.cli.options import ClientCommand, client_options_for
from holdfast.cli.table import NONE, Column, Table, show

if TYPE_CHECKING:
    from holdfast.api.services.introspection.v1.introspection_pb2 import Plugin


@click.group()
def plugins() -> None:
    """List the daemon's plugins and the state of each."""


@plugins.command("ls", cls=ClientCommand)
@click.argument("filters", metavar="[FILTER]...", nargs=-1)
@click.option("-d", "--detailed", is_flag=True, help="Requirements, exports, capabilities and error of each.")
@click.option("-q", "--quiet", is_flag=True, help="Ids only.")
@click.option("--all", "everything", is_flag=True, help="Skipped plugins too; a FILTER shows them as well.")
@client_options_for("table", "wide")
def ls(client: DaemonClient, filters: tuple[str, ...], detailed: bool, quiet: bool, everything: bool) -> None:
    """List plugins in the order they were started.

    STATUS is ok, error, or skip for a plugin this machine has nothing for. A FILTER compares the fields type and id,
    as in containerd: `id==version`, `type~=grpc`, `type==io.containerd.grpc.v1,id!=version` (both must hold);
    of several filters any may match. With -o wide also the package that brings each plugin, with its version.

    Exit code 0, whatever the plugins' states.
    """
    from holdfast.api.services.introspection.v1.introspection_pb2 import PluginsRequest
    from holdfast.api.services.introspection.v1.introspection_pb2_grpc import IntrospectionStub

    answer = client.ask(client.stub(IntrospectionStub).Plugins, PluginsRequest(filters=filters))
    shown = [each for each in answer.plugins if everything or filters or status(each) != "skip"]
    if client.emitted(answer):
        return
    if quiet:
        for each in shown:
            show([each.id])
    elif detailed:
        show([line for each in shown for line in ("", *detail(each))][1:])
    else:
        show(Table(_columns(), wide=client.output == "wide", headers=True, first=shown).lines(shown))
    if hidden := len(answer.plugins) - len(shown):
        click.echo(f"({hidden} skipped; --all shows them)", err=True)


def _columns() -> list[Column[Plugin]]:
    return [
        Column("TYPE", lambda one: one.type),
        Column("ID", lambda one: one.id),
        Column("PLATFORMS", lambda one: platforms(one) or NONE),
        Column("STATUS", status),
        Column("DISTRIBUTION", lambda one: one.exports.get("distribution", NONE), wide=True),
    ]


def status(plugin: Plugin) -> str:
    """``ok``, ``skip`` or ``error``, distinguished as ctr does."""
    if not plugin.HasField("init_err"):
        return "ok"
    return "skip" if "skip plugin" in plugin.init_err.message else "error"


def platforms(plugin: Plugin) -> str:
    """``linux/amd64,linux/arm/v7``."""
    names = ("/".join(filter(None, (each.os, each.architecture, each.variant))) for each in plugin.platforms)
    return ",".join(sorted(set(names)))


def detail(plugin: Plugin) -> list[str]:
    """All facts about a plugin, one line each, in the order of ``ctr plugins ls -d``."""
    return [f"{name:<14} {value}".rstrip() for name, value in _facts(plugin)]


def _facts(plugin: Plugin) -> Iterator[tuple[str, str]]:
    from holdfast.errors import Code

    yield "Type:", plugin.type
    yield "ID:", plugin.id
    yield from zip(["Requires:"] + [""] * len(plugin.requires), plugin.requires, strict=False)
    if plugin.platforms:
        yield "Platforms:", platforms(plugin)
    exports = [f"{key:<10} {value}" for key, value in sorted(plugin.exports.items())]
    yield from zip(["Exports:"] + [""] * len(exports), exports, strict=False)
    if plugin.capabilities:
        yield "Capabilities:", ",".join(plugin.capabilities)
    if plugin.HasField("init_err"):
        yield "Error:", f"{Code(plugin.init_err.code).name}: {plugin.init_err.message}"
