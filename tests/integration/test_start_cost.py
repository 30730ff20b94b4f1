"""What a start must not import, how much memory a serving daemon keeps, and how often a start waits for the disk."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from tests.needs import path_of, peer
from tests.peers.daemon import ENVIRON

#: Waits for the disk, from exec to the end: of the start that makes the files, and of any other. The rest is room for
#: an OOM kill that is recorded meanwhile.
FIRST_WAITS, WAITS = 12 + 3, 3 + 3
#: Resident memory of a daemon that serves the default configuration.
RSS_MIB = 64
#: Never after a boot, whatever is configured by default.
HEAVY = (
    "click",
    "cryptography",
    "email",
    "hashlib",
    "importlib.metadata",
    "importlib.resources",
    "opentelemetry",
    "prometheus_client",
    "pydantic",
    "rich",
    "ssl",
    "uvloop",
)
PROGRAM = """
import gc, json, sys, threading, time
from holdfast.lazy_import import LazyModule

def answer():
    with open(sys.argv[1]) as asked:
        asked.read()
    while not gc.isenabled():  # it is not while a daemon starts
        time.sleep(0.01)
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
YAML = "root: {0}/root\nstate: {0}/state\ngrpc: {{address: {0}/s.sock}}\nmetrics: {{address: ''}}\n"
TOML = """
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.holdfast.placement.v1.rules"]
[grpc]
  address = "{0}/s.sock"
[metrics]
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


@peer("strace")
def test_a_start_waits_for_the_disk_no_oftener_than_it_has_to(start, short_dir):
    """On a busy node each wait is some milliseconds, in which no process is protected."""
    config, trace = short_dir / "c.yaml", short_dir / "trace"
    config.write_text(YAML.format(short_dir))
    command = [path_of("strace"), "-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,sync", "-o", trace]
    waits = []
    for _ in range(2):
        traced = start([*command, sys.executable, "-m", "holdfast", "run", "-c", config], env=ENVIRON)
        pid = int(traced.line("starting holdfast").split("pid=")[1].split()[0])
        traced.line("successfully booted")
        os.kill(pid, signal.SIGTERM)
        assert traced.end() == 0
        waits.append(trace.read_text(errors="replace").count("sync("))
    assert (waits[0] <= FIRST_WAITS, waits[1] <= WAITS) == (True, True), waits
