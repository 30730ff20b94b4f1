"""A start does not import the modules of a list, and a serving daemon's memory has a limit."""

from __future__ import annotations

import json
import os
import sys

import pytest

from tests.peers.daemon import ENVIRON

#: Resident memory of a daemon that serves the default configuration.
RSS_MIB = 64
#: Never after a boot, whatever is configured by default.
HEAVY = (
    "_hashlib",
    "cryptography",
    "email",
    "hashlib",
    "importlib.metadata",
    "importlib.resources",
    "opentelemetry",
    "prometheus_client",
    "pydantic",
    "ssl",
    "uvloop",
)
PROGRAM = """
import gc, json, sys, threading
from holdfast.lazy_import import LazyModule

def answer():
    with open(sys.argv[1]) as asked:
        asked.read()
    gc.collect()
    with open("/proc/self/status") as status:
        rss = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    ran = sorted(name for name, module in sys.modules.items() if module is not None and type(module) is not LazyModule)
    with open(sys.argv[2], "w") as answered:
        json.dump({"modules": ran, "rss_mib": rss / 1024}, answered)

threading.Thread(target=answer, daemon=True).start()
from holdfast.cli.main import main
main(["run", "-c", sys.argv[3]])
"""
#: With the daemon's own rules in force, and no port that two tests at once would both want.
YAML = (
    "root: {0}/root\nstate: {0}/state\ngrpc: {{address: {0}/s.sock}}\nmetrics: {{address: ''}}\nweb: {{address: ''}}\n"
)
TOML = """
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.holdfast.placement.v1.rules"]
[grpc]
  address = "{0}/s.sock"
[metrics]
  address = ""
[web]
  address = ""
"""


@pytest.fixture
def booted(start, short_dir):
    """Boots a daemon with this configuration and returns what it found in itself once it served."""

    def boot(text, name="c.yaml"):
        config, asked, answered = short_dir / name, short_dir / "asked", short_dir / "answered"
        config.write_text(text.format(short_dir))
        os.mkfifo(asked)
        os.mkfifo(answered)
        program = start([sys.executable, "-X", "utf8", "-c", PROGRAM, asked, answered, config], env=ENVIRON)
        program.line("successfully booted")
        asked.write_text("now")
        return json.loads(answered.read_text())

    return boot


def test_a_default_boot_imports_nothing_heavy_and_stays_within_its_memory(booted):
    found = booted(YAML)
    assert [name for name in found["modules"] if name.partition(".")[0] in HEAVY or name in HEAVY] == []
    assert found["rss_mib"] <= RSS_MIB


def test_yaml_is_not_there_where_nothing_is_written_in_it(booted):
    found = booted(TOML, "config.toml")
    assert [name for name in found["modules"] if name.partition(".")[0] == "yaml"] == []


def test_a_server_that_is_skipped_imports_no_engine(booted):
    found = booted(TOML, "config.toml")
    assert [name for name in found["modules"] if name in ("h11", "holdfast.listener.http")] == []
