"""Options that all client commands have: how the daemon is reached, and the form of the output.

The help of a command has its own options and ``-o``; ``holdfast options`` prints the others once, as ``kubectl
options`` does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from holdfast import namespaces
from holdfast.cli.client import DaemonClient
from holdfast.client.connection import Target, Tls, default_address

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

PROGRAMS = ("json", "yaml")  # outputs that are the API's messages
_FILE = click.Path(dir_okay=False, path_type=Path)
_NAMESPACE = "namespace"

_CONNECTION: dict[str, Decorator] = {
    "address": click.option(
        "-a",
        "--address",
        envvar="HOLDFAST_ADDRESS",
        show_envvar=True,
        help="The daemon's socket (a path, or unix://PATH) or tcp://HOST:PORT.  [default: the socket of a daemon run "
        "by the same user with default settings]",
    ),
    _NAMESPACE: click.option(
        "-n",
        "--namespace",
        envvar=["HOLDFAST_NAMESPACE", "CONTAINERD_NAMESPACE"],
        show_envvar=True,
        default=namespaces.DEFAULT,
        show_default=True,
        help="containerd's namespace of the request. Of ps it is the namespace of pods.",
    ),
    "timeout": click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=10.0,
        show_default=True,
        help="Seconds to wait for an answer.",
    ),
    "tls_ca": click.option(
        "--tls-ca", type=_FILE, envvar="HOLDFAST_TLS_CA", show_envvar=True, help="CA of a tcp:// daemon."
    ),
    "tls_cert": click.option(
        "--tls-cert", type=_FILE, envvar="HOLDFAST_TLS_CERT", show_envvar=True, help="Client certificate."
    ),
    "tls_key": click.option(
        "--tls-key", type=_FILE, envvar="HOLDFAST_TLS_KEY", show_envvar=True, help="Its private key."
    ),
    "tls_server_name": click.option(
        "--tls-server-name", help="Name to expect in the daemon's certificate, instead of HOST."
    ),
}


class ClientCommand(click.Command):
    """A command whose help shows its own options, and where the connection's are."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of this command alone."""
        connection = [] if self.callback is None else getattr(self.callback, "connection", [])
        own = [option for option in self.get_params(ctx) if option.name not in connection]
        lines = (option.get_help_record(ctx) for option in own if isinstance(option, click.Option))
        with formatter.section("Options"):
            formatter.write_dl([line for line in lines if line is not None])
        formatter.write_paragraph()
        formatter.write_text('"holdfast options" prints the options of the connection to the daemon.')


class ClientGroup(ClientCommand, click.Group):
    """`ClientCommand` for a command that has subcommands, too."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, and the subcommands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def client_options(command: Command) -> Command:
    """Give a command the options all client commands have, and a `DaemonClient` as its first argument."""
    return client_options_for("table")(command)


def client_options_for(people: str, *more: str, pods: bool = False) -> Decorator:
    """`client_options` for a command whose outputs for people have these names, the default first.

    ``pods``: ``-n`` is an option of the command itself, for the namespace of pods; the request is in the default one.
    """

    def decorate(command: Command) -> Command:
        names = [name for name in _CONNECTION if not (pods and name == _NAMESPACE)]

        @functools.wraps(command)
        def with_client(**options: Any) -> Any:
            given = {name: options.pop(name) for name in names}
            tls = Tls(*(given[name] for name in ("tls_ca", "tls_cert", "tls_key", "tls_server_name")))
            namespace = given.get(_NAMESPACE, namespaces.DEFAULT)
            target = Target(given["address"] or default_address(), namespace, given["timeout"], tls)
            output = options.pop("output")
            client = DaemonClient(target, output, for_programs=output in PROGRAMS and output != people)
            try:
                return command(client, **options)
            finally:
                client.close()

        with_client.connection = names  # type: ignore[attr-defined]
        for option in reversed([_output(people, more), *(_CONNECTION[name] for name in names)]):
            option(with_client)
        return with_client

    return decorate


def _output(people: str, more: tuple[str, ...]) -> Decorator:
    programs = [name for name in PROGRAMS if name != people]
    prints = f"{' and '.join(programs)} print{'s' if len(programs) == 1 else ''}"
    return click.option(
        "-o",
        "--output",
        type=click.Choice([people, *more, *programs]),
        default=people,
        show_default=True,
        help=f"{prints} the API's messages, with their field names.",
    )


@click.command()
@click.pass_context
def options(context: click.Context) -> None:
    """Print the options of the connection, which every command that asks a daemon has.

    They follow the command: `holdfast ps --address tcp://node-1:7420`.
    """

    def every() -> None:
        """Only its options are used."""

    for option in reversed(_CONNECTION.values()):
        every = option(every)
    shown: click.Command = click.command()(every)
    formatter = context.make_formatter()
    records = (one.get_help_record(context) for one in shown.params)
    with formatter.section("Options of every command that asks a daemon"):
        formatter.write_dl([line for line in records if line is not None])
    click.echo(formatter.getvalue(), nl=False)
