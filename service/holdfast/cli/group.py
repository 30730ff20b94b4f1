"""The command line as click sees it: the table of `commands`, and a group that imports a command when it is called."""

from __future__ import annotations

from importlib import import_module

import click

import holdfast
from holdfast.cli.commands import COMMANDS


class LazyGroup(click.Group):
    """A group that imports a command's module when it is called, so that ``run`` does not pay for ``top``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"holdfast.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, without importing the commands in it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(holdfast.__version__, "-v", "--version", message="holdfast %(version)s")
def cli() -> None:
    """Hold fast the processes a machine cannot afford to lose."""
