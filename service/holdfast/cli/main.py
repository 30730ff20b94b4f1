"""The ``holdfast`` command itself: a table of subcommands, each imported only when it is used.

Exit codes: 0 done, 1 an error with one line on stderr, 2 wrong usage.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

import holdfast
from holdfast.errors import HoldfastError

#: Subcommand → ``module:attribute`` below ``holdfast.cli`` and the line ``--help`` shows for it.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run:run", "Start the daemon."),
    "config": ("config:config", "Print, check, migrate and describe configuration files."),
    "version": ("version:version", "Print the versions of the client and the daemon."),
    "health": ("health:health", "Ask whether the daemon, or one service, is serving."),
    "plugins": ("plugins:plugins", "List the daemon's plugins and what became of each."),
    "events": ("events:events", "Print events as they happen."),
    "publish": ("events:publish", "Publish an event."),
    "rules": ("rules:rules", "List the rules in force; print those that ship; import other tools' rules."),
    "ps": ("placement:ps", "List the processes under a rule."),
    "explain": ("placement:explain", "Say why a process is under the rule it is under."),
    "preview": ("placement:preview", "Say what the rules would write; nothing is written."),
    "victims": ("victims:victims", "Say who dies next if memory runs out."),
    "kills": ("victims:kills", "List OOM kills, or say why a process was killed."),
    "top": ("top:top", "Watch pressure, next victims, holds and events."),
    "hold": ("placement:hold", "Give one process a value by hand, for a time."),
    "release": ("placement:release", "End a hold by hand."),
    "restore": ("placement:restore", "Give back what was written."),
    "bundle": ("bundle:bundle", "Pull, apply, roll back and list bundles of rules and node files."),
    "completion": ("completion:completion", "Print the shell completion script."),
}


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
        """The table, without importing what it names."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(holdfast.__version__, "-v", "--version", message="holdfast %(version)s")
def cli() -> None:
    """Hold fast the processes a machine cannot afford to lose."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    client = _is_client(arguments)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL if client else signal.SIG_IGN)
    # gRPC's core reads this once, when it is imported, and prints lines of its own beside ours ("Got goaway …").
    os.environ.setdefault("GRPC_VERBOSITY", "NONE" if client else "ERROR")
    sys.exit(call(arguments))


def call(arguments: list[str] | None = None) -> int:
    """Run the command line; errors become one line on stderr and an exit code."""
    try:
        result: Any = cli.main(arguments, prog_name="holdfast", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except HoldfastError as error:
        print("holdfast:", " ".join(str(error).split()), file=sys.stderr)  # one line, whatever a plugin raised
        return 1
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def _is_client(arguments: list[str] | None) -> bool:
    words = sys.argv[1:] if arguments is None else arguments
    return "run" not in words[:1]
