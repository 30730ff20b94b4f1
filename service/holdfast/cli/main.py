"""The ``holdfast`` command itself: each subcommand (`commands`) is imported only when it is used.

Exit codes: 0 done; 1 refused, not found or another error; 2 wrong usage; 3 no daemon answered. An error is one line on
stderr.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any, NoReturn, TextIO

from holdfast import lazy_import

lazy_import.install()  # before the first import that brings what may wait

from holdfast.errors import HoldfastError, Unreachable  # noqa: E402
from holdfast.inert import inert  # noqa: E402

FAILED, UNREACHABLE = 1, 3


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    client = _is_client(arguments)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL if client else signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names on a node are bytes, and a terminal may be ASCII's
    # gRPC's core reads this once, when it is imported. It prints lines of its own beside ours ("Got goaway …"), and a
    # peer of the daemon can cause one with each call, which no limit of the log applies to.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(call(arguments))


def call(arguments: list[str] | None = None) -> int:
    """Run the command line; errors become one line on stderr and an exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = _by_click(words)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a full disk is a line; at its own end the interpreter prints a traceback
    except HoldfastError as error:
        code = UNREACHABLE if isinstance(error, Unreachable) else FAILED
        return _complain(str(error), code)
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


def _complain(words: str, code: int = FAILED) -> int:
    try:
        print("holdfast:", inert(" ".join(words.split())), file=sys.stderr)  # one line, whatever a plugin raised
    except (OSError, ValueError):
        _close(sys.stderr)
    return code


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
        error.show(shown := io.StringIO())
        click.echo("\n".join(map(inert, shown.getvalue().split("\n"))), err=True, nl=False)  # `*` may bring any name
        return error.exit_code
    return result if isinstance(result, int) else 0


def _is_client(arguments: list[str] | None) -> bool:
    words = sys.argv[1:] if arguments is None else arguments
    return "run" not in words[:1]
