"""Write the manual pages: ``python docs/man.py DIRECTORY``.

One page for ``holdfast``, and one for each command (``holdfast-config-check.1``), from the help of the commands. A
package runs it when it is built; nothing of it is kept in the repository.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import holdfast
from holdfast.cli.group import cli

HEAD = '.TH "{name}" "1" "" "holdfast {version}" "holdfast"\n'
ROOT = ("holdfast",)
EXIT = (
    ("0", "Done. Of health and status: the daemon serves."),
    ("1", "Refused, not found, or another error. Of health and status: the daemon does not serve."),
    ("2", "Wrong usage."),
    ("3", "No daemon answered."),
)
FILES = (("/etc/holdfast/config.yaml", "The configuration of a daemon that runs as root."),)


def pages(
    command: click.Command = cli, path: tuple[str, ...] = ROOT, above: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """Every page: the name of its file, and its text in the language of man(7)."""
    context = click.Context(command, above, path[-1], **command.context_settings)
    below = _commands(command, context)
    yield f"{'-'.join(path)}.1", _page(command, context, path, below)
    for name, inner in below:
        yield from pages(inner, (*path, name), context)


def _commands(command: click.Command, context: click.Context) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return []
    found = ((name, command.get_command(context, name)) for name in command.list_commands(context))
    return [(name, inner) for name, inner in found if inner is not None and not inner.hidden]


def _page(
    command: click.Command, context: click.Context, path: tuple[str, ...], below: list[tuple[str, click.Command]]
) -> str:
    name = "-".join(path)
    parts = [HEAD.format(name=name.upper(), version=holdfast.__version__)]
    parts += [".SH NAME\n", f"{name} \\- {escaped(command.get_short_help_str(200)).rstrip('.')}\n"]
    usage = " ".join(command.collect_usage_pieces(context))
    parts += [".SH SYNOPSIS\n", f".B {escaped(' '.join(path))}\n", f"{escaped(usage)}\n"]
    parts += [".SH DESCRIPTION\n", *_paragraphs(command.help or command.get_short_help_str(200))]
    records = [(one, one.get_help_record(context)) for one in command.get_params(context)]
    options = [record for one, record in records if isinstance(one, click.Option) and record is not None]
    if options:
        parts += [".SH OPTIONS\n", *_items(options)]
    if below:
        parts += [".SH COMMANDS\n", *_items((each, inner.get_short_help_str(200)) for each, inner in below)]
    if path == ROOT:
        parts += [".SH FILES\n", *_items(FILES)]
        parts += [".SH ENVIRONMENT\n", *_items([("HOLDFAST_ADDRESS", "The address of the daemon.")])]
    parts += [".SH EXIT STATUS\n", *_items(EXIT)]
    also = [f"holdfast-{each}" for each, _ in below] if path == ROOT else ["-".join(path[:-1]), "holdfast-options"]
    parts += [".SH SEE ALSO\n", ",\n".join(f".BR {escaped(each)} (1)" for each in sorted({*also} - {name})) + "\n"]
    return "".join(parts)


def _items(pairs: Iterator[tuple[str, str]] | list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> Iterator[str]:
    for name, words in pairs:
        yield f".TP\n.B {escaped(name)}\n{escaped(words)}\n"


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text; one that begins with click's ``\\b`` keeps its lines."""
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        if lines[0].strip() == "\b":
            yield ".PP\n.nf\n" + "".join(f"{escaped(line)}\n" for line in lines[1:]) + ".fi\n"
        else:
            yield f".PP\n{escaped(' '.join(line.strip() for line in lines))}\n"


def escaped(text: str) -> str:
    """A text that man(7) prints as it is: no request at the start of a line, hyphens that can be copied."""
    shown = text.strip("\n").replace("\\", "\\e").replace("-", "\\-")
    shown = "".join(one if one.isascii() else f"\\[u{ord(one):04X}]" for one in shown)
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown


def main(directory: str) -> None:
    """Write all pages."""
    for variable in ("HOLDFAST_ADDRESS", "HOLDFAST_NAMESPACE", "CONTAINERD_NAMESPACE"):
        os.environ.pop(variable, None)
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (target / name).write_text(text, "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/man.py DIRECTORY")
    main(sys.argv[1])
