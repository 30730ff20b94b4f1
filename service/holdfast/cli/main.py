"""The ``holdfast`` command itself: a table of subcommands, each imported only when it is used.

``run`` with plain options does not even import the command line's library: every millisecond and every page of the
daemon's is paid on each node. Exit codes: 0 done, 1 an error with one line on stderr, 2 wrong usage.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from typing import Any, NoReturn, TextIO

from holdfast import frozen, lazy_import

frozen.install()
lazy_import.install()  # before the first import that brings what may wait

from holdfast.cli import start  # noqa: E402
from holdfast.errors import HoldfastError  # noqa: E402
from holdfast.inert import inert  # noqa: E402

#: Subcommand → ``module:attribute`` below ``holdfast.cli`` and the line ``--help`` shows for it.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run:run", "Start the daemon."),
    "config": ("config:config", "Print, check and migrate configuration files; show what a daemon has in force."),
    "version": ("version:version", "Print the versions of the client and the daemon."),
    "health": ("health:health", "Check whether the daemon, or one service, is serving."),
    "plugins": ("plugins:plugins", "List the daemon's plugins and the state of each."),
    "events": ("events:events", "Print events as they happen."),
    "publish": ("events:publish", "Publish an event."),
    "rules": ("rules:rules", "List the rules in force; print the built-in rules; import other tools' rules."),
    "ps": ("placement:ps", "List the processes under a rule."),
    "explain": ("placement:explain", "Explain which rule applies to a process, why, and what prevents each change."),
    "preview": ("placement:preview", "Show what the rules would write; nothing is written."),
    "victims": ("victims:victims", "Show which process the OOM killer would choose next."),
    "kills": ("victims:kills", "List OOM kills, or explain one."),
    "top": ("top:top", "Watch pressure, next victims, overrides and events."),
    "hold": ("placement:hold", "Override the rules for one process, for a limited time."),
    "release": ("placement:release", "End an override."),
    "restore": ("placement:restore", "Restore what was written."),
    "bundle": ("bundle:bundle", "Pull, apply, roll back and list bundles of rules and node files."),
    "completion": ("completion:completion", "Print the shell completion script."),
}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    client = _is_client(arguments)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL if client else signal.SIG_IGN)
    # gRPC's core reads this once, when it is imported, and prints lines of its own beside ours ("Got goaway …").
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names on a node are bytes, and a terminal may be ASCII's
    os.environ.setdefault("GRPC_VERBOSITY", "NONE" if client else "ERROR")
    sys.exit(call(arguments))


def call(arguments: list[str] | None = None) -> int:
    """Run the command line; errors become one line on stderr and an exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = _run(words)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk is a line; at its own end the interpreter prints a traceback
    except HoldfastError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _close(sys.stdout)
        return 128 + signal.SIGPIPE
    except OSError as error:
        _close(sys.stdout)
        return _complain(f"{error.filename or 'write error'}: {error.strerror or error}")
    except UnicodeError as error:
        return _complain(f"not UTF-8: {error}")
    return code


def _run(words: list[str]) -> int:
    given = start.options(words[1:]) if words[:1] == ["run"] else None
    if given is not None:
        start.run(given)
        return 0
    gc.enable()
    return _by_click(words)


def _complain(words: str) -> int:
    try:
        print("holdfast:", inert(" ".join(words.split())), file=sys.stderr)  # one line, whatever a plugin raised
    except (OSError, ValueError):
        _close(sys.stderr)
    return 1


def _close(stream: TextIO | None) -> None:
    """Discard what a stream could not write; the interpreter would try again at its end, and exit with 120."""
    try:
        if stream is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), stream.fileno())
    except (OSError, ValueError):  # no descriptor, as under a test
        return


def _by_click(words: list[str]) -> int:
    import click

    from holdfast.cli.group import cli

    try:
        result: Any = cli.main(words, prog_name="holdfast", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return result if isinstance(result, int) else 0


def _is_client(arguments: list[str] | None) -> bool:
    words = sys.argv[1:] if arguments is None else arguments
    return "run" not in words[:1]
