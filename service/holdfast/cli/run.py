"""``holdfast run``: the daemon in the foreground, as systemd and Kubernetes expect it."""

from __future__ import annotations

import click

from holdfast.cli import start


@click.command()
@click.option("-c", "--config", "path", metavar="FILE", help="Configuration file (YAML, or containerd's TOML).")
@click.option("--root", metavar="DIR", help="Directory for what must survive a restart.")
@click.option("--state", metavar="DIR", help="Directory for what must not survive a reboot.")
@click.option("-a", "--address", metavar="SOCKET", help="Unix socket of the gRPC server.")
@click.option("-l", "--log-level", "level", metavar="LEVEL", help="trace, debug, info, warn, error, fatal or panic.")
@click.option("--plugin", metavar="MODULE:NAME", help="Also start this plugin of the working directory; or A:B,C:D.")
@click.option("--hints/--no-hints", default=None, help="Say what to try once it serves (on a terminal it does).")
def run(**options: str | bool | None) -> None:
    """Start the daemon and serve until SIGTERM.

    Without -c the file /etc/holdfast/config.yaml is read if it exists, and the defaults hold if it does not.
    SIGHUP, or a changed file, reloads what can be reloaded; SIGUSR1 writes every stack to a file.
    """
    start.run(options)
