"""Observations of a daemon that need a client: what it would dump, serve on TCP and measure, and for which client."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import yaml

from tests.peers.case import ctr
from tests.peers.daemon import AS_NOBODY, ENVIRON, HOLDFAST, Daemon
from tests.running import PATIENCE_S

ROOT = Path(__file__).parents[3]
FORWARD = "containerd.services.events.ttrpc.v1.Events"
METHODS = ("/containerd.services.version.v1.Version/Version", "/grpc.health.v1.Health/Check")


def dumped(*paths: str) -> Callable[[Daemon], str]:
    """Return the values that ``config dump`` prints at ``table/key``; lists sorted: containerd's have any order."""

    def look(daemon: Daemon) -> str:
        config = str(daemon.dir / "config.toml")
        if "holdfast" in daemon.command:
            tree = yaml.safe_load(_output([*HOLDFAST, "config", "dump", "-c", config]))
        else:
            tree = tomllib.loads(_output([str(daemon.command[0]), "--config", config, "config", "dump"]))
        return " ".join(str(_at(tree, path)) for path in paths)

    return look


def _at(tree: object, path: str) -> object:
    for key in path.split("/"):
        tree = tree[key]  # type: ignore[index]
    return sorted(tree) if isinstance(tree, list) else tree


def _output(command: list[str]) -> str:
    return subprocess.run(command, env={**os.environ, **ENVIRON}, capture_output=True, text=True, check=True).stdout


def port(daemon: Daemon) -> int:
    """The port it listens on, which the kernel chose; the daemon logs it when it serves."""
    return int(re.findall(r"127\.0\.0\.1:(\d+)", daemon.line("serving.*127"))[0])


def over_tcp(daemon: Daemon) -> str:
    """The status of Version and Health over TCP; 2.3 does not listen where no plugin has a service for TCP."""
    if "no tcp grpc services" in daemon.line("serving.*127|no tcp grpc services"):
        return "no listener"
    with grpc.insecure_channel(f"127.0.0.1:{port(daemon)}") as channel:
        return " ".join(_status(channel, method) for method in METHODS)


def _status(channel: grpc.Channel, method: str) -> str:
    try:
        channel.unary_unary(method)(b"", timeout=PATIENCE_S)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def metrics_page(daemon: Daemon) -> str:
    """Return where it serves metrics, and whether they time each method."""
    host = f"http://127.0.0.1:{port(daemon)}"
    page = urllib.request.urlopen(f"{host}/v1/metrics", timeout=PATIENCE_S).read()
    histogram = "histogram" if b"grpc_server_handling_seconds_bucket" in page else "no histogram"
    return ", ".join([*(f"{path} {_answer(host + path)}" for path in ("/metrics", "/v1/metrics")), histogram])


def _answer(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def as_nobody(daemon: Daemon) -> str:
    """Return how another user fares at its two sockets."""
    outcome = forward_as(AS_NOBODY, daemon.ttrpc_address)
    if outcome in ("EOFError", "BrokenPipeError", "ConnectionResetError"):  # whichever comes first
        outcome = f"closed: {re.findall('refusing connection after handshake', daemon.line('refus'))[0]}"
    done = ctr(daemon, "version", prefix=AS_NOBODY)
    return f"ttrpc {outcome}, gRPC {'answered' if done.returncode == 0 else 'refused'}"


def forward_as(prefix: tuple[str, ...], address: str) -> str:
    """Forward one event over ttrpc as another user; the result."""
    code = f"""
from tests.peers.ttrpc_wire import Wire, field
envelope = field(1, field(1, 1700000000)) + field(2, "hf") + field(3, "/a/b") + field(4, field(1, "x.Y"))
try:
    with Wire({address!r}) as wire:
        print(wire.call({FORWARD!r}, "Forward", field(1, envelope))[:2])
except (OSError, EOFError) as error:
    print(type(error).__name__)
"""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*prefix, sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    return done.stdout.strip()
