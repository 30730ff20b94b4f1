"""Which event loop a daemon runs on."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from tests.peers.daemon import ENVIRON

YAML = (
    "root: {0}/root\nstate: {0}/state\ngrpc: {{address: {0}/s.sock}}\nmetrics: {{address: ''}}\nweb: {{address: ''}}\n"
)


@pytest.fixture
def config(short_dir):
    path = short_dir / "c.yaml"
    path.write_text(YAML.format(short_dir))
    return path


@pytest.mark.parametrize("name", ["", "asyncio", "uvloop"])
def test_every_loop_serves_and_ends(start, config, name):
    daemon = start([sys.executable, "-m", "holdfast", "run", "-c", config], env={**ENVIRON, "HOLDFAST_LOOP": name})
    daemon.line("successfully booted")
    asked = start([sys.executable, "-m", "holdfast", "health", "-a", config.parent / "s.sock"], env=ENVIRON)
    assert asked.end() == 0
    os.kill(daemon.pid, signal.SIGTERM)
    assert daemon.end() == 0


def test_a_loop_that_does_not_exist_is_one_line(start, config):
    daemon = start([sys.executable, "-m", "holdfast", "run", "-c", config], env={**ENVIRON, "HOLDFAST_LOOP": "trio"})
    assert daemon.end() == 1
    daemon.line("HOLDFAST_LOOP=trio: no such event loop")
