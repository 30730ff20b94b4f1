"""A changed file: a valid one is put in force, an invalid one changes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.peers.daemon import ENVIRON, HOLDFAST, holdfast
from tests.running import PATIENCE_S

RULES = "io.holdfast.placement.v1.rules"


def settings(folder, **more):
    placement = {"builtin_rules": "none", **more.pop("placement", {})}
    own = {"root": f"{folder}/root", "state": f"{folder}/state", "grpc": {"address": f"{folder}/s.sock"}}
    return {**own, "metrics": {"address": ""}, "web": {"address": ""}, "plugins": {RULES: placement}, **more}


class Node:
    """A daemon whose file a test rewrites, each time as another file of that name."""

    def __init__(self, folder, port):
        self.folder, self.port, self.reloads = folder, port, 0
        self.config = folder / "config.yaml"

    def write(self, text=None, **more):
        fresh = self.folder / "fresh"
        fresh.write_text(
            text or json.dumps(settings(self.folder, metrics={"address": f"127.0.0.1:{self.port}"}, **more))
        )
        os.replace(fresh, self.config)

    def reloaded(self):
        self.reloads += 1
        return self.daemon.line("configuration (reloaded|rejected)", after=self.reloads - 1)

    def hash(self):
        page = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=PATIENCE_S).read().decode()
        (found,) = re.findall(r'^holdfast_config_info\{hash="([0-9a-f]{12})"\} 1$', page, re.MULTILINE)
        return found


@pytest.fixture
def node(short_dir, free_port):
    made = Node(short_dir, free_port())
    made.write(debug={"level": "info"})
    with holdfast(short_dir, made.config) as made.daemon:
        made.daemon.ready()
        yield made


def test_going_back_to_an_earlier_configuration_is_a_change_as_any_other(node):
    hashes = []
    for level in ("debug", "info", "trace", "info", "debug"):
        node.write(debug={"level": level})
        assert "applied=debug.level" in node.reloaded()
        hashes.append(node.hash())
    assert (hashes[0], hashes[1]) == (hashes[4], hashes[3])
    assert len(set(hashes)) == 3


def test_a_bad_file_leaves_the_last_good_one_in_force(node):
    before = node.hash()
    node.write(placement={"rescan": "20s"})
    assert "applied=" in node.reloaded()
    good = node.hash()
    for bad in (
        "grpc: [",
        "grpc: {adress: /x}",
        json.dumps(settings(node.folder, placement={"rules": [{"name": "x"}]})),
    ):
        node.write(bad)
        assert "rejected" in node.reloaded()
        assert node.hash() == good != before
    node.write(placement={"rescan": "25s"})
    assert "applied=" in node.reloaded()
    assert node.hash() not in (good, before)


def test_the_hash_is_of_what_the_file_says_not_of_how(node):
    before = node.hash()
    words = node.config.read_text()
    node.write("# the same, written otherwise\n" + json.dumps(json.loads(words), indent=4, sort_keys=True))
    node.reloaded()
    assert node.hash() == before


@pytest.mark.root
def test_a_metrics_address_in_use_is_refused_before_anything_is_placed(short_dir, node, tmp_path):
    """By a second daemon with rules of its own."""
    program = tmp_path / f"hft-{os.getpid() % 100000}"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    second = short_dir / "second"
    second.mkdir()
    rule = {"name": "held", "match": {"comm": program.name}, "oom_score_adj": 700}
    address = {"address": f"127.0.0.1:{node.port}"}
    (second / "c.yaml").write_text(
        json.dumps(settings(second, metrics=address, placement={"dry_run": False, "rules": [rule]}))
    )
    with subprocess.Popen([program, "600"]) as sleeper:
        try:
            with holdfast(second, second / "c.yaml") as daemon:
                assert daemon.end() == 1
                words = f"failed to get listener for metrics endpoint: listen tcp 127.0.0.1:{node.port}: bind: address"
                assert daemon.err[-1] == f"holdfast: {words} already in use"
                assert not [line for line in daemon.err if "loading plugin" in line]
            assert Path(f"/proc/{sleeper.pid}/oom_score_adj").read_text() == "0\n"
        finally:
            sleeper.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("key", ["metrics", "debug", "tcp", "health", "grpc", "ttrpc", "debug.sock"])
def test_every_address_in_use_is_refused_before_a_plugin_starts(short_dir, node, key):
    mine = short_dir / "mine"
    mine.mkdir()
    other, ours = f"127.0.0.1:{node.port}", settings(mine)
    {
        "metrics": lambda: ours.update(metrics={"address": other}),
        "debug": lambda: ours.update(debug={"address": other}),
        "tcp": lambda: ours["grpc"].update(tcp_address=other),
        "health": lambda: ours["grpc"].update(health_address=other),
        "grpc": lambda: ours["grpc"].update(address=node.daemon.address),
        "ttrpc": lambda: ours.update(ttrpc={"address": node.daemon.ttrpc_address}),
        "debug.sock": lambda: ours.update(debug={"address": node.daemon.address}),
    }[key]()
    (mine / "c.yaml").write_text(json.dumps(ours))
    with holdfast(mine, mine / "c.yaml") as daemon:
        assert daemon.end() == 1
        assert re.search(r"^holdfast: failed to get listener for .*: .* in use", daemon.err[-1])
        assert not [line for line in daemon.err if "loading plugin" in line]


def test_two_of_our_own_addresses_on_one_port_are_refused_before_a_plugin_starts(short_dir, free_port):
    one = f"127.0.0.1:{free_port()}"
    ours = settings(short_dir, metrics={"address": one}, debug={"address": one})
    (short_dir / "c.yaml").write_text(json.dumps(ours))
    with holdfast(short_dir, short_dir / "c.yaml") as daemon:
        assert daemon.end() == 1
        assert "address already in use" in daemon.err[-1]
        assert not [line for line in daemon.err if "loading plugin" in line]


@pytest.mark.root
def test_a_root_on_a_full_disk_does_not_keep_the_daemon_from_serving(short_dir, tmp_path):
    root = short_dir / "full"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", root], check=True)
    try:
        (root / "r").mkdir()
        with open(root / "filler", "wb", 0) as filler:
            while True:
                try:
                    filler.write(bytes(4096))
                except OSError:
                    break
        ours = {**settings(short_dir), "root": f"{root}/r"}
        (short_dir / "c.yaml").write_text(json.dumps(ours))
        with holdfast(short_dir, short_dir / "c.yaml") as daemon:
            daemon.ready()
            assert not [line for line in daemon.err if line.startswith("Traceback")]
            asked = subprocess.run(
                [*HOLDFAST, "rules", "-a", daemon.address], env={**os.environ, **ENVIRON}, check=False
            )
            assert asked.returncode in (0, 1)
            assert daemon.stop() == 0
    finally:
        subprocess.run(["umount", root], check=True)
