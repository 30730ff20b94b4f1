"""A daemon of ours of the test's own, in a directory of its own, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc

from tests.running import PATIENCE_S

#: A channel that tries again soon: by default each try comes 1.6 times later, the sixth 16 s after the first.
TRIES_AGAIN = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))
CONFIG = """
root: {directory}/root
state: {directory}/state
grpc: {{address: {directory}/h.sock}}
metrics: {{address: ""}}
debug: {{level: debug}}
"""


@contextmanager
def running(directory: Path, config: str = CONFIG, before: Sequence[str] = ()):
    """Yield the address of a holdfast that serves, and its process; it ends with the block.

    ``before`` are words before its command: a program that becomes it.
    """
    address = f"{directory}/h.sock"
    settings = directory / "config.yaml"
    settings.write_text(config.format(directory=directory))
    command = [*before, sys.executable, "-m", "holdfast", "run", "-c", str(settings)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        with grpc.insecure_channel(f"unix://{address}", TRIES_AGAIN) as channel:
            grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
        yield address, process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=PATIENCE_S)
