"""A gRPC server on a unix socket, as a process whose output is a file: wait until it serves, and end it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import grpc

from tests.running import PATIENCE_S, until

#: By default a client that came before the socket tries again after one second, then later and later.
OFTEN = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]


def until_serving(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Wait until the process serves on its socket; an error with its output when it ends first."""
    with grpc.insecure_channel(f"unix://{address}", OFTEN) as channel:
        ready = grpc.channel_ready_future(channel)
        try:
            until(lambda: ready.done() or process.poll() is not None, f"{address} is served")
        finally:
            ready.cancel()
    assert process.poll() is None, f"it ended:\n{log.read_text(errors='replace')}"


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and wait for it; one that does not end is killed, and is an error."""
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
