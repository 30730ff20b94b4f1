"""``holdfast run``: the daemon in the foreground, as systemd and Kubernetes expect it."""

from __future__ import annotations

import os
import sys
from functools import partial

import click

HINTS = (
    ("preview", "what the rules would change on this machine, and what prevents each change"),
    ("victims", "which process the OOM killer would choose next, without and with the rules"),
    ("explain {pid}", "which rule applies to a process, and why"),
)


@click.command()
@click.option(
    "-c", "--config", "path", metavar="FILE", type=click.Path(), help="Configuration file (YAML, or containerd's TOML)."
)
@click.option("--root", metavar="DIR", type=click.Path(), help="Directory for what must survive a restart.")
@click.option("--state", metavar="DIR", type=click.Path(), help="Directory for what must not survive a reboot.")
@click.option("-a", "--address", metavar="SOCKET", help="Unix socket of the gRPC server.")
@click.option("-l", "--log-level", "level", metavar="LEVEL", help="trace, debug, info, warn, error, fatal or panic.")
@click.option("--dry-run", is_flag=True, help="Every rule is a dry run, whatever the configuration says.")
@click.option("--plugin", metavar="MODULE:NAME", help="Also start this plugin of the working directory; or A:B,C:D.")
@click.option("--hints/--no-hints", default=None, help="Say what to try once it serves (on a terminal it does).")
def run(path: str | None, plugin: str | None, hints: bool | None, *, dry_run: bool, **overrides: str | None) -> None:
    """Start the daemon and serve until SIGTERM.

    Without -c the file /etc/holdfast/config.yaml is read if it exists, and the defaults hold if it does not.
    SIGHUP, or a changed file, reloads what can be reloaded; SIGUSR1 writes every stack to a file.
    """
    from holdfast import plugins
    from holdfast.config import Overrides
    from holdfast.plugins.kinds import EVENTS
    from holdfast.server.daemon import serve

    named = plugin.split(",") if plugin else ()
    wanted = sys.stderr.isatty() if hints is None else hints
    found = partial(plugins.registrations, named=named)
    serve(path, Overrides(**overrides, dry_run=dry_run), found, EVENTS, _say_hints if wanted else None)


def _say_hints(address: str) -> None:
    from holdfast.config import own_defaults

    venv = os.path.relpath(os.path.join(sys.prefix, "bin", "holdfast"))
    command = venv if sys.prefix != sys.base_prefix and not venv.startswith("..") else "holdfast"
    option = "" if address == own_defaults().address else f" -a {address}"
    lines = [(f"{command} {words.format(pid=os.getppid())}{option}", why) for words, why in HINTS]
    width = max(len(line) for line, _ in lines)
    said = "".join(f"  {line:{width}}  {why}\n" for line, why in lines)
    sys.stderr.write(f"\nholdfast serves on {address}. In another shell try:\n{said}\n")
