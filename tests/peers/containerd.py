"""A real containerd of the test's own, in a directory of its own."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

from tests.peers.process import end, until_serving

CONFIG = """
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{directory}/c.sock"
[debug]
level = "debug"
[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"
"""


def peer(program):
    """The path of a real program; without it the test is skipped, or fails where peers are required."""
    path = shutil.which(program)
    if path is None:
        if os.environ.get("HOLDFAST_REQUIRE_PEERS") == "1":
            pytest.fail(f"{program} is required and not installed")
        pytest.skip(f"{program} is not installed")
    return path


@contextmanager
def running(directory, config=CONFIG, program="", before=()):
    """Yield the address of a containerd that serves; it ends with the block. ``directory`` must be short.

    ``before`` are words before its command: a program that becomes it.
    """
    program = program or peer("containerd")
    if os.geteuid() != 0:
        pytest.skip("containerd starts for root only")
    address = f"{directory}/c.sock"
    settings = directory / "config.toml"
    settings.write_text(config.format(directory=directory))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([*before, program, "-c", str(settings)], stdout=log, stderr=log)
    try:
        until_serving(process, address, directory / "log")
        yield address
    finally:
        end(process)
