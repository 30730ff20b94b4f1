"""A daemon of ours of the test's own, in a directory of its own, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.peers.process import end, until_serving

CONFIG = """
root: {directory}/root
state: {directory}/state
grpc: {{address: {directory}/h.sock}}
metrics: {{address: ""}}
web: {{address: ""}}
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
        until_serving(process, address, directory / "log")
        yield address, process
    finally:
        end(process)
